package wecomtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

const jsonType = "application/json; charset=UTF-8"

// An errcode is what an endpoint returns to fail.
type errcode int

// errmsgs are the beginnings of WeCom's error texts. WeCom says that they are no part of its
// interface, and nobody should compare them.
var errmsgs = map[errcode]string{
	-1:     "system busy",
	40001:  "invalid credential",
	40003:  "invalid userid",
	40013:  "invalid corpid",
	40014:  "invalid access_token",
	40029:  "invalid code",
	40056:  "invalid agentid",
	40058:  "invalid request parameter",
	40063:  "some parameters are empty",
	40068:  "invalid tagid",
	40091:  "corpsecret is invalid",
	41001:  "access_token missing",
	41002:  "corpid missing",
	41004:  "corpsecret missing",
	41008:  "code missing",
	41009:  "userid missing",
	41011:  "agentid missing",
	42001:  "access_token expired",
	43004:  "require subscribe",
	45009:  "api freq out of limit",
	45033:  "concurrent request out of limit",
	46004:  "user not exist",
	48001:  "api unauthorized",
	48002:  "api forbidden",
	50001:  "redirect_url domain unauthorized",
	50002:  "user out of permission range",
	50003:  "agent is disabled",
	60003:  "department not found",
	60011:  "no privilege to access/modify contact/party/agent",
	60020:  "not allow to access from your ip",
	60021:  "userid out of allowed range",
	60111:  "userid not found",
	60123:  "invalid party id",
	84014:  "user_ticket expired",
	84015:  "invalid user_ticket",
	84090:  "user_ticket missing",
	92000:  "user out of allowed range",
	92001:  "agent has no sensitive info privilege",
	301002: "not allow to operate another agent with this access_token",
}

var weixinErrmsgs = map[errcode]string{
	-1:    "system error",
	40001: "invalid credential, access_token is invalid or not latest",
	40002: "invalid grant_type",
	40003: "invalid openid",
	40013: "invalid appid",
	40014: "invalid access_token",
	40029: "invalid code",
	40030: "invalid refresh_token",
	40066: "invalid url",
	40097: "invalid args",
	40125: "invalid appsecret",
	40163: "code been used",
	41001: "access_token missing",
	41002: "appid missing",
	41003: "refresh_token missing",
	41004: "appsecret missing",
	41008: "missing code",
	41009: "missing openid",
	42001: "access_token expired",
	42002: "refresh_token expired",
	42003: "code expired",
	42007: "access_token and refresh_token invalid, due to user change password",
	43001: "require GET method",
	43002: "require POST method",
	45009: "reach max api daily quota limit",
	45011: "api minute-quota reach limit, must slower, retry next minute",
	47001: "data format error",
	48001: "api unauthorized",
}

// failure is the answer with an errcode: its text begins with errmsg, or with the platform's own,
// and is different every time. WeCom's names the caller's address.
func (p *platform) failure(f *Fake, code errcode, errmsg, ip string) object {
	if p == &weixins {
		errmsg = cmp.Or(errmsg, weixinErrmsgs[code], "error")
		if code == 40164 {
			errmsg = "invalid ip " + ip + " ipv6 ::ffff:" + ip + ", not in whitelist"
		}
		return object{"errcode", code, "errmsg", fmt.Sprintf("%s, rid: 6%s-%s-%s", errmsg, digits(7), digits(8), digits(8))}
	}
	hint := strconv.FormatInt(f.clock().Unix(), 10) + digits(15)
	return object{"errcode", code, "errmsg", fmt.Sprintf(
		"%s, hint: [%s], from ip: %s, more info at https://open.work.weixin.qq.com/devtool/query?e=%d",
		cmp.Or(errmsg, errmsgs[code], "error"), hint, ip, code)}
}

// An object is a JSON object: its names and values in turn, in the platform's order. A member whose
// name ends in ? is left out if its value is zero.
type object []any

// success begins with what every success of WeCom's begins with.
func success(members ...any) object { return append(object{"errcode", 0, "errmsg", "ok"}, members...) }

// each returns the objects of a list, which in JSON is never null.
func each[T any](list []T, show func(T) object) []object {
	objects := []object{}
	for _, v := range list {
		objects = append(objects, show(v))
	}
	return objects
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for i := 0; i < len(o); i += 2 {
		name, optional := strings.CutSuffix(o[i].(string), "?")
		if optional && reflect.ValueOf(o[i+1]).IsZero() {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(encode(name))
		b.WriteByte(':')
		b.Write(encode(o[i+1]))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode is json.Marshal that leaves <, > and & as they are. It panics if v is not for JSON.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("wecomtest: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// answer is v as JSON under the platform's Content-Type.
func (p *platform) answer(path string, v any) *answer {
	kind := jsonType
	switch {
	case p == &weixins && strings.HasPrefix(path, snsPrefix):
		kind = "text/plain" // as in life: JSON in UTF-8 under a header that says neither
	case p == &weixins:
		kind = "application/json; encoding=utf-8"
	}
	return newAnswer(http.StatusOK, kind, encode(v))
}
