package wecomtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

const jsonType = "application/json; charset=UTF-8"

// errmsgs are the beginnings of WeCom's error texts. WeCom says that they are
// no part of its interface, and nobody should compare them.
var errmsgs = map[int]string{
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

// A status is how every answer of WeCom's begins.
type status struct {
	ErrCode int    `json:"errcode"`
	ErrMsg  string `json:"errmsg"`
}

var success = status{ErrMsg: "ok"}

// failure is an errcode with a text as WeCom writes it: it names the caller's
// address and is different every time.
func (f *Fake) failure(errcode int, errmsg, ip string) status {
	if errmsg == "" {
		errmsg = errmsgs[errcode]
	}
	if errmsg == "" {
		errmsg = "error"
	}
	hint := strconv.FormatInt(f.clock().Unix(), 10) + digits(15)
	return status{errcode, fmt.Sprintf("%s, hint: [%s], from ip: %s, more info at https://open.work.weixin.qq.com/devtool/query?e=%d",
		errmsg, hint, ip, errcode)}
}

func jsonAnswer(v any) *answer {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("wecomtest: " + err.Error())
	}
	return newAnswer(http.StatusOK, jsonType, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
