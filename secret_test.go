package wecom_test

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

const canary = "canary-7f3kQ9zL"

// shown reports whether text shows the canary, or its bytes as numbers.
func shown(text string) bool {
	for _, form := range []string{canary, strings.ToUpper(fmt.Sprintf("%x", canary)), fmt.Sprintf("%x", canary), fmt.Sprint([]byte(canary)), strings.Trim(fmt.Sprint([]byte(canary)), "[]"), fmt.Sprintf("% x", canary), "Y2FuYXJ5LTdmM2tROXpM"} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

type holder struct {
	Exported   wecom.Secret
	unexported wecom.Secret
	pointer    *wecom.Secret
	any        any
	slice      []wecom.Secret
	byName     map[string]wecom.Secret
	byKey      map[*wecom.Secret]int
	nested     struct{ deep struct{ secret wecom.Secret } }
	token      wecom.Token
	options    wecom.Options
}

func newHolder() *holder {
	s := wecom.NewSecret(canary)
	h := &holder{
		Exported: s, unexported: s, pointer: &s, any: s, slice: []wecom.Secret{s}, byName: map[string]wecom.Secret{"k": s},
		byKey: map[*wecom.Secret]int{&s: 1}, token: wecom.Token{Value: s}, options: wecom.Options{Secret: s, StateKey: s, EarlierStateKeys: []wecom.Secret{s}},
	}
	h.nested.deep.secret = s
	return h
}

func TestT20_SecretShowsUnderNoVerb(t *testing.T) {
	s := wecom.NewSecret(canary)
	h := newHolder()
	values := map[string]any{
		"value": s, "pointer": &s, "slice": []wecom.Secret{s}, "array": [1]wecom.Secret{s}, "map": map[string]wecom.Secret{"k": s}, "any": []any{s}, "holder": *h, "pointer to holder": h,
		"unexported": struct{ s wecom.Secret }{s}, "embedded": struct{ wecom.Secret }{s}, "token": wecom.Token{Value: s}, "options": h.options, "error": fmt.Errorf("with %v", s), "wrapped in a Failure": &wecom.Failure{Err: fmt.Errorf("%s %q", s, s)},
	}
	var verbs []string
	for c := ' '; c <= '~'; c++ {
		for _, flags := range []string{"%", "%+", "%#", "%-9", "%09", "% ", "%.3", "%+#"} {
			verbs = append(verbs, flags+string(c))
		}
	}
	for name, v := range values {
		for _, verb := range verbs {
			assert.False(t, shown(fmt.Sprintf(verb, v)), "%s of %s", verb, name)
		}
		assert.False(t, shown(fmt.Sprint(v)), name)
		assert.False(t, shown(fmt.Sprintln(v, v)), name)
	}
	assert.Equal(t, "[REDACTED]", fmt.Sprintf("%v", s))
	assert.Equal(t, "[REDACTED]", fmt.Sprintf("%d", s))
	assert.Equal(t, "[REDACTED]", fmt.Sprintf("%#v", s))
	assert.Equal(t, "[REDACTED]", s.String())
	assert.Equal(t, "[REDACTED]", wecom.Secret{}.String(), "whether there is one is no one's business either")
}

func TestT20_SecretInLogs(t *testing.T) {
	s := wecom.NewSecret(canary)
	h := newHolder()
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		log := slog.New(handler(&b))
		log.Info("x", "value", s, "pointer", &s, "holder", *h, "ptr", h, "map", h.byName, "slice", h.slice, "token", h.token, slog.Group("g", "value", s))
		log.With("value", s).WithGroup("g").Error(fmt.Sprint(s), "err", errors.New(s.String()))
		assert.False(t, shown(b.String()), name)
		assert.Contains(t, b.String(), "[REDACTED]", name)
	}
}

type encoded struct{ Secret wecom.Secret }

func TestT20_SecretEncoded(t *testing.T) {
	s := wecom.NewSecret(canary)
	h := newHolder()
	for name, v := range map[string]any{"value": s, "pointer": &s, "holder": h, "slice": h.slice, "map": h.byName, "token": h.token} {
		text, err := json.Marshal(v)
		require.NoError(t, err, name)
		assert.False(t, shown(string(text)), name)
		assert.Contains(t, string(text), "[REDACTED]", name)
	}
	text, err := s.MarshalText()
	require.NoError(t, err)
	assert.Equal(t, "[REDACTED]", string(text))

	var b bytes.Buffer
	require.NoError(t, xml.NewEncoder(&b).Encode(encoded{s}))
	require.NoError(t, template.Must(template.New("").Parse("{{.}} {{.String}} {{printf \"%v %d\" . .}}")).Execute(&b, s))
	_ = gob.NewEncoder(&b).Encode(s)
	_ = gob.NewEncoder(&b).Encode(h)
	assert.False(t, shown(b.String()))

	var _ encoding.TextUnmarshaler = &s
	_, isBinary := any(s).(encoding.BinaryMarshaler)
	assert.False(t, isBinary)
}

// A dumper that reads memory's structure, as test libraries and debuggers do, finds a function.
func TestT20_SecretInADump(t *testing.T) {
	h := newHolder()
	var failed quiet
	other := newHolder()
	other.options.CorpID = "another"
	assert.Equal(&failed, h, other)
	assert.Equal(&failed, h.unexported, "text")
	assert.ElementsMatch(&failed, h.slice, []wecom.Secret{})
	assert.Nil(&failed, h)
	assert.Empty(&failed, h)
	assert.NotEmpty(t, failed.text())
	assert.False(t, shown(failed.text()), "what testify prints")
}

// quiet is a test that keeps what an assertion says.
type quiet struct {
	mu sync.Mutex
	b  strings.Builder
}

func (q *quiet) Errorf(format string, args ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	fmt.Fprintf(&q.b, format, args...)
}

func (q *quiet) text() string { return q.b.String() }

func TestSecretReveals(t *testing.T) {
	s := wecom.NewSecret(canary)
	assert.Equal(t, canary, s.Reveal())
	copied := s
	assert.Equal(t, canary, copied.Reveal())
	assert.Empty(t, wecom.Secret{}.Reveal())
	assert.Empty(t, wecom.NewSecret("").Reveal())

	var config struct{ Secret wecom.Secret }
	require.NoError(t, json.Unmarshal([]byte(`{"Secret":"`+canary+`"}`), &config))
	assert.Equal(t, canary, config.Secret.Reveal())
	require.NoError(t, config.Secret.UnmarshalText(nil))
	assert.Empty(t, config.Secret.Reveal())
	assert.Equal(t, canary, s.Reveal(), "immutable")

	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { assert.Equal(t, canary, s.Reveal()) })
	}
	wg.Wait()
}
