package conformance_test

import (
	"context"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest/conformance"
)

// A memory is a medium, and a store that is right unless it is told to be wrong.
type memory struct {
	fault string

	mu     sync.Mutex
	tokens map[string]wecom.Token
	locks  map[string]chan struct{}
}

func newMemory(fault string) *memory {
	return &memory{fault: fault, tokens: map[string]wecom.Token{}, locks: map[string]chan struct{}{}}
}

func (m *memory) name(key string) string {
	switch m.fault {
	case "folds case":
		return strings.ToLower(key)
	case "cuts keys":
		return key[:min(len(key), 128)]
	}
	return key
}

func (m *memory) lock(key string) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.fault {
	case "one lock for all":
		key = ""
	case "64 locks for all":
		key = strconv.Itoa(int(crc32.ChecksumIEEE([]byte(key)) % 64))
	}
	if m.locks[key] == nil {
		m.locks[key] = make(chan struct{}, 1)
	}
	return m.locks[key]
}

func (m *memory) Load(ctx context.Context, key string) (wecom.Token, error) {
	if m.fault == "Load waits for the lock" {
		lock := m.lock(m.name(key))
		select {
		case lock <- struct{}{}:
			defer func() { <-lock }()
		case <-ctx.Done():
			return wecom.Token{}, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tokens[m.name(key)]
	if m.fault == "drops expired" && time.Now().After(t.Expires) {
		return wecom.Token{}, nil
	}
	return t, nil
}

func (m *memory) Update(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
	if err := ctx.Err(); err != nil && m.fault != "ignores an ended context" {
		return wecom.Token{}, err
	}
	lock := m.lock(m.name(key))
	if m.fault == "deaf while waiting" {
		ctx = context.WithoutCancel(ctx)
	}
	if m.fault != "no lock" {
		select {
		case lock <- struct{}{}:
		case <-ctx.Done():
			return wecom.Token{}, ctx.Err()
		}
	}
	taken := time.Now()
	free := sync.OnceFunc(func() { <-lock })
	switch m.fault {
	case "no lock":
		free = func() {}
	case "gives back another's lock":
		free = func() {
			select {
			case <-lock:
			default:
			}
		}
		fallthrough
	case leased, "stores after its lease":
		time.AfterFunc(lease, free)
	case "the lock ends with the context":
		context.AfterFunc(ctx, free)
	}
	if m.fault != "not freed by a panic" {
		defer free()
	}
	if m.fault == "leaves a goroutine" {
		go func() { select {} }()
	}
	m.mu.Lock()
	current := m.tokens[m.name(key)]
	m.mu.Unlock()
	if m.fault == "no second look" {
		current = wecom.Token{}
	}
	fnCtx := ctx
	switch m.fault {
	case "hides the context":
		fnCtx = context.WithoutCancel(ctx)
	case "hurries fn":
		var cancel context.CancelFunc
		fnCtx, cancel = context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
	}
	t, err := fn(fnCtx, current)
	if m.fault == "not freed by a panic" {
		free()
	}
	if err != nil && m.fault == "hides fn's error" {
		return wecom.Token{}, errors.New("failed")
	}
	if err != nil && m.fault != "stores on error" {
		return wecom.Token{}, err
	}
	if t.Value.Reveal() == "" && m.fault != "stores nothing" {
		return wecom.Token{}, errors.New("no token")
	}
	if m.fault == "loses a late token" && ctx.Err() != nil {
		return wecom.Token{}, ctx.Err()
	}
	if (m.fault == leased || m.fault == "gives back another's lock") && time.Since(taken) > lease {
		return t, errors.New("the lock was lost")
	}
	if m.fault == "rounds to minutes" {
		t.Expires = t.Expires.Truncate(time.Minute)
	}
	if m.fault == "cuts values" {
		t.Value = wecom.NewSecret(t.Value.Reveal()[:min(512, len(t.Value.Reveal()))])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.fault {
	case "writes in place":
		m.tokens[m.name(key)] = wecom.Token{Value: wecom.NewSecret(t.Value.Reveal()[:1]), Expires: t.Expires}
		m.letRead()
	case "removes before it writes":
		delete(m.tokens, m.name(key))
		m.letRead()
	}
	m.tokens[m.name(key)] = t
	return t, err
}

// letRead gives readers a moment in which the store is half written.
func (m *memory) letRead() {
	m.mu.Unlock()
	runtime.Gosched()
	m.mu.Lock()
}

const (
	leased = "leased" // is no fault: a lock may end by itself, and then it is lost
	lease  = 11500 * time.Millisecond
)

const faultVar = "WECOM_CONFORMANCE_FAULT"

// A suite that finds no fault is worth nothing.
func TestTokenStore_FindsFaults(t *testing.T) {
	if fault, ok := os.LookupEnv(faultVar); ok { // in a process of its own
		m := newMemory(fault)
		conformance.TokenStore(t, func(*testing.T) wecom.TokenStore { return m })
		return
	}
	sound := []string{"", leased}
	faults := []string{
		"folds case", "cuts keys", "one lock for all", "64 locks for all", "Load waits for the lock", "drops expired", "ignores an ended context",
		"deaf while waiting", "no lock", "not freed by a panic", "leaves a goroutine", "no second look", "hides the context", "hurries fn",
		"hides fn's error", "stores on error", "stores nothing", "loses a late token", "rounds to minutes", "cuts values",
		"writes in place", "removes before it writes", "the lock ends with the context", "gives back another's lock", "stores after its lease",
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var group sync.WaitGroup
	for _, fault := range slices.Concat(sound, faults) {
		group.Go(func() { // all at once, since they wait more than they work
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestTokenStore_FindsFaults$") // #nosec G204 -- this test
			cmd.Env = append(os.Environ(), faultVar+"="+fault)
			out, err := cmd.CombinedOutput()
			if slices.Contains(sound, fault) {
				assert.NoError(t, err, "sound: %q\n%s", fault, out)
				return
			}
			assert.Error(t, err, fault)
			assert.Contains(t, string(out), "--- FAIL: TestTokenStore", fault)
			assert.NotContains(t, string(out), "panic:", fault)
		})
	}
	group.Wait()
}
