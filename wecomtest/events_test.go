package wecomtest_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/events"
	"github.com/wecomauth/wecom/wecomtest"
)

// A receiver may be saved again while events of the earlier one are on their way.
func TestEventReceiverIsReplaced(t *testing.T) {
	const token, key = "Tok3nForTests", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	fake := wecomtest.New()
	receiver, err := events.New(events.Options{Token: wecom.NewSecret(token), EncodingAESKey: wecom.NewSecret(key), ReceiveIDs: []string{fake.CorpID()}})
	require.NoError(t, err)
	entered, release := make(chan struct{}), make(chan struct{})
	var posts atomic.Int64
	at := wecomtest.EventReceiver{AgentID: fake.AgentID(), URL: "https://app.example.com/wecom/events", Token: token, EncodingAESKey: key,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				entered <- struct{}{}
				if posts.Add(1) == 1 {
					<-release
				}
			}
			receiver.ServeHTTP(w, r)
			_, _ = w.Write(nil)
			w.WriteHeader(http.StatusTeapot) // too late
		})}
	require.NoError(t, fake.SaveEventReceiver(at))
	require.Len(t, fake.EventReceivers(), 1)
	assert.True(t, fake.EventReceivers()[0].Verified)
	fake.PostEvent(fake.AgentID(), map[string]string{"Event": "one"})
	<-entered
	require.NoError(t, fake.SaveEventReceiver(at))
	fake.PostEvent(fake.AgentID(), map[string]string{"Event": "two"})
	<-entered
	close(release)
	require.NoError(t, fake.AwaitEvents(t.Context()))
	require.Len(t, fake.Deliveries(), 2)
	for _, d := range fake.Deliveries() {
		assert.Equal(t, http.StatusOK, d.Status, "what the handler said first")
	}
}

// What one fake saved, another takes without asking the program again.
func TestEventReceivers(t *testing.T) {
	asked := 0
	at := wecomtest.EventReceiver{URL: "https://app.example.com/wecom/events", Token: "Tok3nForTests", EncodingAESKey: "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ })}
	fake := wecomtest.New()
	require.ErrorContains(t, fake.SaveEventReceiver(at), "echostr")
	assert.Empty(t, fake.EventReceivers())
	at.Verified = true
	require.NoError(t, fake.SaveEventReceiver(at))
	require.Len(t, fake.EventReceivers(), 1)
	require.NoError(t, wecomtest.New().SaveEventReceiver(fake.EventReceivers()[0]))
	assert.Equal(t, 1, asked)
}
