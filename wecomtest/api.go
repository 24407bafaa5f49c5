package wecomtest

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sensitiveFields are what snsapi_privateinfo asks consent for.
var sensitiveFields = []string{"gender", "avatar", "qr_code", "mobile", "email", "biz_mail", "address"}

const maxBody = 1 << 20 // of a request

const defaultAvatar = "https://wework.qpic.cn/wwpic/default/0"

// An endpoint of the server API. do runs under the Fake's lock.
type endpoint struct {
	post    bool // takes its parameters as a JSON body
	noToken bool // gettoken alone
	do      func(c *call) any
}

// A call is one request to an endpoint, with what its token says.
type call struct {
	f     *Fake
	ip    string
	query url.Values
	body  []byte
	corp  *corp
	app   *App
}

// An errcode is what an endpoint returns to fail.
type errcode int

var endpoints = map[string]*endpoint{
	"/cgi-bin/gettoken":                 {noToken: true, do: (*call).getToken},
	"/cgi-bin/auth/getuserinfo":         {do: (*call).getUserInfo},
	"/cgi-bin/user/getuserinfo":         {do: (*call).getUserInfoLegacy},
	"/cgi-bin/auth/getuserdetail":       {post: true, do: (*call).getUserDetail},
	"/cgi-bin/user/get":                 {do: (*call).getUser},
	"/cgi-bin/user/getuserdetail":       {post: true, do: (*call).getUserDetailLegacy},
	"/cgi-bin/user/simplelist":          {do: (*call).simpleList},
	"/cgi-bin/user/list":                {do: (*call).userList},
	"/cgi-bin/user/list_id":             {post: true, do: (*call).listID},
	"/cgi-bin/user/getuserid":           {post: true, do: (*call).userByMobile},
	"/cgi-bin/user/get_userid_by_email": {post: true, do: (*call).userByEmail},
	"/cgi-bin/user/convert_to_openid":   {post: true, do: (*call).convertToOpenID},
	"/cgi-bin/department/list":          {do: (*call).departmentList},
	"/cgi-bin/department/simplelist":    {do: (*call).departmentSimpleList},
	"/cgi-bin/department/get":           {do: (*call).departmentGet},
	"/cgi-bin/agent/get":                {do: (*call).agentGet},
	"/cgi-bin/agent/list":               {do: (*call).agentList},
	"/cgi-bin/tag/get":                  {do: (*call).tagGet},
	"/cgi-bin/tag/list":                 {do: (*call).tagList},
	"/cgi-bin/get_jsapi_ticket":         {do: (*call).jsapiTicket},
	"/cgi-bin/ticket/get":               {do: (*call).agentTicket},
	"/cgi-bin/getcallbackip":            {do: (*call).callbackIPs},
	"/cgi-bin/get_api_domain_ip":        {do: (*call).apiIPs},
}

// api answers a call of the server API.
func (f *Fake) api(path string, r *http.Request) *answer {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return textAnswer(http.StatusBadRequest, "cannot read the request")
	}
	c := &call{f: f, ip: callerIP(r), query: r.URL.Query(), body: body}
	weixins := f.isWeixins(r)

	f.mu.Lock()
	e, added := endpoints[path], f.added[path]
	if added == nil && (weixins && weixinEndpoints[path] == nil || !weixins && e == nil) {
		f.mu.Unlock()
		return f.unknown(path, c.ip, weixins)
	}
	if weixins {
		f.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		return f.weixinAPI(path, r, body)
	}
	var v any
	if added != nil || !e.noToken {
		if code := c.authenticate(); code != 0 {
			v = code
		}
	}
	if v == nil && added == nil {
		if e.post && r.Method != http.MethodPost {
			v = errcode(40063)
		} else {
			v = e.do(c)
		}
	}
	f.mu.Unlock()

	if v == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		v = added(r)
	}
	if code, ok := v.(errcode); ok {
		v = f.failure(int(code), "", c.ip)
	}
	return jsonAnswer(v)
}

// unknown answers a call of an endpoint that the fake does not have. Weixin's
// errcode for such a URL is documented; WeCom's is not, so it is one that clients do not retry.
func (f *Fake) unknown(path, ip string, weixins bool) *answer {
	slog.Warn("wecomtest: the fake has no such endpoint; add it with Fake.Handle", "path", path)
	if weixins {
		return weixinAnswer(path, weixinFailure(40066, "", ip))
	}
	return jsonAnswer(f.failure(48002, "", ip))
}

// authenticate finds the app whose token the query holds. A token in the body
// does not count.
func (c *call) authenticate() errcode {
	value := c.query.Get("access_token")
	if value == "" {
		return 41001
	}
	t := c.f.tokens[value]
	if t == nil {
		return 40014
	}
	if t.dead != 0 {
		return errcode(t.dead)
	}
	if !c.f.now().Before(t.expires) {
		return 42001
	}
	c.corp = c.f.corps[t.corp]
	i := slices.IndexFunc(c.corp.apps, func(a *App) bool { return a.AgentID == t.agent && a.ContactSync == t.sync })
	if c.app = c.corp.apps[i]; c.app.Disabled {
		return 50003
	}
	if !c.app.admits(c.ip) {
		return 60020
	}
	return 0
}

// --- access token

type tokenReply struct {
	status
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

func (c *call) getToken() any {
	f, now := c.f, c.f.now()
	corpID, secret := c.query.Get("corpid"), c.query.Get("corpsecret")
	if corpID == "" {
		return errcode(41002)
	}
	if secret == "" {
		return errcode(41004)
	}
	w := f.wrong[c.ip]
	if w != nil && now.Before(w.locked) {
		return errcode(45009)
	}
	corp := f.corps[corpID]
	if corp == nil {
		return errcode(40013)
	}
	for _, a := range corp.apps {
		if a.Secret == secret {
			if a.Disabled {
				return errcode(50003)
			}
			t := f.newToken(a)
			return tokenReply{success, t.value, int64(t.expires.Sub(now) / time.Second)}
		}
	}
	if w == nil || now.Sub(w.since) > time.Hour {
		w = &wrongSecrets{since: now}
		f.wrong[c.ip] = w
	}
	if w.count++; w.count >= f.settings.WrongSecretLimit {
		w.count, w.locked = 0, now.Add(time.Hour)
	}
	for _, other := range f.corps {
		if slices.ContainsFunc(other.apps, func(a *App) bool { return a.Secret == secret }) {
			return errcode(40091)
		}
	}
	return errcode(40001)
}

// --- who signed in

type userInfo struct {
	status
	UserID         string `json:"userid,omitempty"`
	UserTicket     string `json:"user_ticket,omitempty"`
	OpenID         string `json:"openid,omitempty"`
	ExternalUserID string `json:"external_userid,omitempty"`
}

type userInfoLegacy struct {
	status
	UserID         string `json:"UserId,omitempty"`
	OpenID         string `json:"OpenId,omitempty"`
	DeviceID       string `json:"DeviceId"`
	UserTicket     string `json:"user_ticket,omitempty"`
	ExpiresIn      int64  `json:"expires_in,omitempty"`
	ExternalUserID string `json:"external_userid,omitempty"`
}

func (c *call) getUserInfo() any       { return c.exchange(false) }
func (c *call) getUserInfoLegacy() any { return c.exchange(true) }

func (c *call) exchange(legacy bool) any {
	value := c.query.Get("code")
	if value == "" {
		return errcode(41008)
	}
	k, code := c.f.redeem(value, c.corp, c.app)
	if code != 0 {
		return errcode(code)
	}
	info := userInfo{status: success, UserTicket: c.f.ticketFor(k, c.corp, c.app)}
	switch p := k.person; {
	case p.member != nil:
		info.UserID = p.member.UserID
		legacy = legacy || p.member.LegacySpelling
	case p.linked != nil:
		info.UserID = p.who()
	case p.outsider != nil:
		info.OpenID, info.ExternalUserID = p.outsider.OpenID, p.outsider.ExternalUserID
	}
	if !legacy {
		return info
	}
	old := userInfoLegacy{
		status: success, UserID: info.UserID, OpenID: info.OpenID, DeviceID: digits(16),
		UserTicket: info.UserTicket, ExternalUserID: info.ExternalUserID,
	}
	if old.UserTicket != "" {
		old.ExpiresIn = 7200 // what the old documents print, though the ticket dies earlier
	}
	return old
}

type userDetail struct {
	status
	UserID  string `json:"userid"`
	Gender  string `json:"gender"`
	Avatar  string `json:"avatar"`
	QRCode  string `json:"qr_code,omitempty"`
	Mobile  string `json:"mobile,omitempty"`
	Email   string `json:"email,omitempty"`
	BizMail string `json:"biz_mail,omitempty"`
	Address string `json:"address,omitempty"`
}

// A userDetailLegacy is what the old endpoint answers: the contacts' fields stand in it, too.
type userDetailLegacy struct {
	userDetail
	Name       string  `json:"name"`
	Department []int64 `json:"department"`
	Position   string  `json:"position"`
}

func (c *call) getUserDetail() any {
	d, _, code := c.detail()
	if code != 0 {
		return code
	}
	return d
}

func (c *call) getUserDetailLegacy() any {
	d, m, code := c.detail()
	if code != 0 {
		return code
	}
	return userDetailLegacy{d, m.Name, c.visibleOf(m), m.Position}
}

// detail returns what the member of a user_ticket agreed to show.
func (c *call) detail() (userDetail, *Member, errcode) {
	var d userDetail
	var in struct {
		UserTicket string `json:"user_ticket"`
	}
	if json.Unmarshal(c.body, &in) != nil || in.UserTicket == "" {
		return d, nil, 84090
	}
	t := c.f.tickets[in.UserTicket]
	if t == nil || t.corp != c.corp.id || t.agent != c.app.AgentID {
		return d, nil, 84015
	}
	if !c.f.now().Before(t.expires) {
		return d, nil, 84014
	}
	if c.app.SensitiveFields != nil && len(c.app.SensitiveFields) == 0 {
		return d, nil, 92001
	}
	m := c.corp.member(t.userID)
	if m == nil || !c.corp.sees(c.app, m) {
		return d, nil, 92000
	}
	d = userDetail{status: success, UserID: m.UserID, Gender: "0", Avatar: defaultAvatar}
	for _, field := range t.fields {
		switch field {
		case "gender":
			d.Gender = gender(m)
		case "avatar":
			d.Avatar = m.Avatar
		case "qr_code":
			d.QRCode = m.QRCode
		case "mobile":
			d.Mobile = m.Mobile
		case "email":
			d.Email = m.Email
		case "biz_mail":
			d.BizMail = m.BizMail
		case "address":
			d.Address = m.Address
		}
	}
	return d, m, 0
}

func gender(m *Member) string {
	if m.Gender == "" {
		return "0"
	}
	return m.Gender
}

// --- contacts

type userReply struct {
	status
	userRecord
}

// A userRecord is a member as user/get and user/list show one.
type userRecord struct {
	UserID         string   `json:"userid"`
	Name           string   `json:"name"`
	Department     []int64  `json:"department"`
	Order          []int64  `json:"order"`
	Position       string   `json:"position"`
	Mobile         string   `json:"mobile,omitempty"`
	Gender         string   `json:"gender"`
	Email          string   `json:"email,omitempty"`
	BizMail        string   `json:"biz_mail,omitempty"`
	Avatar         string   `json:"avatar,omitempty"`
	QRCode         string   `json:"qr_code,omitempty"`
	Address        string   `json:"address,omitempty"`
	IsLeaderInDept []int    `json:"is_leader_in_dept"`
	DirectLeader   []string `json:"direct_leader"`
	MainDepartment int64    `json:"main_department,omitempty"`
	Telephone      string   `json:"telephone"`
	Alias          string   `json:"alias"`
	Status         int      `json:"status"`
	Enable         int      `json:"enable"`
	IsLeader       int      `json:"isleader"`
	HideMobile     int      `json:"hide_mobile"`
	ExtAttr        struct {
		Attrs []any `json:"attrs"`
	} `json:"extattr"`
}

func (c *call) getUser() any {
	id := c.query.Get("userid")
	if id == "" {
		return errcode(41009)
	}
	if len(id) > maxUserID {
		return errcode(40003)
	}
	m, code := c.visible(id)
	if code != 0 {
		return code
	}
	return userReply{success, c.record(m)}
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

func (c *call) record(m *Member) userRecord {
	u := userRecord{
		UserID: m.UserID, Name: m.Name, Position: m.Position, Alias: m.Alias, Status: m.Status,
		Department: c.visibleOf(m), DirectLeader: []string{}, Gender: "0", // which an app may not know
	}
	u.ExtAttr.Attrs = []any{}
	u.Order, u.IsLeaderInDept = make([]int64, len(u.Department)), make([]int, len(u.Department))
	for i, d := range u.Department {
		if slices.Contains(m.LeaderOf, d) {
			u.IsLeaderInDept[i], u.IsLeader = 1, 1
		}
		if d == m.MainDepartment {
			u.MainDepartment = d
		}
	}
	if m.Status != Disabled {
		u.Enable = 1
	}
	if c.app.LegacyFields {
		u.Mobile, u.Gender, u.Email, u.BizMail = m.Mobile, gender(m), m.Email, m.BizMail
		u.Avatar, u.QRCode, u.Address = m.Avatar, m.QRCode, m.Address
	}
	return u
}

// visibleOf returns the member's departments that the app may see.
func (c *call) visibleOf(m *Member) []int64 {
	list := []int64{}
	for _, d := range m.Departments {
		if c.corp.seesDepartment(c.app, d) {
			list = append(list, d)
		}
	}
	return list
}

// listed returns the visible members of the department that the query names.
func (c *call) listed() ([]*Member, errcode) {
	id, err := strconv.ParseInt(c.query.Get("department_id"), 10, 64)
	if err != nil {
		return nil, 60123
	}
	if c.corp.department(id) == nil {
		return nil, 60003
	}
	if !c.corp.seesDepartment(c.app, id) {
		return nil, 60011
	}
	var list []*Member
	below := c.query.Get("fetch_child") == "1"
	for _, m := range c.corp.members {
		in := slices.Contains(m.Departments, id) || below && slices.ContainsFunc(m.Departments,
			func(d int64) bool { return c.corp.within(d, []int64{id}) })
		if in && c.corp.sees(c.app, m) {
			list = append(list, m)
		}
	}
	return list, 0
}

type userListReply[T any] struct {
	status
	UserList []T `json:"userlist"`
}

func (c *call) simpleList() any {
	type user struct {
		UserID     string  `json:"userid"`
		Name       string  `json:"name"`
		Department []int64 `json:"department"`
	}
	return listReply(c, func(m *Member) user { return user{m.UserID, m.Name, c.visibleOf(m)} })
}

func (c *call) userList() any { return listReply(c, c.record) }

func listReply[T any](c *call, show func(*Member) T) any {
	members, code := c.listed()
	if code != 0 {
		return code
	}
	list := []T{}
	for _, m := range members {
		list = append(list, show(m))
	}
	return userListReply[T]{success, list}
}

func (c *call) listID() any {
	if !c.app.ContactSync {
		return errcode(48002)
	}
	var in struct {
		Cursor string `json:"cursor"`
		Limit  int    `json:"limit"`
	}
	if len(c.body) > 0 && json.Unmarshal(c.body, &in) != nil {
		return errcode(40063)
	}
	type pair struct {
		UserID     string `json:"userid"`
		Department int64  `json:"department"`
	}
	all := []pair{}
	for _, m := range c.corp.members {
		for _, d := range m.Departments {
			all = append(all, pair{m.UserID, d})
		}
	}
	start := 0
	if in.Cursor != "" {
		var err error
		if start, err = strconv.Atoi(in.Cursor); err != nil || start < 0 || start > len(all) {
			return errcode(40058)
		}
	}
	if in.Limit <= 0 || in.Limit > 10000 {
		in.Limit = 10000
	}
	end, next := min(start+in.Limit, len(all)), ""
	if end < len(all) {
		next = strconv.Itoa(end)
	}
	return struct {
		status
		NextCursor string `json:"next_cursor"`
		DeptUser   []pair `json:"dept_user"`
	}{success, next, all[start:end]}
}

type userIDReply struct {
	status
	UserID string `json:"userid"`
}

// userWhere answers the visible member whom match accepts.
func (c *call) userWhere(match func(*Member) bool) any {
	for _, m := range c.corp.members {
		if match(m) && c.corp.sees(c.app, m) {
			return userIDReply{success, m.UserID}
		}
	}
	return errcode(46004)
}

func (c *call) userByMobile() any {
	var in struct {
		Mobile string `json:"mobile"`
	}
	if json.Unmarshal(c.body, &in) != nil || in.Mobile == "" {
		return errcode(40063)
	}
	return c.userWhere(func(m *Member) bool { return m.Mobile == in.Mobile })
}

func (c *call) userByEmail() any {
	var in struct {
		Email string `json:"email"`
		Type  int    `json:"email_type"`
	}
	if json.Unmarshal(c.body, &in) != nil || in.Email == "" {
		return errcode(40063)
	}
	return c.userWhere(func(m *Member) bool {
		if in.Type == 2 {
			return strings.EqualFold(m.Email, in.Email)
		}
		return strings.EqualFold(m.BizMail, in.Email)
	})
}

func (c *call) convertToOpenID() any {
	var in struct {
		UserID string `json:"userid"`
	}
	if json.Unmarshal(c.body, &in) != nil || in.UserID == "" {
		return errcode(41009)
	}
	m, code := c.visible(in.UserID)
	if code != 0 {
		return code
	}
	if m.NoWeixin {
		return errcode(43004)
	}
	return struct {
		status
		OpenID string `json:"openid"`
	}{success, madeUp(c.corp.id + " " + fold(m.UserID))}
}

type departmentRow struct {
	ID       int64    `json:"id"`
	Name     string   `json:"name"`
	NameEN   string   `json:"name_en"`
	Leaders  []string `json:"department_leader"`
	ParentID int64    `json:"parentid"`
	Order    int64    `json:"order"`
}

type departmentID struct {
	ID       int64 `json:"id"`
	ParentID int64 `json:"parentid"`
	Order    int64 `json:"order"`
}

func (d *Department) row() departmentRow {
	leaders := d.Leaders
	if leaders == nil {
		leaders = []string{}
	}
	return departmentRow{d.ID, d.Name, d.NameEN, leaders, d.ParentID, d.Order}
}

// departments returns the visible subtree below the query's id, or all that the
// app may see.
func (c *call) departments() ([]*Department, errcode) {
	id := c.query.Get("id")
	var tops []int64
	if id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return nil, 60123
		}
		if c.corp.department(n) == nil {
			return nil, 60003
		}
		if !c.corp.seesDepartment(c.app, n) {
			return nil, 60011
		}
		tops = []int64{n}
	}
	var list []*Department
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
	rows := []departmentRow{}
	for _, d := range list {
		rows = append(rows, d.row())
	}
	return struct {
		status
		Department []departmentRow `json:"department"`
	}{success, rows}
}

func (c *call) departmentSimpleList() any {
	list, code := c.departments()
	if code != 0 {
		return code
	}
	rows := []departmentID{}
	for _, d := range list {
		rows = append(rows, departmentID{d.ID, d.ParentID, d.Order})
	}
	return struct {
		status
		Department []departmentID `json:"department_id"`
	}{success, rows}
}

func (c *call) departmentGet() any {
	if c.query.Get("id") == "" {
		return errcode(60123)
	}
	list, code := c.departments()
	if code != 0 {
		return code
	}
	id, _ := strconv.ParseInt(c.query.Get("id"), 10, 64) // departments has parsed it
	i := slices.IndexFunc(list, func(d *Department) bool { return d.ID == id })
	return struct {
		status
		Department departmentRow `json:"department"`
	}{success, list[i].row()}
}

// --- the app

func (c *call) agentGet() any {
	id := c.query.Get("agentid")
	if id == "" {
		return errcode(41011)
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return errcode(40056)
	}
	if id != c.app.AgentID {
		if c.corp.app(id) == nil {
			return errcode(40056)
		}
		return errcode(301002)
	}
	type user struct {
		UserID string `json:"userid"`
	}
	type users struct {
		User []user `json:"user"`
	}
	type parties struct {
		PartyID []int64 `json:"partyid"`
	}
	type tags struct {
		TagID []int64 `json:"tagid"`
	}
	a := c.app
	reply := struct {
		status
		AgentID            int64   `json:"agentid"`
		Name               string  `json:"name"`
		SquareLogoURL      string  `json:"square_logo_url"`
		Description        string  `json:"description"`
		AllowUserinfos     users   `json:"allow_userinfos"`
		AllowPartys        parties `json:"allow_partys"`
		AllowTags          tags    `json:"allow_tags"`
		Close              int     `json:"close"`
		RedirectDomain     string  `json:"redirect_domain"`
		ReportLocationFlag int     `json:"report_location_flag"`
		IsReportEnter      int     `json:"isreportenter"`
		HomeURL            string  `json:"home_url"`
	}{
		status: success, AgentID: n, Name: a.Name, SquareLogoURL: defaultAvatar,
		AllowUserinfos: users{[]user{}},
		AllowPartys:    parties{append([]int64{}, a.VisibleDepartments...)},
		AllowTags:      tags{append([]int64{}, a.VisibleTags...)},
	}
	for _, id := range a.VisibleUsers {
		reply.AllowUserinfos.User = append(reply.AllowUserinfos.User, user{id})
	}
	if a.seesAll() {
		reply.AllowPartys.PartyID = []int64{rootDept}
	}
	if len(a.TrustedDomains) > 0 {
		reply.RedirectDomain = a.TrustedDomains[0]
	}
	return reply
}

// agentList answers with the one app whose token it is.
func (c *call) agentList() any {
	type agent struct {
		AgentID       int64  `json:"agentid"`
		Name          string `json:"name"`
		SquareLogoURL string `json:"square_logo_url"`
	}
	list := []agent{}
	if id, err := strconv.ParseInt(c.app.AgentID, 10, 64); err == nil {
		list = append(list, agent{id, c.app.Name, defaultAvatar})
	}
	return struct {
		status
		AgentList []agent `json:"agentlist"`
	}{success, list}
}

func (c *call) tagList() any {
	type tag struct {
		ID   int64  `json:"tagid"`
		Name string `json:"tagname"`
	}
	list := []tag{}
	for _, t := range c.corp.tags {
		list = append(list, tag{t.ID, t.Name})
	}
	return struct {
		status
		TagList []tag `json:"taglist"`
	}{success, list}
}

func (c *call) tagGet() any {
	id, err := strconv.ParseInt(c.query.Get("tagid"), 10, 64)
	if err != nil {
		return errcode(40068)
	}
	t := c.corp.tag(id)
	if t == nil {
		return errcode(40068)
	}
	type user struct {
		UserID string `json:"userid"`
		Name   string `json:"name"`
	}
	list := []user{}
	for _, id := range t.Users {
		if m := c.corp.member(id); m != nil && c.corp.sees(c.app, m) {
			list = append(list, user{m.UserID, m.Name})
		}
	}
	parties := []int64{}
	for _, d := range t.Departments {
		if c.corp.seesDepartment(c.app, d) {
			parties = append(parties, d)
		}
	}
	return struct {
		status
		TagName   string  `json:"tagname"`
		UserList  []user  `json:"userlist"`
		PartyList []int64 `json:"partylist"`
	}{success, t.Name, list, parties}
}

type ticketReply struct {
	status
	Ticket    string `json:"ticket"`
	ExpiresIn int64  `json:"expires_in"`
}

// jsTicket is constant per corp or app: nothing in the fake checks signatures
// made with it.
func (c *call) jsTicket(of string) any {
	t := "fake-" + of + "-" + c.corp.id + "-" + c.app.AgentID
	return ticketReply{success, t + strings.Repeat("0", max(0, 86-len(t))), 7200}
}

func (c *call) jsapiTicket() any { return c.jsTicket("jsapi") }

func (c *call) agentTicket() any {
	if c.query.Get("type") != "agent_config" {
		return errcode(40063)
	}
	return c.jsTicket("agent")
}

type ipReply struct {
	status
	IPList []string `json:"ip_list"`
}

func (c *call) callbackIPs() any { return ipReply{success, []string{"192.0.2.0/26", "192.0.2.129"}} }
func (c *call) apiIPs() any      { return ipReply{success, []string{"198.51.100.8", "198.51.100.9"}} }
