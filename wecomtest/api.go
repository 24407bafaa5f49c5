package wecomtest

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sensitiveFields are what snsapi_privateinfo asks consent for.
var sensitiveFields = []string{"gender", "avatar", "qr_code", "mobile", "email", "biz_mail", "address"}

const maxBody = 1 << 20 // of a request

const defaultAvatar = "https://wework.qpic.cn/wwpic/default/0"

// A platform is WeCom or Weixin, as far as their APIs differ as a whole.
type platform struct {
	endpoints map[string]endpoint
	nowhere   errcode // for a path that is no endpoint's
	badToken  errcode // for an access token that is nobody's
	wantsPost errcode
	wantsGet  errcode // 0: any method will do
}

// An endpoint is one of a platform's API.
type endpoint struct {
	open  bool   // takes no access token of an app
	post  bool   // takes its parameters as a JSON body
	form  bool   // takes POST, too, with its parameters in the query or in a form
	needs []need // looked at in this order, when the access token is found good
	do    func(c *call) any
}

// A need is a parameter that must be there, and what the endpoint answers if it is not.
type need struct {
	name    string
	missing errcode
}

// WeCom's errcode for an unknown endpoint is not documented: this is one that clients do not retry.
var wecoms = platform{nowhere: 48002, badToken: 40014, wantsPost: 40063, endpoints: map[string]endpoint{
	"/cgi-bin/gettoken":                   {open: true, needs: []need{{"corpid", 41002}, {"corpsecret", 41004}}, do: (*call).getToken},
	"/cgi-bin/auth/getuserinfo":           {needs: []need{{"code", 41008}}, do: (*call).getUserInfo},
	"/cgi-bin/user/getuserinfo":           {needs: []need{{"code", 41008}}, do: (*call).getUserInfoLegacy},
	"/cgi-bin/miniprogram/jscode2session": {needs: []need{{"js_code", 41008}, {"grant_type", 40002}}, do: (*call).jsCode2Session},
	"/cgi-bin/auth/getuserdetail":         {post: true, needs: []need{{"user_ticket", 84090}}, do: (*call).getUserDetail},
	"/cgi-bin/user/getuserdetail":         {post: true, needs: []need{{"user_ticket", 84090}}, do: (*call).getUserDetailLegacy},
	"/cgi-bin/user/get":                   {needs: []need{{"userid", 41009}}, do: (*call).getUser},
	"/cgi-bin/user/simplelist":            {do: (*call).simpleList},
	"/cgi-bin/user/list":                  {do: (*call).userList},
	"/cgi-bin/user/list_id":               {post: true, do: (*call).listID},
	"/cgi-bin/user/getuserid":             {post: true, needs: []need{{"mobile", 40063}}, do: (*call).userByMobile},
	"/cgi-bin/user/get_userid_by_email":   {post: true, needs: []need{{"email", 40063}}, do: (*call).userByEmail},
	"/cgi-bin/user/convert_to_openid":     {post: true, needs: []need{{"userid", 41009}}, do: (*call).convertToOpenID},
	"/cgi-bin/department/list":            {do: (*call).departmentList},
	"/cgi-bin/department/simplelist":      {do: (*call).departmentSimpleList},
	"/cgi-bin/department/get":             {needs: []need{{"id", 60123}}, do: (*call).departmentGet},
	"/cgi-bin/agent/get":                  {needs: []need{{"agentid", 41011}}, do: (*call).agentGet},
	"/cgi-bin/agent/list":                 {do: (*call).agentList},
	"/cgi-bin/tag/get":                    {do: (*call).tagGet},
	"/cgi-bin/tag/list":                   {do: (*call).tagList},
	"/cgi-bin/get_jsapi_ticket":           {do: func(c *call) any { return jsTicket("jsapi-" + c.corp.id + "-" + c.app.AgentID) }},
	"/cgi-bin/ticket/get":                 {do: (*call).agentTicket},
	"/cgi-bin/getcallbackip":              {do: func(*call) any { return success("ip_list", []string{"192.0.2.0/26", "192.0.2.129"}) }},
	"/cgi-bin/get_api_domain_ip":          {do: func(*call) any { return success("ip_list", []string{"198.51.100.8", "198.51.100.9"}) }},
}}

// A call is one request to an endpoint, with what its access token says.
type call struct {
	f *Fake
	*platform
	r    *http.Request
	body []byte
	args map[string]any // the parameters, from the query, a form or a JSON body; nil if that is malformed

	corp    *corp
	app     *App
	account *WeixinApp // the official account whose token it is
}

// api answers a call of the server API.
func (f *Fake) api(path string, r *http.Request) *answer {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return textAnswer(http.StatusBadRequest, "cannot read the request")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	c := &call{f: f, platform: f.platformOf(r), r: r, body: body}

	f.mu.Lock()
	e, known := c.endpoints[path]
	added := f.added[path]
	var v any = c.nowhere
	if known || added != nil {
		v = c.run(e, added != nil)
	}
	f.mu.Unlock()

	switch {
	case !known && added == nil:
		slog.Warn("wecomtest: the fake has no such endpoint; add it with Fake.Handle", "path", path)
	case v == nil:
		v = added(r)
	}
	if code, failed := v.(errcode); failed {
		v = c.failure(f, code, "", callerIP(r))
	}
	a := c.platform.answer(path, v)
	if r.Host != apiHost && r.Host != wxHost { // a server: it has the pictures, too
		a.body = bytes.ReplaceAll(a.body, []byte("https://"+pictureHost+picturePath), []byte("http://"+r.Host+picturePath))
	}
	return a
}

// platformOf tells Weixin's API from WeCom's: by the host, or where both stand under one name, by
// the endpoint or the access token.
func (f *Fake) platformOf(r *http.Request) *platform {
	path := r.URL.Path
	_, isWeixins := weixins.endpoints[path]
	_, isWeComs := wecoms.endpoints[path]
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tokens[r.URL.Query().Get("access_token")]
	switch added := f.added[path] != nil; {
	case r.Host == apiHost, r.Host != wxHost && isWeComs && !isWeixins && !added:
		return &wecoms
	case r.Host == wxHost, isWeixins && !isWeComs, t != nil && t.account != "":
		return &weixins
	}
	return &wecoms
}

// run finds out what e answers; f.mu is held. nil leaves it to the endpoint that a test has added.
func (c *call) run(e endpoint, added bool) any {
	if added || !e.open {
		if code := c.authenticate(); code != 0 {
			return code
		}
	}
	method := c.r.Method
	switch {
	case added:
		return nil
	case e.post && method != http.MethodPost:
		return c.wantsPost
	case c.wantsGet != 0 && !e.post && method != http.MethodGet && !(e.form && method == http.MethodPost):
		return c.wantsGet
	case e.post:
		_ = json.Unmarshal(c.body, &c.args)
	default:
		query := c.r.URL.Query()
		if e.form {
			_ = c.r.ParseForm() // what cannot be read is missing
			query = c.r.Form
		}
		c.args = map[string]any{}
		for name := range query {
			c.args[name] = query.Get(name)
		}
	}
	for _, n := range e.needs {
		if c.text(n.name) == "" {
			return n.missing
		}
	}
	return e.do(c)
}

// text returns a parameter, "" if it is missing or no string.
func (c *call) text(name string) string {
	s, _ := c.args[name].(string)
	return s
}

// authenticate finds the app whose access token the query holds. A token in the body does not count.
func (c *call) authenticate() errcode {
	value := c.r.URL.Query().Get("access_token")
	t := c.f.tokens[value]
	switch {
	case value == "":
		return 41001
	case t == nil, t.killed, (t.account != "") != (c.platform == &weixins):
		return c.badToken
	case !c.f.now().Before(t.expires):
		return 42001
	case t.account != "":
		c.account = c.f.weixin.apps[t.account]
		return 0
	}
	c.corp = c.f.corps[t.corp]
	c.app = first(c.corp.apps, func(a *App) bool { return a.AgentID == t.agent && a.ContactSync == t.sync })
	switch {
	case c.app.Disabled:
		return 50003
	case !admits(c.app.TrustedIPs, callerIP(c.r)):
		return 60020
	}
	return 0
}

// --- access token

func (c *call) getToken() any {
	f, now, ip, secret := c.f, c.f.now(), callerIP(c.r), c.text("corpsecret")
	w := f.wrong[ip]
	if w != nil && now.Before(w.locked) {
		return errcode(45009)
	}
	corp := f.corps[c.text("corpid")]
	if corp == nil {
		return errcode(40013)
	}
	has := func(a *App) bool { return a.Secret == secret }
	if a := first(corp.apps, has); a != nil {
		if a.Disabled {
			return errcode(50003)
		}
		of := owner{corp: a.CorpID, agent: a.AgentID, sync: a.ContactSync}
		t := f.current(of)
		if t == nil || f.settings.FreshTokens {
			t = f.mint(of, 214)
		}
		return success("access_token", t.value, "expires_in", int64(t.expires.Sub(now)/time.Second))
	}
	if w == nil || now.Sub(w.since) > time.Hour {
		w = &wrongSecrets{since: now}
		f.wrong[ip] = w
	}
	if w.count++; w.count >= f.settings.WrongSecretLimit {
		w.count, w.locked = 0, now.Add(time.Hour)
	}
	for _, other := range f.corps {
		if slices.ContainsFunc(other.apps, has) {
			return errcode(40091)
		}
	}
	return errcode(40001)
}

// --- who signed in

func (c *call) getUserInfo() any       { return c.exchange(false) }
func (c *call) getUserInfoLegacy() any { return c.exchange(true) }

func (c *call) exchange(legacy bool) any {
	k, code := c.f.redeem(c.text("code"), c.corp, c.app, false)
	if code != 0 {
		return code
	}
	ticket := c.f.ticketFor(k, c.corp, c.app)
	userID, openID, externalUserID := k.person.who, "", ""
	switch p := k.person; {
	case p.member != nil:
		legacy = legacy || p.member.LegacySpelling
	case p.outsider != nil:
		userID, openID, externalUserID = "", p.outsider.OpenID, p.outsider.ExternalUserID
	}
	if !legacy {
		return success("userid?", userID, "user_ticket?", ticket, "openid?", openID, "external_userid?", externalUserID)
	}
	life := 0
	if ticket != "" {
		life = 7200 // what the old documents print, though the ticket dies earlier
	}
	return success("UserId?", userID, "OpenId?", openID, "DeviceId", digits(16), "user_ticket?", ticket,
		"expires_in?", life, "external_userid?", externalUserID)
}

// jsCode2Session exchanges the code of a mini-program, which members alone have.
func (c *call) jsCode2Session() any {
	k, code := c.f.redeem(c.text("js_code"), c.corp, c.app, true)
	switch {
	case code != 0:
		return code
	case k.person.member == nil:
		return errcode(40029)
	}
	return success("corpid", c.corp.id, "userid", k.person.who, "session_key", random(24))
}

func (c *call) getUserDetail() any {
	d, _, code := c.detail()
	if code != 0 {
		return code
	}
	return d
}

// getUserDetailLegacy answers with the contacts' fields, too.
func (c *call) getUserDetailLegacy() any {
	d, m, code := c.detail()
	if code != 0 {
		return code
	}
	return append(d, "name", m.Name, "department", c.visibleOf(m.Departments), "position", m.Position)
}

// detail returns what the member of a user_ticket agreed to show.
func (c *call) detail() (object, *Member, errcode) {
	t := c.f.tickets[c.text("user_ticket")]
	switch {
	case t == nil || t.corp != c.corp.id || t.agent != c.app.AgentID:
		return nil, nil, 84015
	case !c.f.now().Before(t.expires):
		return nil, nil, 84014
	case c.app.SensitiveFields != nil && len(c.app.SensitiveFields) == 0:
		return nil, nil, 92001
	}
	m := c.corp.member(t.userID)
	if m == nil || !c.corp.sees(c.app, m) {
		return nil, nil, 92000
	}
	shown, own := map[string]string{"gender": "0", "avatar": defaultAvatar}, m.sensitive()
	for _, field := range t.fields {
		shown[field] = own[field]
	}
	return success("userid", m.UserID, "gender", shown["gender"], "avatar", shown["avatar"], "qr_code?", shown["qr_code"],
		"mobile?", shown["mobile"], "email?", shown["email"], "biz_mail?", shown["biz_mail"], "address?", shown["address"]), m, 0
}

// --- contacts

func (c *call) getUser() any {
	id := c.text("userid")
	if len(id) > maxUserID {
		return errcode(40003)
	}
	m, code := c.visible(id)
	if code != 0 {
		return code
	}
	return success(c.record(m)...)
}

// visible returns the member, if the app may see that one.
func (c *call) visible(id string) (*Member, errcode) {
	m := c.corp.member(id)
	if m == nil {
		return nil, 60111
	}
	if !c.corp.sees(c.app, m) {
		return nil, errcode(c.f.settings.InvisibleErrcode)
	}
	return m, 0
}

// record is a member as user/get and user/list show one.
func (c *call) record(m *Member) object {
	departments := c.visibleOf(m.Departments)
	order, leads := make([]int64, len(departments)), make([]int, len(departments))
	leader, enabled, main := 0, 1, int64(0)
	for i, d := range departments {
		if slices.Contains(m.LeaderOf, d) {
			leads[i], leader = 1, 1
		}
		if d == m.MainDepartment {
			main = d
		}
	}
	if m.Status == Disabled {
		enabled = 0
	}
	shown := map[string]string{"gender": "0"} // an app may not know it
	if c.app.LegacyFields {
		shown = m.sensitive()
	}
	return object{
		"userid", m.UserID, "name", m.Name, "department", departments, "order", order, "position", m.Position,
		"mobile?", shown["mobile"], "gender", shown["gender"], "email?", shown["email"], "biz_mail?", shown["biz_mail"],
		"avatar?", shown["avatar"], "qr_code?", shown["qr_code"], "address?", shown["address"],
		"is_leader_in_dept", leads, "direct_leader", []string{}, "main_department?", main, "telephone", "", "alias", m.Alias,
		"status", m.Status, "enable", enabled, "isleader", leader, "hide_mobile", 0, "extattr", object{"attrs", []any{}},
	}
}

// visibleOf returns those of some departments that the app may see.
func (c *call) visibleOf(ids []int64) []int64 {
	list := []int64{}
	for _, d := range ids {
		if c.corp.seesDepartment(c.app, d) {
			list = append(list, d)
		}
	}
	return list
}

// department reads a department's id, which the app must be allowed to see.
func (c *call) department(id string) (int64, errcode) {
	n, err := strconv.ParseInt(id, 10, 64)
	switch {
	case err != nil:
		return 0, 60123
	case c.corp.department(n) == nil:
		return 0, 60003
	case !c.corp.seesDepartment(c.app, n):
		return 0, 60011
	}
	return n, 0
}

func (c *call) simpleList() any {
	return c.listed(func(m *Member) object {
		return object{"userid", m.UserID, "name", m.Name, "department", c.visibleOf(m.Departments)}
	})
}

func (c *call) userList() any { return c.listed(c.record) }

// listed answers with the visible members of the department that is asked for.
func (c *call) listed(show func(*Member) object) any {
	id, code := c.department(c.text("department_id"))
	if code != 0 {
		return code
	}
	list := []object{}
	below := c.text("fetch_child") == "1"
	for _, m := range c.corp.members {
		in := slices.Contains(m.Departments, id) || below && slices.ContainsFunc(m.Departments,
			func(d int64) bool { return c.corp.within(d, []int64{id}) })
		if in && c.corp.sees(c.app, m) {
			list = append(list, show(m))
		}
	}
	return success("userlist", list)
}

func (c *call) listID() any {
	if !c.app.ContactSync {
		return errcode(48002)
	}
	if len(c.body) > 0 && c.args == nil {
		return errcode(40063)
	}
	all := []object{}
	for _, m := range c.corp.members {
		for _, d := range m.Departments {
			all = append(all, object{"userid", m.UserID, "department", d})
		}
	}
	start := 0
	if cursor := c.text("cursor"); cursor != "" {
		var err error
		if start, err = strconv.Atoi(cursor); err != nil || start < 0 || start > len(all) {
			return errcode(40058)
		}
	}
	limit, _ := c.args["limit"].(float64)
	if limit <= 0 || limit > 10000 {
		limit = 10000
	}
	end, next := min(start+int(limit), len(all)), ""
	if end < len(all) {
		next = strconv.Itoa(end)
	}
	return success("next_cursor", next, "dept_user", all[start:end])
}

// userWhere answers with the visible member whom match accepts.
func (c *call) userWhere(match func(*Member) bool) any {
	m := first(c.corp.members, func(m *Member) bool { return match(m) && c.corp.sees(c.app, m) })
	if m == nil {
		return errcode(46004)
	}
	return success("userid", m.UserID)
}

func (c *call) userByMobile() any {
	return c.userWhere(func(m *Member) bool { return m.Mobile == c.text("mobile") })
}

func (c *call) userByEmail() any {
	return c.userWhere(func(m *Member) bool {
		if c.args["email_type"] == 2.0 {
			return strings.EqualFold(m.Email, c.text("email"))
		}
		return strings.EqualFold(m.BizMail, c.text("email"))
	})
}

func (c *call) convertToOpenID() any {
	m, code := c.visible(c.text("userid"))
	if code != 0 {
		return code
	}
	if m.NoWeixin {
		return errcode(43004)
	}
	return success("openid", madeUp(c.corp.id+" "+fold(m.UserID)))
}

func (d *Department) row() object {
	return object{
		"id", d.ID, "name", d.Name, "name_en", d.NameEN, "department_leader", append([]string{}, d.Leaders...),
		"parentid", d.ParentID, "order", d.Order,
	}
}

// departments returns the visible subtree below the department that is asked for, or all that the
// app may see.
func (c *call) departments() (list []*Department, code errcode) {
	var tops []int64
	if id := c.text("id"); id != "" {
		n, code := c.department(id)
		if code != 0 {
			return nil, code
		}
		tops = []int64{n}
	}
	for _, d := range c.corp.departments {
		if c.corp.seesDepartment(c.app, d.ID) && (tops == nil || c.corp.within(d.ID, tops)) {
			list = append(list, d)
		}
	}
	return list, 0
}

func (c *call) departmentList() any {
	list, code := c.departments()
	if code != 0 {
		return code
	}
	return success("department", each(list, (*Department).row))
}

func (c *call) departmentSimpleList() any {
	list, code := c.departments()
	if code != 0 {
		return code
	}
	return success("department_id", each(list, func(d *Department) object {
		return object{"id", d.ID, "parentid", d.ParentID, "order", d.Order}
	}))
}

func (c *call) departmentGet() any {
	id, code := c.department(c.text("id"))
	if code != 0 {
		return code
	}
	return success("department", c.corp.department(id).row())
}

// --- the app

func (c *call) agentGet() any {
	a, id := c.app, c.text("agentid")
	n, err := strconv.ParseInt(id, 10, 64)
	switch {
	case err != nil, id != a.AgentID && c.corp.app(id) == nil:
		return errcode(40056)
	case id != a.AgentID:
		return errcode(301002)
	}
	parties, domain := append([]int64{}, a.VisibleDepartments...), ""
	if a.seesAll() {
		parties = []int64{rootDept}
	}
	if len(a.TrustedDomains) > 0 {
		domain = a.TrustedDomains[0]
	}
	return success(
		"agentid", n, "name", a.Name, "square_logo_url", defaultAvatar, "description", "",
		"allow_userinfos", object{"user", each(a.VisibleUsers, func(id string) object { return object{"userid", id} })},
		"allow_partys", object{"partyid", parties}, "allow_tags", object{"tagid", append([]int64{}, a.VisibleTags...)},
		"close", 0, "redirect_domain", domain, "report_location_flag", 0, "isreportenter", 0, "home_url", "",
	)
}

// agentList answers with the one app whose token it is.
func (c *call) agentList() any {
	list := []object{}
	if id, err := strconv.ParseInt(c.app.AgentID, 10, 64); err == nil {
		list = append(list, object{"agentid", id, "name", c.app.Name, "square_logo_url", defaultAvatar})
	}
	return success("agentlist", list)
}

func (c *call) tagList() any {
	return success("taglist", each(c.corp.tags, func(t *Tag) object { return object{"tagid", t.ID, "tagname", t.Name} }))
}

func (c *call) tagGet() any {
	id, err := strconv.ParseInt(c.text("tagid"), 10, 64)
	t := c.corp.tag(id)
	if err != nil || t == nil {
		return errcode(40068)
	}
	users := []object{}
	for _, id := range t.Users {
		if m := c.corp.member(id); m != nil && c.corp.sees(c.app, m) {
			users = append(users, object{"userid", m.UserID, "name", m.Name})
		}
	}
	return success("tagname", t.Name, "userlist", users, "partylist", c.visibleOf(t.Departments))
}

func (c *call) agentTicket() any {
	if c.text("type") != "agent_config" {
		return errcode(40063)
	}
	return jsTicket("agent-" + c.corp.id + "-" + c.app.AgentID)
}

// jsTicket is constant for each owner: nothing in the fake checks signatures that are made with it.
func jsTicket(of string) object {
	t := "fake-" + of
	return success("ticket", t+strings.Repeat("0", max(0, 86-len(t))), "expires_in", 7200)
}
