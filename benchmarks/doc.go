// Benchmarks measures package wecom beside what a program would use instead, all in one run on one
// machine, so that the figures can be compared by their ratios:
//
//	go run -C benchmarks .                  # the table; -svg FILE writes the chart
//	go run -C benchmarks ./load             # load over loopback
//	go test -C benchmarks -bench . .        # the same, for benchstat
//
// docs/performance.md says what each peer checks and what it does not.
package main
