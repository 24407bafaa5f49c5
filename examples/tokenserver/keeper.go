package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenserver"
)

// A keeper is a token server whose apps are the accounts as the table has them at the time: every one
// by its name, and the current one as "current".
type keeper struct {
	accounts *accounts
	tokens   wecom.TokenStore
	api      string               // where WeCom's API is; "": WeCom's own
	clients  []tokenserver.Client // may have the tokens of all accounts
	every    time.Duration        // how old the accounts may be: reading them costs milliseconds, and anybody can ask
	log      *slog.Logger

	mu     sync.Mutex
	read   time.Time
	rows   []account
	server *tokenserver.Server // for rows
}

// ServeHTTP answers with the server for the accounts of this moment.
func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	server := k.now(r.Context())
	if server == nil {
		w.Header().Set("Retry-After", "10")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"error":"unavailable","message":"There is no account."}`)
		return
	}
	server.ServeHTTP(w, r)
}

// now returns the server for the accounts of this moment; nil if there are none. While the table cannot be
// read, the accounts stay as they were.
func (k *keeper) now(ctx context.Context) *tokenserver.Server {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.read) < k.every {
		return k.server
	}
	k.read = time.Now()
	rows, err := k.accounts.list(context.WithoutCancel(ctx)) // it serves those who come next, too
	if err == nil && (k.server == nil || !slices.Equal(rows, k.rows)) {
		err = k.change(rows)
	}
	if err != nil {
		k.log.Warn("accounts: they stay as they were", "error", err)
	}
	return k.server
}

// change makes the server for rows. Its clients find the tokens of the ones before in the store.
func (k *keeper) change(rows []account) error {
	if len(rows) == 0 {
		k.rows, k.server = nil, nil
		return nil
	}
	sources := map[string]wecom.TokenSource{}
	for _, row := range rows {
		o := row.options()
		o.TokenStore, o.Endpoints.API = k.tokens, k.api
		client, err := wecom.NewClient(o)
		if err != nil {
			return errors.Join(errors.New("account "+row.Name), err)
		}
		sources[row.Name] = client
		if row.Current {
			sources[currentName] = briefly{client}
		}
	}
	clients := slices.Clone(k.clients)
	for i := range clients {
		for name := range sources {
			clients[i].Apps = append(slices.Clip(clients[i].Apps), name)
		}
	}
	server, err := tokenserver.New(tokenserver.Config{Apps: sources, Clients: clients, Logger: k.log})
	if err != nil {
		return err
	}
	k.rows, k.server = rows, server
	return nil
}

// A briefly hands tokens out for two minutes at most, so that services which keep them soon ask again, and
// notice that another account is the current one.
type briefly struct{ wecom.TokenSource }

func (b briefly) Token(ctx context.Context) (wecom.Token, error) {
	t, err := b.TokenSource.Token(ctx)
	if soon := time.Now().Add(2 * time.Minute); err == nil && (t.Expires.IsZero() || t.Expires.After(soon)) {
		t.Expires = soon
	}
	return t, err
}
