package wecomtest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/wecomtest"
)

func TestContacts(t *testing.T) {
	fake := wecomtest.New()
	before := fake.Contacts()
	require.NoError(t, fake.SetContacts(before))
	assert.Equal(t, string(before), string(fake.Contacts()), "there and back")

	// As department/list, user/list and tag/get answer, fields that the fake does not know among them.
	require.NoError(t, fake.SetContacts([]byte(`{
		"errcode": 0, "errmsg": "ok",
		"department": [{"id": 1, "name": "示例"}, {"id": 7, "name": "财务", "parentid": 1, "department_leader": ["ZhaoMin"]}],
		"userlist": [
			{"userid": "ZhaoMin", "name": "赵敏", "department": [1, 7], "is_leader_in_dept": [0, 1], "main_department": 7, "status": 2, "extattr": {"attrs": []}},
			{"userid": "new", "name": "新人"}
		],
		"taglist": [{"tagid": 3, "tagname": "报销", "userlist": [{"userid": "zhaomin", "name": "赵敏"}], "partylist": [7]}]
	}`)))
	m, ok := fake.Member("zhaomin")
	require.True(t, ok)
	assert.Equal(t, wecomtest.Member{CorpID: fake.CorpID(), UserID: "ZhaoMin", Name: "赵敏", Departments: []int64{1, 7}, MainDepartment: 7, LeaderOf: []int64{7}, Status: wecomtest.Disabled}, m)
	m, _ = fake.Member("new")
	assert.Equal(t, []int64{1}, m.Departments)
	assert.Equal(t, wecomtest.Active, m.Status)
	_, ok = fake.Member("zhangsan")
	assert.False(t, ok)
}

func TestContactsThatCannotBe(t *testing.T) {
	const root = `"department": [{"id": 1, "name": "示例"}]`
	for data, want := range map[string]string{
		`[]`:                          "cannot unmarshal",
		`{}`:                          "department 1, the corp itself, is missing",
		`{"department": [{"id": 1}]}`: "department 1 needs an id of its own, and a name",
		`{` + root + `, "userlist": [{"name": "无名"}]}`:                                                      "member 1 needs a userid",
		`{` + root + `, "userlist": [{"userid": "a"}, {"userid": "A"}]}`:                                    "member 2 needs a userid of its own",
		`{` + root + `, "userlist": [{"userid": "a", "department": [9]}]}`:                                  "member a is in a department that is not there",
		`{` + root + `, "taglist": [{"tagid": 1, "userlist": [{"userid": "a"}]}]}`:                          "tag 1 needs",
		`{"department": [{"id": 1, "name": "示例"}, {"id": 2, "name": "研发", "parentid": 5}], "userlist": []}`: "department 2 is below one that is not there",
	} {
		fake := wecomtest.New()
		before := string(fake.Contacts())
		assert.ErrorContains(t, fake.SetContacts([]byte(data)), want, data)
		assert.Equal(t, before, string(fake.Contacts()), "nothing has changed")
	}
}
