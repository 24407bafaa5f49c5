package upstream_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/upstream"
)

func TestT20_Hints(t *testing.T) {
	hide := upstream.Hidden{"tok-13987654321-en", "a@b.example/s3cret"}
	for errmsg, want := range map[string]string{
		"x tok-13987654321-en y":          "x [REDACTED] y", // not "tok-", which would be left if the number went first
		"x a@b.example/s3cret y":          "x [REDACTED] y",
		"mobile13987654321":               "mobile[REDACTED]",
		"mobile_13987654321_x":            "mobile_[REDACTED]_x",
		"13987654321,8613987654321":       "[REDACTED],[REDACTED]",
		"hint: [1628812345123456789_1_2]": "hint: [1628812345123456789_1_2]",
		"12987654321 139876543210":        "12987654321 139876543210",
		"13987654321@corp.example.com":    "[REDACTED]",
	} {
		a, err := upstream.ReadAnswer([]byte(`{"errcode":1,"errmsg":"`+errmsg+`"}`), hide)
		require.NoError(t, err)
		assert.Equal(t, want, a.Hint)
	}
}

// What a caller sends is hidden wherever it stands in the body.
func TestT20_Confidential(t *testing.T) {
	body := `{"user_ticket":"v1","user":{"Mobile":"v2","name":"seen"},"list":[{"biz_mail":"v3"},7,null],"emails":["v4",{"x":"v5"}],"agent":"seen"}`
	assert.ElementsMatch(t, []string{"v1", "v2", "v3", "v4", "v5"}, upstream.Confidential(nil, []byte(body)))
	for _, body := range []string{"", "null", "7", `["v"]`, "{"} {
		assert.Empty(t, upstream.Confidential(nil, []byte(body)), body)
	}
}

// Where an int has 32 bits, 4294967296 would be 0, which is success.
func TestErrcodeFitsInto32Bits(t *testing.T) {
	for _, code := range []int64{math.MinInt32, -1, 0, 40029, math.MaxInt32} {
		a, err := upstream.ReadAnswer(fmt.Appendf(nil, `{"errcode":%d}`, code), nil)
		require.NoError(t, err, code)
		assert.EqualValues(t, code, a.Code)
	}
	for _, code := range []int64{math.MinInt32 - 1, math.MaxInt32 + 1, 1 << 32, -1 << 32, 1<<32 + 40029, math.MaxInt64} {
		_, err := upstream.ReadAnswer(fmt.Appendf(nil, `{"errcode":%d,"userid":"zhangsan"}`, code), nil)
		require.Error(t, err, code)
	}
}
