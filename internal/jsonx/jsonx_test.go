package jsonx_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wecomauth/wecom/internal/jsonx"
)

func parse(t *testing.T, text string) jsonx.Object {
	t.Helper()
	o, err := jsonx.ParseObject([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

// Bodies that must not be read at all. The marker stands for what must not come
// back in an error.
func TestT17_HostileBodiesAreRefused(t *testing.T) {
	const marker = "canary"
	tests := map[string]string{
		"empty":                           ``,
		"white space":                     " \n",
		"no JSON":                         `canary`,
		"HTML":                            `<html>canary</html>`,
		"an array":                        `[{"userid":"canary"}]`,
		"a string":                        `"canary"`,
		"a number":                        `0`,
		"null":                            `null`,
		"true":                            `true`,
		"truncated":                       `{"errcode":0,"userid":"canary"`,
		"truncated in a string":           `{"userid":"canary`,
		"truncated in an escape":          `{"userid":"canary\u00`,
		"a second object":                 `{"errcode":0}{"userid":"canary"}`,
		"text behind":                     `{"errcode":0} canary`,
		"NUL behind":                      "{\"errcode\":0}\x00",
		"a byte order mark":               "\ufeff" + `{"userid":"canary"}`,
		"UTF-16":                          "{\x00\"\x00a\x00\"\x00:\x000\x00}\x00",
		"form feed as white space":        "{\"errcode\":\f0}",
		"no-break space":                  "{\"errcode\":\u00a00}",
		"a comment":                       `{"errcode":0/*canary*/}`,
		"a trailing comma":                `{"userid":"canary",}`,
		"single quotes":                   `{'userid':'canary'}`,
		"no quotes":                       `{userid:"canary"}`,
		"NaN":                             `{"errcode":NaN}`,
		"Infinity":                        `{"errcode":-Infinity}`,
		"a plus sign":                     `{"errcode":+0}`,
		"a leading zero":                  `{"errcode":00}`,
		"a hexadecimal number":            `{"errcode":0x0}`,
		"a bare point":                    `{"errcode":.0}`,
		"a raw line break in a string":    "{\"userid\":\"can\nary\"}",
		"a raw NUL in a string":           "{\"userid\":\"canary\x00\"}",
		"an unknown escape":               `{"userid":"canary\x41"}`,
		"invalid UTF-8 in a value":        "{\"userid\":\"canary\xff\"}",
		"invalid UTF-8 in a key":          "{\"canary\xc0\xaf\":0}",
		"a surrogate in UTF-8":            "{\"userid\":\"canary\xed\xa0\x80\"}",
		"half a pair":                     `{"userid":"canary\ud800"}`,
		"the other half":                  `{"userid":"canary\udc00"}`,
		"two first halves":                `{"userid":"\ud800\ud800"}`,
		"halves in the wrong order":       `{"userid":"\udc00\ud800"}`,
		"half a pair and a letter":        `{"userid":"\ud800\u0041"}`,
		"half a pair and text":            `{"userid":"\ud800canary"}`,
		"half a pair and four digits":     `{"userid":"\ud800xudc00"}`,
		"half a pair and a line break":    `{"userid":"\ud800\ndc00"}`,
		"half a pair and a backslash":     `{"userid":"\ud800\\u0041"}`,
		"half a pair in a key":            `{"canary\ud800":0}`,
		"half a pair deep down":           `{"a":[{"b":["canary\ud800"]}]}`,
		"the same key":                    `{"userid":"a","userid":"canary"}`,
		"the same key, same value":        `{"userid":"canary","userid":"canary"}`,
		"the same key, escaped":           `{"userid":"a","\u0075serid":"canary"}`,
		"the same key, slash escaped":     `{"a/b":1,"a\/b":2}`,
		"the same key, far away":          `{"userid":"a"` + fillers(1000) + `,"userid":"canary"}`,
		"the same key, behind 1e400":      `{"a":1e400,"userid":"a","userid":"canary"}`,
		"another case":                    `{"userid":"a","UserId":"canary"}`,
		"another case, escaped":           `{"userid":"a","\u0055serId":"canary"}`,
		"another case first":              `{"USERID":"canary","userid":"a"}`,
		"a long s":                        `{"userid":"a","u` + "\u017f" + `erid":"canary"}`,
		"a long s, escaped":               `{"userid":"a","u\u017Ferid":"canary"}`,
		"a long s twice":                  `{"u` + "\u017f" + `erid":"a","uSerid":"canary"}`,
		"a Kelvin sign":                   `{"user_ticket":"a","user_tic\u212aet":"canary"}`,
		"two Greek sigmas":                `{"σ":1,"ς":2}`,
		"an Ångström sign":                `{"å":1,"\u212b":2}`,
		"null beside":                     `{"userid":"canary","userid":null}`,
		"duplicates of the empty key":     `{"":1,"":"canary"}`,
		"duplicates in an object inside":  `{"a":{"b":1,"B":"canary"}}`,
		"duplicates in an array's object": `{"department":[{"id":1},{"id":1,"id":2}]}`,
		"nested too deep":                 strings.Repeat(`{"a":`, 33) + `"canary"` + strings.Repeat(`}`, 33),
		"nested too deep in arrays":       `{"a":` + strings.Repeat(`[`, 32) + strings.Repeat(`]`, 32) + `}`,
		"nested very deep":                strings.Repeat(`{"a":[`, 100_000),
		"nested very deep and closed":     `{"a":` + strings.Repeat(`[`, 100_000) + strings.Repeat(`]`, 100_000) + `}`,
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := jsonx.ParseObject([]byte(body))
			if err == nil || o != nil {
				t.Fatalf("read as %v", o)
			}
			if strings.Contains(err.Error(), marker) {
				t.Errorf("the error quotes its input: %v", err)
			}
		})
	}
	t.Logf("%d bodies", len(tests))
}

func fillers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"key%d":%d`, i, i)
	}
	return b.String()
}

// Bodies that are objects, but whose fields do not say what they seem to.
func TestT17_LookAlikeKeysAndWrongTypes(t *testing.T) {
	const absent, wrong = "absent", "wrong type"
	tests := []struct{ body, userid, errcode string }{
		{`{"errcode":0,"userid":"zhangsan"}`, "zhangsan", "0"},
		{" \t\r\n{ \"errcode\" : 0 ,\n\"userid\" : \"zhangsan\" } \n", "zhangsan", "0"},
		{`{}`, absent, absent},
		{`{ }`, absent, absent},
		{`{"userid":"","errcode":-1}`, "", "-1"},
		{`{"userid":null,"errcode":null}`, absent, absent},
		{`{"UserId":"zhangsan"}`, absent, absent},
		{`{"USERID":"zhangsan","ErrCode":0}`, absent, absent},
		{`{"u` + "\u017f" + `erid":"zhangsan"}`, absent, absent},
		{`{"us` + "\u0435" + `rid":"zhangsan","errc` + "\u043e" + `de":0}`, absent, absent}, // Cyrillic
		{`{"userid ":"zhangsan"," errcode":0}`, absent, absent},
		{`{"userid\u0000":"zhangsan","errcode\u200b":0}`, absent, absent},
		{`{"\u0075serid":"zhang\u0073an"}`, "zhangsan", absent},
		{`{"userid":"\ud83d\ude00\"\\\/\b\f\n\r\t\u0000"}`, "😀\"\\/\b\f\n\r\t\x00", absent},
		{`{"userid":"` + "\u007f\ufffd\U0010ffff" + `"}`, "\u007f\ufffd\U0010ffff", absent},
		{`{"userid":"\ufffd\uFFFF"}`, "\ufffd\uffff", absent},
		{`{"userid":1,"errcode":"0"}`, wrong, wrong},
		{`{"userid":true,"errcode":false}`, wrong, wrong},
		{`{"userid":["zhangsan"],"errcode":[0]}`, wrong, wrong},
		{`{"userid":[],"errcode":[]}`, wrong, wrong},
		{`{"userid":{"userid":"zhangsan"},"errcode":{"errcode":0}}`, wrong, wrong},
		{`{"userid":{},"errcode":{}}`, wrong, wrong},
		{`{"data":{"userid":"zhangsan","errcode":0}}`, absent, absent},
		{`{"errcode":0.0}`, absent, wrong},
		{`{"errcode":0e0}`, absent, wrong},
		{`{"errcode":1E2}`, absent, wrong},
		{`{"errcode":1e400}`, absent, wrong},
		{`{"errcode":9223372036854775807}`, absent, "9223372036854775807"},
		{`{"errcode":-9223372036854775808}`, absent, "-9223372036854775808"},
		{`{"errcode":9223372036854775808}`, absent, wrong},
		{`{"errcode":18446744073709551616}`, absent, wrong},
		{`{"errcode":1` + strings.Repeat("0", 5000) + `}`, absent, wrong},
	}
	for _, test := range tests {
		o := parse(t, test.body)
		userid, present, err := o.String("userid")
		check(t, test.body, test.userid, userid, present, err)
		errcode, present, err := o.Int("errcode")
		check(t, test.body, test.errcode, fmt.Sprint(errcode), present, err)
	}
}

func check(t *testing.T, body, want, got string, present bool, err error) {
	t.Helper()
	switch {
	case want == "absent":
		if present || err != nil {
			t.Errorf("%.80s: present %v, error %v, want absent", body, present, err)
		}
	case want == "wrong type":
		if !present || err == nil {
			t.Errorf("%.80s: present %v, error %v, want an error", body, present, err)
		}
		if err != nil && strings.Contains(err.Error(), "zhangsan") {
			t.Errorf("the error quotes its input: %v", err)
		}
	case !present || err != nil || got != want:
		t.Errorf("%.80s: %q, present %v, error %v, want %q", body, got, present, err, want)
	}
}

func TestString_FirstPresentName(t *testing.T) {
	o := parse(t, `{"a":null,"b":"x","c":"y","d":1}`)
	tests := []struct {
		names   []string
		want    string
		present bool
		wrong   bool
	}{
		{nil, "", false, false},
		{[]string{"a"}, "", false, false},
		{[]string{"a", "b", "c"}, "x", true, false},
		{[]string{"c", "b"}, "y", true, false},
		{[]string{"B", "c"}, "y", true, false},
		{[]string{"d", "b"}, "", true, true},
		{[]string{"b", "d"}, "x", true, false},
	}
	for _, test := range tests {
		got, present, err := o.String(test.names...)
		if got != test.want || present != test.present || (err != nil) != test.wrong {
			t.Errorf("%v: %q, %v, %v", test.names, got, present, err)
		}
	}
}

func TestAccessors(t *testing.T) {
	o := parse(t, `{
		"gender": "1", "sex": 2, "half": 0.5, "none": null, "text": "\u5f20", "empty": [],
		"department": [1, 2 ,4294967295], "mixed": [1,"2"], "nulls": [null], "floats": [1.0],
		"leaders": ["a", "b\n"], "object": {"x":{"y":[{"z":1}]}}, "objects": [{"id":1}, {} ,{"id":2}]
	}`)

	for name, want := range map[string]string{"gender": "1", "sex": "2", "text": "张"} {
		if got, present, err := o.IntOrString(name); got != want || !present || err != nil {
			t.Errorf("IntOrString(%s) = %q, %v, %v", name, got, present, err)
		}
	}
	for _, name := range []string{"half", "empty", "object"} {
		if got, present, err := o.IntOrString(name); got != "" || !present || err == nil {
			t.Errorf("IntOrString(%s) = %q, %v, %v", name, got, present, err)
		}
	}

	if got, present, err := o.Ints("department"); !slices.Equal(got, []int64{1, 2, 4294967295}) || !present || err != nil {
		t.Errorf("Ints: %v, %v, %v", got, present, err)
	}
	if got, present, err := o.Ints("empty"); got == nil || len(got) != 0 || !present || err != nil {
		t.Errorf("Ints: %v, %v, %v", got, present, err)
	}
	for _, name := range []string{"mixed", "nulls", "floats", "leaders", "object", "sex", "objects"} {
		if got, present, err := o.Ints(name); got != nil || !present || err == nil {
			t.Errorf("Ints(%s) = %v, %v, %v", name, got, present, err)
		}
	}

	if got, present, err := o.Strings("leaders"); !slices.Equal(got, []string{"a", "b\n"}) || !present || err != nil {
		t.Errorf("Strings: %q, %v, %v", got, present, err)
	}
	for _, name := range []string{"mixed", "nulls", "department", "text"} {
		if got, present, err := o.Strings(name); got != nil || !present || err == nil {
			t.Errorf("Strings(%s) = %v, %v, %v", name, got, present, err)
		}
	}

	if got, present, err := o.Objects("objects"); len(got) != 3 || got[2]["id"] != "2" || len(got[1]) != 0 || !present || err != nil {
		t.Errorf("Objects: %v, %v, %v", got, present, err)
	}
	for _, name := range []string{"mixed", "nulls", "object"} {
		if got, present, err := o.Objects(name); got != nil || !present || err == nil {
			t.Errorf("Objects(%s) = %v, %v, %v", name, got, present, err)
		}
	}

	inner, present, err := o.Object("object")
	if !present || err != nil || inner["x"] != `{"y":[{"z":1}]}` {
		t.Errorf("Object: %v, %v, %v", inner, present, err)
	}
	for _, name := range []string{"objects", "text", "sex"} {
		if got, present, err := o.Object(name); got != nil || !present || err == nil {
			t.Errorf("Object(%s) = %v, %v, %v", name, got, present, err)
		}
	}

	if got, present := o.Raw("department"); got != `[1, 2 ,4294967295]` || !present {
		t.Errorf("Raw: %q, %v", got, present)
	}
	for _, name := range []string{"none", "None", "absent", ""} {
		_, present1 := o.Raw(name)
		_, present2, err2 := o.IntOrString(name)
		_, present3, err3 := o.Ints(name)
		_, present4, err4 := o.Strings(name)
		_, present5, err5 := o.Object(name)
		_, present6, err6 := o.Objects(name)
		if present1 || present2 || present3 || present4 || present5 || present6 {
			t.Errorf("%q is present", name)
		}
		for _, err := range []error{err2, err3, err4, err5, err6} {
			if err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if _, present, err := jsonx.Object(nil).String("userid"); present || err != nil {
		t.Error("the zero Object is not empty")
	}
}

func TestParseObject_Depth(t *testing.T) {
	text := strings.Repeat(`{"a":`, 31) + `[]` + strings.Repeat(`}`, 31)
	parse(t, text)
	if _, err := jsonx.ParseObject([]byte(`{"a":` + text + `}`)); err == nil {
		t.Error("depth 33 is accepted")
	}
}

func TestParseObject_KeepsNothingOfData(t *testing.T) {
	data := []byte(`{"userid":"zhangsan","department":[1]}`)
	o, err := jsonx.ParseObject(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if got, _, err := o.String("userid"); got != "zhangsan" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Keys that only look alike are different keys, and none of them is a duplicate.
func TestParseObject_DifferentKeysAreKept(t *testing.T) {
	text := `{"userid":1,"us\u0435rid":2,"user_id":3,"userid ":4,"":5,"ß":6,"ss":7,"ı":8,"i":9,"İ":10,"é":11,"e\u0301":12}`
	if o := parse(t, text); len(o) != 12 {
		t.Errorf("%d keys: %v", len(o), slices.Collect(maps.Keys(o)))
	}
}

// reference reads text with encoding/json's tokens and says whether a key
// occurs twice in an object, by strings.EqualFold.
func reference(text string) (duplicate bool) {
	d := json.NewDecoder(strings.NewReader(text))
	var value func() bool
	value = func() bool {
		token, err := d.Token()
		if err != nil {
			return false
		}
		var keys []string
		for token == json.Delim('{') && d.More() {
			key, _ := d.Token()
			if slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key.(string)) }) {
				return true
			}
			keys = append(keys, key.(string))
			if value() {
				return true
			}
		}
		for token == json.Delim('[') && d.More() {
			if value() {
				return true
			}
		}
		if token == json.Delim('{') || token == json.Delim('[') {
			d.Token()
		}
		return false
	}
	return value()
}

func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		`{"errcode":0,"errmsg":"ok","userid":"zhangsan","user_ticket":"x"}`,
		`{"errcode":0,"UserId":"ZhangSan","DeviceId":"","expires_in":7200}`,
		`{"department":[1,2],"extattr":{"attrs":[{"type":0,"name":"x","text":{"value":""}}]},"gender":"1","order":[4294967295]}`,
		`{"a":"\ud83d\ude00\u0000","A\u017f":1.5e3,"K":null,"k":true}`,
		`{"\u212a":[[],{},""],"k":-0}`, `{"s":1,"ſ":2}`, ` { } `, `[]`, `{"a":"\ud800"}`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := jsonx.ParseObject(data)
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(data, &want)
		if err != nil {
			if o != nil {
				t.Error("an object and an error")
			}
			return
		}
		if wantErr != nil {
			t.Fatalf("encoding/json refuses %q: %v", data, wantErr)
		}
		if reference(string(data)) {
			t.Errorf("%q holds duplicates", data)
		}
		if len(o) != len(want) {
			t.Fatalf("%q: %d keys, want %d", data, len(o), len(want))
		}
		for key, raw := range want {
			if o[key] != string(raw) {
				t.Errorf("%q: %q is %q, want %q", data, key, o[key], raw)
			}
			checkValue(t, o, key, raw)
		}
	})
}

// checkValue compares each accessor with encoding/json.
func checkValue(t *testing.T, o jsonx.Object, key string, raw json.RawMessage) {
	t.Helper()
	null := string(raw) == "null"
	compare(t, key, raw, null, func() (string, bool, error) { return o.String(key) })
	compare(t, key, raw, null, func() (int64, bool, error) { return o.Int(key) })
	if !strings.Contains(string(raw), "null") { // which encoding/json takes for ""
		compare(t, key, raw, null, func() ([]string, bool, error) { return o.Strings(key) })
		compare(t, key, raw, null, func() ([]int64, bool, error) { return o.Ints(key) })
	}
	if inner, present, err := o.Object(key); err == nil && present {
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || len(want) != len(inner) {
			t.Errorf("%s: %v", raw, inner)
		}
	}
	if list, present, err := o.Objects(key); err == nil && present {
		var want []map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || len(want) != len(list) {
			t.Errorf("%s: %v", raw, list)
		}
	}
}

func compare[T any](t *testing.T, key string, raw json.RawMessage, null bool, get func() (T, bool, error)) {
	t.Helper()
	var want T
	wantErr := json.Unmarshal(raw, &want)
	got, present, err := get()
	if present == null {
		t.Errorf("%q: %s is present: %v", key, raw, present)
	}
	if null {
		return
	}
	if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%q: %s is %v, %v, want %v, %v", key, raw, got, err, want, wantErr)
	}
}

func BenchmarkParseObject(b *testing.B) {
	data := []byte(`{"errcode":0,"errmsg":"ok","userid":"zhangsan","user_ticket":"` + strings.Repeat("x", 400) + `"}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jsonx.ParseObject(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseObject_Megabyte(b *testing.B) {
	data := []byte(`{"department":[` + strings.TrimSuffix(strings.Repeat(`{"id":1,"name":"研发","parentid":0,"order":1},`, 20_000), ",") + `]}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jsonx.ParseObject(data); err != nil {
			b.Fatal(err)
		}
	}
}
