package main_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/wecomtest"
)

const (
	eventToken = "Tok3nForTests"
	eventKey   = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

var eventPair = []string{"WECOM_EVENT_TOKEN=" + eventToken, "WECOM_EVENT_AES_KEY=" + eventKey}

// receiver is the gateway's URL as it is entered in the admin console for the app.
func (w *world) receiver(g *gateway) wecomtest.EventReceiver {
	return wecomtest.EventReceiver{AgentID: w.fake.AgentID(), URL: g.url + "/wecom/events", Token: eventToken, EncodingAESKey: eventKey}
}

// Somebody leaves: WeCom tells the gateway, and their session is over.
func TestEvents(t *testing.T) {
	for _, tc := range []struct {
		name   string
		env    []string
		folder string
	}{
		{"upstream", eventPair, "/wecom"},
		{"forward mode", append([]string{"WECOM_UPSTREAM="}, eventPair...), "/wecom"},
		{"another folder", eventPair, "/sso"},
		{"while the pair is changed", []string{
			"WECOM_EVENT_TOKEN=AnotherToken", "WECOM_EVENT_AES_KEY=" + strings.Repeat("k", 43),
			"WECOM_EARLIER_EVENT_TOKEN=" + eventToken, "WECOM_EARLIER_EVENT_AES_KEY=" + eventKey,
		}, "/wecom"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			addr := freeAddr(t)
			g := w.start(append([]string{"ADDR=" + addr, "WECOM_CALLBACK_URL=http://" + addr + tc.folder + "/callback"}, tc.env...)...)
			r := w.receiver(g)
			r.URL = g.url + tc.folder + "/events"
			require.NoError(t, w.fake.SaveEventReceiver(r))
			r.AgentID = "" // contact sync may have the same URL and the same pair
			require.NoError(t, w.fake.SaveEventReceiver(r))
			zhangsan := g.client()
			zhangsan.get("/")
			w.fake.SignInAs("lisi")
			lisi := g.client()
			lisi.get("/")
			require.Equal(t, 204, zhangsan.script(tc.folder+"/auth").StatusCode)

			w.fake.RemoveMember("zhangsan")
			require.NoError(t, w.fake.AwaitEvents(t.Context()))
			for _, d := range w.fake.Deliveries() {
				assert.Equal(t, 200, d.Status, "%s\n%s", d.Message, g.log())
			}
			assert.Equal(t, 401, zhangsan.script(tc.folder+"/auth").StatusCode)
			assert.Equal(t, 204, lisi.script(tc.folder+"/auth").StatusCode)
			g.wait("request", "route", "events", "status", float64(200))
			assert.NotContains(t, g.log(), eventKey)

			assert.Equal(t, 400, g.client().script(tc.folder+"/events").StatusCode)
			assert.Equal(t, 405, g.client().send("PUT", tc.folder+"/events", nil, false).StatusCode)
			r.Token = "another"
			assert.ErrorContains(t, w.fake.SaveEventReceiver(r), "403")
		})
	}
	t.Run("not set", func(t *testing.T) {
		w := newWorld(t)
		g := w.start()
		assert.ErrorContains(t, w.fake.SaveEventReceiver(w.receiver(g)), "404")
	})
}

func TestUnusableEventSettings(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		env  []string
		says []string
	}{
		{[]string{"WECOM_EVENT_TOKEN=CANARY"}, []string{"WECOM_EVENT_AES_KEY: want the 43 "}},
		{[]string{"WECOM_EVENT_AES_KEY=" + eventKey}, []string{"WECOM_EVENT_TOKEN: want "}},
		{[]string{"WECOM_EVENT_TOKEN=CANARY", "WECOM_EVENT_AES_KEY=" + eventKey[1:]}, []string{"WECOM_EVENT_AES_KEY: want the 43 "}},
		{[]string{"WECOM_EVENT_TOKEN=CANARY CANARY", "WECOM_EVENT_AES_KEY=" + eventKey}, []string{"WECOM_EVENT_TOKEN: want "}},
		{[]string{"WECOM_EVENT_TOKEN=" + strings.Repeat("CANARY", 6), "WECOM_EVENT_AES_KEY=" + eventKey}, []string{"WECOM_EVENT_TOKEN: want "}},
		{append([]string{"WECOM_EARLIER_EVENT_TOKEN=CANARY"}, eventPair...), []string{"WECOM_EARLIER_EVENT_AES_KEY: want the 43 "}},
		{append([]string{"WECOM_EARLIER_EVENT_AES_KEY=CANARY", "WECOM_SECRET="}, eventPair...), []string{"WECOM_EARLIER_EVENT_AES_KEY: want ", "WECOM_EARLIER_EVENT_TOKEN: want ", "WECOM_SECRET is missing"}},
	} {
		status, _, stderr := runOnce(t, w.env(tc.env...), "-check")
		assert.Equal(t, 2, status, tc.env)
		for _, says := range tc.says {
			assert.Contains(t, stderr, "  "+says)
		}
		assert.Equal(t, 2+len(tc.says), strings.Count(stderr, "\n"), stderr)
		assert.NotContains(t, stderr, "CANARY")
		assert.NotContains(t, stderr, eventKey[1:])
	}
}
