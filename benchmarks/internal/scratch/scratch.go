// Package scratch lends the benchmarks a Redis and leaves it as it was.
package scratch

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Keys is what every key of this run begins with.
var Keys = "wecom-bench-" + rand.Text() + ":"

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// Connect returns a client of the Redis at url, or an error that says why there is none. pool is
// how many connections it may have, 0 for the default. Who connects calls [Forget] at the end; an
// interrupt does so, too, and ends the program.
func Connect(ctx context.Context, url string, pool int) (*redis.Client, error) {
	redis.SetLogger(quiet{})
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	o.PoolSize = pool
	client := redis.NewClient(o)
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close()
		return nil, err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		Forget(client)
		os.Exit(130)
	}()
	return client, nil
}

// Forget deletes this run's keys and closes the client.
func Forget(client *redis.Client) {
	ctx := context.Background()
	pipe := client.Pipeline()
	for it := client.Scan(ctx, 0, Keys+"*", 10_000).Iterator(); it.Next(ctx); {
		pipe.Unlink(ctx, it.Val())
		if pipe.Len() == 10_000 {
			_, _ = pipe.Exec(ctx)
		}
	}
	_, _ = pipe.Exec(ctx)
	_ = client.Close()
}
