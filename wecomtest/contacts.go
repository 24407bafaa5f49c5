package wecomtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// contacts are a corp's departments, members and tags in a file, spelled as WeCom's API answers:
// "department" as department/list, "userlist" as user/list, "taglist" as tag/list with what tag/get adds.
type contacts struct {
	Departments []contactsDepartment `json:"department"`
	Members     []contactsMember     `json:"userlist"`
	Tags        []contactsTag        `json:"taglist,omitempty"`
}

type contactsDepartment struct {
	ID       int64    `json:"id"`
	Name     string   `json:"name"`
	NameEN   string   `json:"name_en,omitempty"`
	ParentID int64    `json:"parentid,omitempty"`
	Order    int64    `json:"order,omitempty"`
	Leaders  []string `json:"department_leader,omitempty"`
}

type contactsMember struct {
	UserID         string  `json:"userid"`
	Name           string  `json:"name"`
	Departments    []int64 `json:"department,omitempty"`
	MainDepartment int64   `json:"main_department,omitempty"`
	LeaderOf       []int64 `json:"-"`
	IsLeader       []int   `json:"is_leader_in_dept,omitempty"`
	Status         int     `json:"status,omitempty"`
	Gender         string  `json:"gender,omitempty"`
	Position       string  `json:"position,omitempty"`
	Alias          string  `json:"alias,omitempty"`
	Mobile         string  `json:"mobile,omitempty"`
	Email          string  `json:"email,omitempty"`
	BizMail        string  `json:"biz_mail,omitempty"`
	Avatar         string  `json:"avatar,omitempty"`
	QRCode         string  `json:"qr_code,omitempty"`
	Address        string  `json:"address,omitempty"`
}

type contactsTag struct {
	ID      int64  `json:"tagid"`
	Name    string `json:"tagname"`
	Members []struct {
		UserID string `json:"userid"`
	} `json:"userlist,omitempty"`
	Departments []int64 `json:"partylist,omitempty"`
}

const maxContacts = 100_000

// SetContacts replaces departments, members and tags of the default corp by those in data, JSON as
// WeCom's API answers it:
//
//	{
//	  "department": [{"id": 1, "name": "示例科技"}, {"id": 2, "name": "研发部", "parentid": 1}],
//	  "userlist": [{"userid": "zhangsan", "name": "张三", "department": [2], "position": "研发经理"}],
//	  "taglist": [{"tagid": 1, "tagname": "值班", "userlist": [{"userid": "zhangsan"}], "partylist": [2]}]
//	}
//
// so that answers of department/list, user/list and tag/get can be put together. Fields that it does
// not know are ignored. Event receivers hear what changed. The error says what cannot be; then nothing has changed.
func (f *Fake) SetContacts(data []byte) error {
	var in contacts
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("wecomtest: contacts: %w", err)
	}
	if len(in.Departments)+len(in.Members)+len(in.Tags) > maxContacts {
		return fmt.Errorf("wecomtest: contacts: more than %d entries", maxContacts)
	}
	c := corp{id: demoCorp}
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("wecomtest: contacts: "+format, args...))
	}
	departments := map[int64]bool{}
	for i, d := range in.Departments {
		if d.ID <= 0 || d.Name == "" || departments[d.ID] {
			wrong("department %d needs an id of its own, and a name", i+1)
		}
		departments[d.ID] = true
		if d.ParentID == 0 && d.ID != rootDept {
			d.ParentID = rootDept
		}
		c.departments = append(c.departments, &Department{demoCorp, d.ID, d.Name, d.NameEN, d.ParentID, d.Order, d.Leaders})
	}
	if !departments[rootDept] {
		wrong("department 1, the corp itself, is missing")
	}
	known := func(id int64) bool { return departments[id] }
	unknown := func(ids []int64) bool { return slices.ContainsFunc(ids, func(id int64) bool { return !known(id) }) }
	for _, d := range c.departments {
		if d.ID != rootDept && !known(d.ParentID) {
			wrong("department %d is below one that is not there", d.ID)
		}
	}
	members := map[string]bool{}
	for i, m := range in.Members {
		if m.UserID == "" || len(m.UserID) > maxUserID || members[fold(m.UserID)] {
			wrong("member %d needs a userid of its own, of 1 to 64 bytes", i+1)
		}
		members[fold(m.UserID)] = true
		if len(m.Departments) == 0 {
			m.Departments = []int64{rootDept}
		}
		if unknown(m.Departments) {
			wrong("member %s is in a department that is not there", m.UserID)
		}
		for j, leads := range m.IsLeader {
			if leads == 1 && j < len(m.Departments) {
				m.LeaderOf = append(m.LeaderOf, m.Departments[j])
			}
		}
		if m.MainDepartment == 0 {
			m.MainDepartment = m.Departments[0]
		}
		if m.Status == 0 {
			m.Status = Active
		}
		c.members = append(c.members, &Member{
			CorpID: demoCorp, UserID: m.UserID, Name: m.Name, Departments: m.Departments, MainDepartment: m.MainDepartment,
			LeaderOf: m.LeaderOf, Status: m.Status, Gender: m.Gender, Position: m.Position, Alias: m.Alias, Mobile: m.Mobile,
			Email: m.Email, BizMail: m.BizMail, Avatar: m.Avatar, QRCode: m.QRCode, Address: m.Address,
		})
	}
	for i, t := range in.Tags {
		users := make([]string, len(t.Members))
		for j, m := range t.Members {
			users[j] = m.UserID
		}
		if t.ID <= 0 || slices.ContainsFunc(c.tags, func(u *Tag) bool { return u.ID == t.ID }) || unknown(t.Departments) ||
			slices.ContainsFunc(users, func(id string) bool { return !members[fold(id)] }) {
			wrong("tag %d needs a tagid of its own, and members and departments that are there", i+1)
		}
		c.tags = append(c.tags, &Tag{demoCorp, t.ID, t.Name, users, t.Departments})
	}
	if err := errors.Join(mistakes...); err != nil {
		return err
	}
	f.edit(nil, func() {
		now := f.corps[demoCorp]
		now.departments, now.members, now.tags = c.departments, c.members, c.tags
	})
	return nil
}

// Contacts returns departments, members and tags of the default corp, as [Fake.SetContacts] takes them.
func (f *Fake) Contacts() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.corps[demoCorp]
	var out contacts
	for _, d := range c.departments {
		out.Departments = append(out.Departments, contactsDepartment{d.ID, d.Name, d.NameEN, d.ParentID, d.Order, d.Leaders})
	}
	for _, m := range c.members {
		leads := make([]int, len(m.Departments))
		for i, id := range m.Departments {
			if slices.Contains(m.LeaderOf, id) {
				leads[i] = 1
			}
		}
		out.Members = append(out.Members, contactsMember{
			UserID: m.UserID, Name: m.Name, Departments: m.Departments, MainDepartment: m.MainDepartment, IsLeader: leads,
			Status: m.Status, Gender: m.Gender, Position: m.Position, Alias: m.Alias, Mobile: m.Mobile, Email: m.Email,
			BizMail: m.BizMail, Avatar: m.Avatar, QRCode: m.QRCode, Address: m.Address,
		})
	}
	for _, t := range c.tags {
		tag := contactsTag{ID: t.ID, Name: t.Name, Departments: t.Departments}
		for _, id := range t.Users {
			tag.Members = append(tag.Members, struct {
				UserID string `json:"userid"`
			}{id})
		}
		out.Tags = append(out.Tags, tag)
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		panic(err) // strings and numbers
	}
	return append(data, '\n')
}

// OnChange makes the fake call changed whenever somebody changed the contacts by a button of the fake's own page.
// changed may call the Fake.
func (f *Fake) OnChange(changed func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = changed
}
