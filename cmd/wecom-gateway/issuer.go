package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
)

// An oidcClient is an entry of WECOM_ISSUER_CLIENTS.
type oidcClient struct {
	ID                     string        `yaml:"id"`
	Secret                 string        `yaml:"secret"`
	Public                 bool          `yaml:"public"`
	RedirectURIs           []string      `yaml:"redirect_uris"`
	PostLogoutRedirectURIs []string      `yaml:"post_logout_redirect_uris"`
	BackChannelLogoutURI   string        `yaml:"backchannel_logout_uri"`
	Scopes                 []string      `yaml:"scopes"`
	OfflineAccess          time.Duration `yaml:"offline_access"`
	Algorithm              string        `yaml:"algorithm"`
	DangerouslyAllowHTTP   bool          `yaml:"dangerously_allow_http"`
	condition              `yaml:",inline"`
}

type clientsFile struct {
	Clients []oidcClient `yaml:"clients"`
}

// readClients reads a file. The error joins all that is wrong with it, each with its
// line; what issuer.New judges is left to it.
func readClients(name string) (clients []issuer.Client, conditions []condition, _ error) {
	var file clientsFile
	at, err := readFile(name, &file, "clients")
	if err != nil {
		return nil, nil, err
	}
	if len(file.Clients) == 0 {
		return nil, nil, errors.New("it holds no clients")
	}
	var errs []error
	for i, c := range file.Clients {
		c.place = fmt.Sprintf("%s:%d", name, at[i])
		client, err := c.read()
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d (%s): %w", at[i], c.ID, err))
		}
		clients, conditions = append(clients, client), append(conditions, c.condition)
	}
	return clients, conditions, errors.Join(errs...)
}

func (c oidcClient) read() (issuer.Client, error) {
	client := issuer.Client{
		ID: c.ID, RedirectURIs: c.RedirectURIs, PostLogoutRedirectURIs: c.PostLogoutRedirectURIs,
		BackChannelLogoutURI: c.BackChannelLogoutURI, Scopes: c.Scopes, OfflineAccess: c.OfflineAccess, Algorithm: c.Algorithm, DangerouslyAllowHTTP: c.DangerouslyAllowHTTP,
	}
	sum, err := c.secret()
	if err != nil {
		return client, err
	}
	client.SecretSHA256 = sum
	if client.Authorize, err = c.authorizer(); err != nil {
		return client, err
	}
	return client, client.Check()
}

var variable = regexp.MustCompile(`^\$\{?([A-Z][A-Z0-9_]*)\}?$`)

// secret returns the hash of the client's secret, "" for a public client.
func (c oidcClient) secret() (string, error) {
	sum, hashed := strings.CutPrefix(c.Secret, "sha256:")
	name := variable.FindStringSubmatch(c.Secret)
	switch {
	case c.Public && c.Secret != "":
		return "", errors.New("public: true goes without a secret")
	case c.Public:
		return "", nil
	case hashed:
		return sum, nil
	case name == nil:
		return "", errors.New("secret: want sha256: and the hash, or $NAME for a variable of the environment, or public: true")
	case strings.HasPrefix(name[1], "WECOM_"):
		return "", fmt.Errorf("secret: %s is the gateway's own: no client may know it", name[1])
	case len(os.Getenv(name[1])) < 16:
		return "", fmt.Errorf("secret: the variable %s holds less than 16 characters", name[1])
	}
	return hashOf(os.Getenv(name[1])), nil
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func (c *config) hasIssuer() bool { return c.clientsFile != "" || c.audience != "" || len(c.hosts) > 0 }

func (c *config) parseIssuer(v map[string]string, wrong *mistakes) {
	c.clientsFile, c.audience = v["WECOM_ISSUER_CLIENTS"], v["WECOM_ASSERTION_AUDIENCE"]
	if c.clientsFile != "" {
		clients, conditions, err := readClients(c.clientsFile)
		c.clients, c.conditions = clients, append(c.conditions, conditions...)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				wrong.add("WECOM_ISSUER_CLIENTS", "%s", line)
			}
		}
	}
	if c.Recheck == 0 && !c.hasEvents() && slices.ContainsFunc(c.clients, func(one issuer.Client) bool { return one.OfflineAccess > 0 }) {
		c.warnings = append(c.warnings, "WECOM_ISSUER_CLIENTS: with offline_access, somebody who leaves stays signed in for as long as that, unless WECOM_RECHECK or events end it")
	}
	if u, err := url.Parse(c.audience); c.audience != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		wrong.add("WECOM_ASSERTION_AUDIENCE", "want a URL such as https://wiki.example.com")
	}
	for rest := []byte(v["WECOM_SIGNING_KEYS"]); len(strings.TrimSpace(string(rest))) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			wrong.add("WECOM_SIGNING_KEYS", "want private keys in PEM")
			return
		}
		key, err := privateKey(block.Bytes)
		if err != nil {
			wrong.add("WECOM_SIGNING_KEYS", "want private keys in PEM, of type PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY")
			return
		}
		c.signingKeys = append(c.signingKeys, key)
	}
}

func privateKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if signer, ok := key.(crypto.Signer); err == nil && ok {
		return signer, nil
	}
	return nil, errors.New("no private key")
}

// issuer signs ID tokens and assertions; nil if none are wanted. auth is nil if it could not be made.
func (c *config) issuer(auth *wecom.Middleware, told *groups, s *stores, log *slog.Logger) (*issuer.Issuer, error) {
	if !c.hasIssuer() || auth == nil || c.callback == nil {
		return nil, nil
	}
	// A key of its own, which neither the cookies' keys nor WeCom's secret follow from.
	key := cmp.Or(c.StateKey.Reveal(), c.Secret.Reveal())
	return issuer.New(issuer.Options{
		Middleware: auth, URL: c.issuerURL(), MountPath: c.MountPath,
		Clients: c.clients, Store: s.sessions, Key: wecom.NewSecret(hashOf("wecom-gateway issuer\x00" + key)), SigningKeys: c.signingKeys,
		Groups: func(ctx context.Context, id wecom.Identity) ([]string, error) {
			text, err := told.of(ctx, id)
			return readable(text), err
		},
		Email: c.emails.of, SessionLifetime: c.SessionLifetime, Logger: log,
	})
}

func (c *config) issuerURL() string {
	u := *c.callback
	u.Path = path.Dir(u.Path)
	return u.String()
}

func (g *gateway) reloadClients(file string) {
	clients, _, err := readClients(file)
	if err == nil {
		err = g.issuer.SetClients(clients)
	}
	if err != nil {
		g.log.Error("WECOM_ISSUER_CLIENTS cannot be used: the clients from before stay", "cause", err.Error())
		return
	}
	g.log.Info("the clients were read again", "clients", len(clients))
}

// assertion returns the signed statement of who is signed in, "" if none is wanted. ok is false, and the
// request answered, if there is none to be had.
func (g *gateway) assertion(w http.ResponseWriter, r *http.Request, id wecom.Identity) (signed string, ok bool) {
	if g.audience == "" || id.Key() == "" {
		return "", true
	}
	signed, err := g.issuer.Assertion(r.Context(), id, g.audience)
	if err != nil {
		g.fail(w, r, &wecom.Failure{Status: http.StatusServiceUnavailable, Code: "session_store"}, "no assertion can be signed", err)
	}
	return signed, err == nil
}

// An assertionKey is what the request's context holds its assertion under.
type assertionKey struct{}

func withAssertion(r *http.Request, signed string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), assertionKey{}, signed))
}

// printClient shows what to enter in other programs for a client.
func (c *config) printClient(id string, out io.Writer) {
	secret, base := "(the client's secret)", "https://"+id+".example.com"
	known := false
	for _, client := range c.clients {
		if client.ID == id {
			known = true
			if u, err := url.Parse(client.RedirectURIs[0]); err == nil {
				base = u.Scheme + "://" + u.Host
			}
		}
	}
	if !known {
		secret = rand.Text() + rand.Text()
		fmt.Fprintf(out, newClient, id, hashOf(secret), base, secret)
	}
	fmt.Fprintf(out, programs, c.issuerURL(), id, secret, base)
}

const newClient = `# There is no client %[1]s. To make one, add this to the clients of WECOM_ISSUER_CLIENTS, keep the
# redirect URI of the program that it is for, and send the gateway SIGHUP. The program gets
# the secret %[4]s, the file its hash:
clients:
  - id: %[1]s
    secret: sha256:%[2]s
    redirect_uris:
      - %[3]s/login/generic_oauth           # Grafana
      - %[3]s/users/auth/openid_connect/callback   # GitLab
      - %[3]s/user/oauth2/wecom/callback    # Gitea
      - %[3]s/auth/callback                 # Argo CD
      - %[3]s/callback                      # Nightingale

`

// The settings are those of docs/issuer.md and docs/issuer-programs.md.
const programs = `# Any program that reads discovery, such as oauth2-proxy
issuer: %[1]s
client id: %[2]s
client secret: %[3]s
scopes: openid profile email groups
PKCE: S256

# Grafana: grafana.ini
[server]
root_url = %[4]s
[auth.generic_oauth]
enabled = true
name = WeCom
client_id = %[2]s
client_secret = %[3]s
scopes = openid profile email groups
auth_url = %[1]s/authorize
token_url = %[1]s/token
api_url = %[1]s/userinfo
use_pkce = true
login_attribute_path = preferred_username
groups_attribute_path = groups

# GitLab: gitlab.rb
gitlab_rails['omniauth_allow_single_sign_on'] = ['openid_connect']
gitlab_rails['omniauth_block_auto_created_users'] = false
gitlab_rails['omniauth_providers'] = [{
  name: "openid_connect", label: "WeCom",
  args: {
    name: "openid_connect", scope: ["openid", "profile", "email"], response_type: "code",
    issuer: "%[1]s", discovery: true, client_auth_method: "basic", uid_field: "sub", pkce: true,
    client_options: {
      identifier: "%[2]s", secret: "%[3]s",
      redirect_uri: "%[4]s/users/auth/openid_connect/callback"
    }
  }
}]

# Gitea: app.ini
[oauth2_client]
ENABLE_AUTO_REGISTRATION = true
USERNAME = preferred_username

# Gitea: once, as the user that runs it
gitea admin auth add-oauth --name wecom --provider openidConnect --key %[2]s --secret %[3]s \
  --auto-discover-url %[1]s/.well-known/openid-configuration \
  --scopes "profile email groups" --group-claim-name groups

# Argo CD: argocd-cm
url: %[4]s
oidc.config: |
  name: WeCom
  issuer: %[1]s
  clientID: %[2]s
  clientSecret: %[3]s
  requestedScopes: [openid, profile, email, groups]
  logoutURL: %[1]s/end-session?id_token_hint={{token}}

# Nightingale: 系统配置, 单点登录, OIDC
Enable = true
DisplayName = 'WeCom'
RedirectURL = '%[4]s/callback'
SsoAddr = '%[1]s'
SsoLogoutAddr = '%[1]s/end-session?id_token_hint={{$__id_token__}}'
ClientId = '%[2]s'
ClientSecret = '%[3]s'
CoverAttributes = true
DefaultRoles = ['Standard']
Scopes = ['openid', 'profile', 'email']
[Attributes]
Username = 'preferred_username'
Nickname = 'name'
Email = 'email'
`
