// Package loop is a client for load: a closed loop, in which each connection sends its
// next request when it has the answer to the last.
package loop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A Request is sent as it is; its answer must have the status.
type Request struct{ Text, Status string }

// Get asks for a page, with a Cookie header unless cookie is empty.
func Get(path, cookie, status string) Request {
	text := "GET " + path + " HTTP/1.1\r\nHost: app.example.com\r\nAccept: text/html\r\nUser-Agent: load\r\n"
	if cookie != "" {
		text += "Cookie: " + cookie + "\r\n"
	}
	return Request{text + "\r\n", status}
}

// A Result is what the answers took that came while it was measured.
type Result struct {
	PerSecond float64
	P50, P99  time.Duration
	Answers   int // with those of the warm-up
}

// Drive sends the requests in turn over each of the connections, first for a quarter of
// length to warm up, then for length to measure.
func Drive(addr string, requests []Request, connections int, length time.Duration) (Result, error) {
	var wg sync.WaitGroup
	took, answers := make([][]time.Duration, connections), make([]int, connections)
	failed := make([]error, connections)
	begin := time.Now().Add(length / 4)
	end := begin.Add(length)
	for i := range connections {
		wg.Go(func() { took[i], answers[i], failed[i] = one(addr, requests, begin, end) })
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return Result{}, err
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) == 0 {
		return Result{}, errors.New("no request was answered")
	}
	r := Result{
		PerSecond: float64(len(all)) / length.Seconds(),
		P50:       all[len(all)/2].Round(time.Microsecond),
		P99:       all[len(all)*99/100].Round(time.Microsecond),
	}
	for _, n := range answers {
		r.Answers += n
	}
	return r, nil
}

// one sends requests over one connection until end; what is answered between begin and end counts.
func one(addr string, requests []Request, begin, end time.Time) (took []time.Duration, answers int, _ error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	var texts [][]byte
	for _, r := range requests {
		texts = append(texts, []byte(r.Text))
	}
	for i := 0; ; i++ {
		sent := time.Now()
		if sent.After(end) {
			return took, i, nil
		}
		if _, err := conn.Write(texts[i%len(texts)]); err != nil {
			return nil, 0, err
		}
		if err := readAnswer(reader, requests[i%len(texts)].Status); err != nil {
			return nil, 0, err
		}
		if now := time.Now(); sent.After(begin) && now.Before(end) {
			took = append(took, now.Sub(sent))
		}
	}
}

// readAnswer reads one answer by its Content-Length, cheaply: the client should not be what is measured.
func readAnswer(r *bufio.Reader, status string) error {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && (len(line) < 12 || string(line[9:12]) != status) {
			return fmt.Errorf("want status %s: the server answered %s", status, line)
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	_, err := r.Discard(length)
	return err
}
