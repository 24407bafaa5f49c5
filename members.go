package wecom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wecomauth/wecom/internal/jsonx"
)

// A Member is what WeCom tells about a member (成员) of the corp. A field that was not
// given is its zero value, whatever the reason: the app may not see it, the member did
// not consent, or it is empty. Apps created after 20 June 2022 get no gender, avatar,
// mobile number, mailbox, QR code or address from [Client.User].
type Member struct {
	// UserID is the member's id as WeCom spells it. Ids that differ only in case
	// are one member: compare by [Identity.Key].
	UserID   string `json:"user_id"`
	Name     string `json:"name,omitempty"`
	Alias    string `json:"alias,omitempty"`
	Position string `json:"position,omitempty"`

	// Departments holds the ids of the departments that the app may see.
	Departments []int64 `json:"departments,omitempty"`
	// Orders says where the member stands in each of Departments; larger is
	// further up. It exceeds 32 bits with a sign.
	Orders []int64 `json:"orders,omitempty"`
	// LeaderOf are those of Departments that the member leads.
	LeaderOf       []int64 `json:"leader_of,omitempty"`
	MainDepartment int64   `json:"main_department,omitempty"`
	// DirectLeaders are user ids.
	DirectLeaders []string `json:"direct_leaders,omitempty"`

	// Status is 1 for an active member, 2 for a disabled one, 4 for one who has
	// not activated WeCom yet and 5 for one who left. 0 is not known.
	Status int `json:"status,omitempty"`
	// Gender is 1 for male and 2 for female. 0 is not known or not granted.
	Gender int `json:"gender,omitempty"`

	// BizMail is the mailbox that the corp gives; Email may be edited by the member.
	BizMail   string `json:"biz_mail,omitempty"`
	Email     string `json:"email,omitempty"`
	Mobile    string `json:"mobile,omitempty"`
	Telephone string `json:"telephone,omitempty"`
	Address   string `json:"address,omitempty"`
	AvatarURL string `json:"avatar_url,omitempty"`
	QRCodeURL string `json:"qr_code_url,omitempty"`
}

// A Department is one node of the corp's tree (部门). The root's id is 1.
type Department struct {
	ID int64 `json:"id"`
	// ParentID is 0 for the root. The parent need not be among the departments
	// that the app may see.
	ParentID int64 `json:"parent_id,omitempty"`
	// Order says where the department stands among its siblings; larger is
	// further up. It exceeds 32 bits with a sign.
	Order int64 `json:"order,omitempty"`
	// Name, NameEN and Leaders, who are user ids, are empty in what
	// [Client.DepartmentIDs] returns.
	Name    string   `json:"name,omitempty"`
	NameEN  string   `json:"name_en,omitempty"`
	Leaders []string `json:"leaders,omitempty"`
}

// An Agent is the app (应用) as its page in the admin console has it.
type Agent struct {
	AgentID     string `json:"agent_id"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	LogoURL     string `json:"logo_url,omitempty"`
	HomeURL     string `json:"home_url,omitempty"`
	// RedirectDomain is the trusted domain (可信域名), with its port if it has
	// one. WeCom shows no other domain than this one, and 授权回调域 not at all.
	RedirectDomain string `json:"redirect_domain,omitempty"`
	// Closed says that the app is disabled.
	Closed bool `json:"closed,omitempty"`
	// VisibleUsers, VisibleDepartments and VisibleTags are the visible range (可见范围).
	VisibleUsers       []string `json:"visible_users,omitempty"`
	VisibleDepartments []int64  `json:"visible_departments,omitempty"`
	VisibleTags        []int64  `json:"visible_tags,omitempty"`
}

// User returns a member's record (user/get). If [APIError.Denied] reports true
// for the error, there is no such member, or none in the app's visible range (可见范围).
func (c *Client) User(ctx context.Context, userID string) (Member, error) {
	const op = "user/get"
	if userID == "" {
		return Member{}, errors.New("wecom: " + op + ": the user id is empty")
	}
	return ask(ctx, c, http.MethodGet, op, url.Values{"userid": {userID}}, nil, func(answer jsonx.Object) (Member, error) {
		m, err := memberOf(answer)
		if err == nil && foldCase(m.UserID) != foldCase(userID) {
			err = errors.New("it is about another member")
		}
		return m, err
	})
}

// UserDetail returns what a member and the corp's administrator agreed to show
// (auth/getuserdetail): some of gender, avatar, QR code, mobile number, mailboxes and
// address, and nothing else but the user id. WeCom gives the ticket, valid for half an
// hour, when a member signs in on the in-app page with the scope snsapi_privateinfo;
// [Options].Profile uses it at sign-in.
func (c *Client) UserDetail(ctx context.Context, ticket Secret) (Member, error) {
	const op = "auth/getuserdetail"
	if ticket.Reveal() == "" {
		return Member{}, errors.New("wecom: " + op + ": the user_ticket is empty")
	}
	return ask(ctx, c, http.MethodPost, op, nil, map[string]any{"user_ticket": ticket.Reveal()}, memberOf)
}

// UserIDByMobile returns the user id of the member with a mobile number. Many wrong
// numbers (more than a fifth of the corp's head count) make WeCom refuse further ones
// for a day. If [APIError.Denied] reports true for the error, the app may see nobody
// with that number.
func (c *Client) UserIDByMobile(ctx context.Context, mobile string) (string, error) {
	return ask(ctx, c, http.MethodPost, "user/getuserid", nil, map[string]any{"mobile": mobile}, memberID)
}

// UserIDByEmail is UserIDByMobile for the mailbox that the corp gives
// (企业邮箱), not for the one that a member may edit.
func (c *Client) UserIDByEmail(ctx context.Context, bizMail string) (string, error) {
	return ask(ctx, c, http.MethodPost, "user/get_userid_by_email", nil, map[string]any{"email": bizMail, "email_type": 1}, memberID)
}

// Departments returns a department and all below it, or with id 0 all
// departments, as far as the app may see them, in no particular order
// (department/list). WeCom calls it slow, and the answer for a corp with some thousands
// of departments may exceed the 1 MiB that a Client reads by default (see [Limits]):
// [Client.DepartmentIDs] needs a quarter of that.
func (c *Client) Departments(ctx context.Context, id int64) ([]Department, error) {
	return c.departments(ctx, "department/list", "department", id)
}

// DepartmentIDs is Departments without names and leaders (department/simplelist).
func (c *Client) DepartmentIDs(ctx context.Context, id int64) ([]Department, error) {
	return c.departments(ctx, "department/simplelist", "department_id", id)
}

func (c *Client) departments(ctx context.Context, op, field string, id int64) ([]Department, error) {
	query := url.Values{}
	if id != 0 {
		query.Set("id", strconv.FormatInt(id, 10))
	}
	return ask(ctx, c, http.MethodGet, op, query, nil, func(answer jsonx.Object) ([]Department, error) {
		rows, present, err := answer.Objects(field)
		if err == nil && !present {
			err = fmt.Errorf("there is no %s", field)
		}
		list := make([]Department, len(rows))
		for i := 0; err == nil && i < len(rows); i++ {
			list[i], err = departmentOf(rows[i])
		}
		return list, err
	})
}

// Agent returns the app whose token the client uses (agent/get). It needs Options.AgentID.
func (c *Client) Agent(ctx context.Context) (Agent, error) {
	const op = "agent/get"
	if c == nil || c.tokens == nil {
		return Agent{}, errZeroClient
	}
	if c.app.AppID == "" {
		return Agent{}, errors.New("wecom: " + op + ": set Options.AgentID")
	}
	return ask(ctx, c, http.MethodGet, op, url.Values{"agentid": {c.app.AppID}}, nil, func(answer jsonx.Object) (Agent, error) {
		a, err := agentOf(answer)
		if err == nil && a.AgentID != c.app.AppID {
			err = errors.New("it is about another app")
		}
		return a, err
	})
}

// ask is Call for our own use: read reads the answer strictly, key by key.
func ask[T any](ctx context.Context, c *Client, method, op string, query url.Values, in map[string]any, read func(answer jsonx.Object) (T, error)) (T, error) {
	var none T
	if c == nil || c.tokens == nil {
		return none, errZeroClient
	}
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in) // strings and numbers only: it cannot fail
	}
	_, answer, err := c.call(ctx, method, op, query, body)
	if err != nil {
		return none, err
	}
	v, err := read(answer)
	if err != nil {
		return none, unreadable(op, err)
	}
	return v, nil
}

// The answers differ by the age of the app, by what was granted and by the
// platform's own history: a number may be a string, a string a number. Fields that a
// person's rights depend on (id, departments, status) must be readable; others that are
// not readable are left empty.

func memberOf(o jsonx.Object) (m Member, err error) {
	if m.UserID, err = memberID(o); err != nil {
		return Member{}, err
	}
	if m.Departments, err = numbers(o, "department"); err != nil {
		return Member{}, err
	}
	status, err := number(o, "status")
	if err != nil {
		return Member{}, err
	}
	gender, _ := number(o, "gender")
	m.Status, m.Gender = int(min(status, math.MaxInt32)), int(gender) // more could be 1 where an int has 32 bits
	m.MainDepartment, _ = number(o, "main_department")
	m.Orders, _ = numbers(o, "order")
	leads, _ := numbers(o, "is_leader_in_dept")
	for i, d := range m.Departments {
		if i < len(leads) && leads[i] == 1 {
			m.LeaderOf = append(m.LeaderOf, d)
		}
	}
	m.DirectLeaders = leaders(o, "direct_leader")

	m.Name, m.Alias, m.Position = text(o, "name"), text(o, "alias"), text(o, "position")
	m.Telephone, m.Address = text(o, "telephone"), text(o, "address")
	m.BizMail, m.Email, m.Mobile = word(o, "biz_mail"), word(o, "email"), word(o, "mobile")
	m.AvatarURL, m.QRCodeURL = link(o, "avatar"), link(o, "qr_code")
	return m, nil
}

func departmentOf(o jsonx.Object) (d Department, err error) {
	if d.ID, err = number(o, "id"); err == nil && d.ID == 0 {
		err = errors.New("a department has no id")
	}
	if err != nil {
		return d, err
	}
	if d.ParentID, err = number(o, "parentid"); err != nil {
		return d, err
	}
	d.Order, _ = number(o, "order")
	d.Name, d.NameEN = text(o, "name"), text(o, "name_en")
	d.Leaders = leaders(o, "department_leader")
	return d, nil
}

func agentOf(o jsonx.Object) (a Agent, err error) {
	if a.AgentID, _, err = o.IntOrString("agentid"); err != nil {
		return a, err
	}
	closed, err := number(o, "close")
	if err != nil {
		return a, err
	}
	a.Closed = closed != 0
	a.Name, a.Description = text(o, "name"), text(o, "description")
	a.LogoURL, a.HomeURL, a.RedirectDomain = link(o, "square_logo_url"), link(o, "home_url"), word(o, "redirect_domain")
	users, _, err := o.Object("allow_userinfos")
	list, _, listErr := users.Objects("user")
	if err = errors.Join(err, listErr); err != nil {
		return a, err
	}
	for _, u := range list {
		id, err := memberID(u)
		if err != nil {
			return a, err
		}
		a.VisibleUsers = append(a.VisibleUsers, id)
	}
	departments, _, err := o.Object("allow_partys")
	tags, _, tagsErr := o.Object("allow_tags")
	if err = errors.Join(err, tagsErr); err != nil {
		return a, err
	}
	a.VisibleDepartments, err = numbers(departments, "partyid")
	a.VisibleTags, tagsErr = numbers(tags, "tagid")
	return a, errors.Join(err, tagsErr)
}

// memberID reads the id of a member of this corp, which holds no slash.
func memberID(o jsonx.Object) (string, error) {
	id, err := idOf(o, "userid", "UserId", "userId")
	switch {
	case err != nil:
		return "", err
	case id == "" || len(id) > maxID || strings.Contains(id, "/"):
		return "", fmt.Errorf("there is no userid of 1 to %d bytes without a slash", maxID)
	}
	return id, nil
}

// idOf returns the id under the first of the names that is present, and "" if
// there is none or it is empty.
func idOf(answer jsonx.Object, names ...string) (string, error) {
	id, _, err := answer.String(names...)
	if err != nil {
		return "", err
	}
	if !isID(id) {
		return "", fmt.Errorf("%s holds a character that no id has", names[0])
	}
	return id, nil
}

// isID says whether all characters of id are such as ids have. Not only control
// characters are none: what is invisible or reverses the text makes two people
// look like one.
func isID(id string) bool {
	return !strings.ContainsFunc(id, func(r rune) bool { return r == ' ' || r == utf8.RuneError || !unicode.IsPrint(r) })
}

// leaders reads a list of user ids. Anything else is left out.
func leaders(o jsonx.Object, name string) []string {
	list, _, _ := o.Strings(name)
	return slices.DeleteFunc(list, func(id string) bool { return id == "" || !isID(id) })
}

// number reads an integer, or a string that holds one. Absent or empty is 0.
func number(o jsonx.Object, name string) (int64, error) {
	s, _, err := o.IntOrString(name)
	if err != nil || s == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not an integer", name)
	}
	return n, nil
}

// numbers reads an array of integers, or of strings that hold them.
func numbers(o jsonx.Object, name string) ([]int64, error) {
	list, _, err := o.Ints(name)
	if err == nil {
		return list, nil
	}
	words, _, wrong := o.Strings(name)
	if wrong != nil {
		return nil, err
	}
	list = make([]int64, len(words))
	for i, w := range words {
		if list[i], err = strconv.ParseInt(w, 10, 64); err != nil {
			return nil, fmt.Errorf("%s holds something that is no integer", name)
		}
	}
	return list, nil
}

const (
	maxID   = 64   // bytes of a user id, an openid, a corp id
	maxText = 1024 // bytes of a field that people fill in
)

// text reads what is shown to people. Members enter some of it themselves.
func text(o jsonx.Object, name string) string {
	s, _, err := o.IntOrString(name)
	if err != nil || len(s) > maxText {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// word reads what is compared: a mailbox, a mobile number, a domain. It is as
// WeCom sends it, or "".
func word(o jsonx.Object, name string) string {
	s, _, err := o.IntOrString(name)
	if err != nil || len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }) {
		return ""
	}
	return s
}

// link reads a URL that a page may use as it is: http or https, never javascript.
func link(o jsonx.Object, name string) string {
	s := word(o, name)
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return s
}
