package storetest

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
)

const keyVar = "WECOM_STORETEST_KEY"

// Kills returns how many processes [KillWriters] should kill: few in an everyday run, or what the
// environment variable WECOM_KILLS says.
func Kills(everyday int) int {
	if n, err := strconv.Atoi(os.Getenv("WECOM_KILLS")); err == nil {
		return n
	}
	return everyday
}

// KillWriters starts as many processes one after the other, which write tokens of 1 to 4 KiB as
// fast as they can, and kills each in the middle. Meanwhile a reader reads all the time. It never
// finds a torn token, nor none where there was one. key names the n-th writer's key; afterKill, if
// not nil, is called while no writer lives.
func KillWriters(t *testing.T, open Open, medium string, kills int, key func(n int) string, afterKill func()) {
	store, err := open(medium)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := store.(interface{ Close() error }); ok {
		defer func() { _ = c.Close() }()
	}
	var (
		reads   atomic.Int64
		written atomic.Pointer[string] // a key with a token
		stop    = make(chan struct{})
		stopped = make(chan struct{})
	)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if k := written.Load(); k != nil {
				checkWhole(t, store, *k)
				reads.Add(1)
			}
		}
	}()
	for n := range kills {
		k := key(n)
		p := Start(t, "writer", medium, keyVar+"="+k)
		if got := p.Hear(); got != "written" {
			t.Fatalf("a writer said %q", got)
		}
		written.Store(&k)
		<-time.After(rand.N(5 * time.Millisecond)) // anywhere in the middle
		p.Kill()
		checkWhole(t, store, k)
		if afterKill != nil {
			afterKill()
		}
		if t.Failed() {
			break
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d writers killed, %d reads meanwhile, all whole", kills, reads.Load())
}

func checkWhole(t *testing.T, store wecom.TokenStore, key string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	token, err := store.Load(ctx, key)
	if err != nil {
		t.Errorf("Load: %v", err)
	} else if body, sum, _ := strings.Cut(token.Value.Reveal(), "."); body == "" || sum != checksum(body) {
		t.Errorf("a torn or lost token of %d bytes", len(token.Value.Reveal()))
	}
}

func checksum(s string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(s))) }

func writer(store wecom.TokenStore, _ *bufio.Reader) error {
	for n := 0; ; n++ {
		body := strings.Repeat(string(rune('a'+n%26)), 1024+rand.IntN(3072))
		_, err := store.Update(context.Background(), os.Getenv(keyVar), func(context.Context, wecom.Token) (wecom.Token, error) {
			return wecom.Token{Value: wecom.NewSecret(body + "." + checksum(body)), Expires: time.Now().Add(time.Hour)}, nil
		})
		if err != nil {
			return err
		}
		if n == 0 {
			fmt.Println("written")
		}
	}
}

// KillHolder starts a process that takes key's lock, and kills it.
func KillHolder(t *testing.T, medium, key string) {
	t.Helper()
	p := Start(t, "holder", medium, keyVar+"="+key)
	if got := p.Hear(); got != "held" {
		t.Fatalf("the holder said %q", got)
	}
	p.Kill()
}

func holder(store wecom.TokenStore, stdin *bufio.Reader) error {
	_, err := store.Update(context.Background(), os.Getenv(keyVar), func(context.Context, wecom.Token) (wecom.Token, error) {
		fmt.Println("held")
		_, err := stdin.ReadString('\n') // which never comes
		return wecom.Token{}, err
	})
	return err
}
