package jsonx_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/jsonx"
)

func TestRepair(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"nothing to do":           {`{"a" : "张三 \ud83c\udf88 \\ud800 \"", "b":[1,"x"],"c":{}}`, `{"a" : "张三 \ud83c\udf88 \\ud800 \"", "b":[1,"x"],"c":{}}`},
		"control characters":      {"{\n\t\"a\":\"x\x00y\n\tz\x1f\"\r}", "{\n\t\"a\":\"x y  z \"\r}"},
		"no UTF-8":                {"{\"a\":\"Jos\xe9\",\"b\":[\"\xe5\xb0\"]}", `{"a":"Jos�","b":["�"]}`},
		"high half alone":         {`{"a":"x\ud83cy"}`, `{"a":"x\ufffdy"}`},
		"low half alone":          {`{"a":"\uDF88"}`, `{"a":"\ufffd"}`},
		"low half first":          {`{"a":"\uDF88\uD83C"}`, `{"a":"\ufffd\ufffd"}`},
		"high half before a pair": {`{"a":"\ud83c\ud83c\udf88"}`, `{"a":"\ufffd\ud83c\udf88"}`},
	} {
		got := jsonx.Repair([]byte(tt.in))
		assert.Equal(t, tt.want, string(got), name)
		_, err := jsonx.ParseObject(got)
		assert.NoError(t, err, name)
	}
	for _, broken := range []string{
		"{\"us\x00er\":1}", "{\"us\xffer\" :1}", `{"us\ud800er":1}`, "{\"a\":\"x\\\x00\"}", "{\"a\":\"", `{"a":"\`, `{"a":"\ud8`, "\x00{}", "\xff{}", `{"a":"\udzzz"}`,
	} {
		_, err := jsonx.ParseObject(jsonx.Repair([]byte(broken)))
		assert.Error(t, err, "%q", broken)
	}
}

func FuzzRepair(f *testing.F) {
	f.Add([]byte(`{"a":"\ud800","b":["\ud83c\udf88",{"c":"\\"}]}`))
	f.Add([]byte("{\"a\":\"\x00\xff\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		once := jsonx.Repair(data)
		assert.Equal(t, string(once), string(jsonx.Repair(once)))
		if _, err := jsonx.ParseObject(data); err == nil {
			require.Equal(t, string(data), string(once), "what is sound stays as it is")
		}
	})
}
