package envoptions

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
)

// All returns the variables of [wecom.Options], in the order in which a program may show them.
func All() Variables { return slices.Clone(all) }

var all = withReaders(Variables{
	{Name: "WECOM_CORP_ID", Option: "CorpID", Usage: "corp id (企业ID)"},
	{Name: "WECOM_AGENT_ID", Option: "AgentID", Usage: "AgentId of the app"},
	{Name: "WECOM_SECRET", Option: "Secret", Usage: "Secret of the app", Secret: true},
	{Name: "WECOM_CALLBACK_URL", Option: "CallbackURL", Usage: "absolute URL of the callback, such as https://app.example.com/wecom/callback"},
	{Name: "WECOM_MOUNT_PATH", Option: "MountPath", Usage: "prefix that a proxy in front takes off the path, such as /app"},
	{Name: "WECOM_HOME_PATH", Option: "HomePath", Usage: "where a sign-in ends that has no page to return to; default: the folder above the own routes"},
	{Name: "WECOM_APP_NAME", Option: "AppName", Usage: "what people call the application; stands on every page of ours"},
	{Name: "WECOM_CONTACT", Option: "Contact", Usage: "whom people can ask: text, mailto:it@example.com or an https URL; likewise"},
	{Name: "WECOM_MEMBERS", Option: "Authorize", Default: "all", Usage: "all, visible (in the app's visible range, 可见范围) or active (that, and neither disabled nor gone)", Restricts: true, read: members},
	{Name: "WECOM_ALLOW_USERS", Option: "Authorize", Usage: "user ids, separated by commas; with the next two, whoever fits one of them may come in", Restricts: true, read: allowUsers},
	{Name: "WECOM_ALLOW_DEPARTMENTS", Option: "Authorize", Usage: "department ids; those below them count", Restricts: true, read: allowNumbers(allow.Departments)},
	{Name: "WECOM_ALLOW_TAGS", Option: "Authorize", Usage: "tag ids (标签)", Restricts: true, read: allowNumbers(allow.Tags)},
	{Name: "WECOM_ALLOW_OUTSIDERS", Option: "AllowOutsiders", Default: "false", Usage: "true admits people who are not members of the corp"},
	{Name: "WECOM_ALLOW_LINKED_CORPS", Option: "AllowLinkedCorps", Default: "false", Usage: "true admits members of linked corps (互联企业)"},
	{Name: "WECOM_PROFILE", Option: "Profile", Default: "false", Usage: "true fetches name, departments and so on at the sign-in"},
	{Name: "WECOM_PROFILE_REQUIRED", Option: "ProfileRequired", Default: "false", Usage: "true fails a sign-in whose profile cannot be fetched"},
	{Name: "WECOM_RECHECK", Option: "Recheck", Usage: "how often a member is looked up again, such as 10m; default: never"},
	{Name: "WECOM_SCOPE", Option: "Scope", Usage: "snsapi_base (default), snsapi_privateinfo or snsapi_userinfo"},
	{Name: "WECOM_PAGE", Option: "Page", Default: "auto", Usage: "auto, in-app, web or weixin"},
	{Name: "WECOM_LOGIN_PANEL", Option: "LoginPanel", Default: "false", Usage: "true signs in on a page of the site's own, which contains WeCom's login panel"},
	{Name: "WECOM_JSSDK", Option: "JSSDK", Default: "false", Usage: "true signs pages for WeCom's JS-SDK"},
	{Name: "WECOM_LANGUAGE", Option: "Language", Usage: "zh or en; default: the browser's"},
	{Name: "WECOM_SESSION_LIFETIME", Option: "SessionLifetime", Default: "12h", Usage: "how long a sign-in lasts"},
	{Name: "WECOM_IDLE_TIMEOUT", Option: "IdleTimeout", Usage: "ends a session that was not used for that long; default: none"},
	{Name: "WECOM_DOMAIN_PROOF", Option: "DomainProof", Usage: "names of WW_verify_….txt files to serve, separated by commas"},
	{Name: "WECOM_TRUSTED_PROXIES", Option: "TrustedProxies", Usage: "addresses and CIDRs, separated by commas, whose forwarding headers are believed"},
	{Name: "WECOM_STATE_KEY", Option: "StateKey", Usage: "key that signs pending sign-ins instead of one derived from the secret: 32 bytes at least", Secret: true},
	{Name: "WECOM_EARLIER_STATE_KEYS", Option: "EarlierStateKeys", Usage: "keys, separated by commas, that signed before WECOM_STATE_KEY or WECOM_SECRET was changed", Secret: true},
	{Name: "WECOM_API_URL", Option: "Endpoints.API", Usage: "replaces https://qyapi.weixin.qq.com"},
	{Name: "WECOM_AUTHORIZE_URL", Option: "Endpoints.Authorize", Usage: "replaces https://open.weixin.qq.com/connect/oauth2/authorize"},
	{Name: "WECOM_WEB_LOGIN_URL", Option: "Endpoints.WebLogin", Usage: "replaces https://login.work.weixin.qq.com/wwlogin/sso/login"},
	{Name: "WECOM_PANEL_SCRIPT_URL", Option: "Endpoints.PanelScript", Usage: "URL or path of the script that WECOM_LOGIN_PANEL loads"},
	{Name: "WECOM_LIMIT_SIGN_IN", Option: "Limits.SignIn", Default: "10s", Usage: "how long a sign-in may take"},
	{Name: "WECOM_LIMIT_CALL", Option: "Limits.Call", Default: "5s", Usage: "how long a call to WeCom may take"},
	{Name: "WECOM_LIMIT_SESSION_STORE", Option: "Limits.SessionStore", Default: "2s", Usage: "how long a call of the session store may take"},
	{Name: "WECOM_LIMIT_ANSWER_BYTES", Option: "Limits.AnswerBytes", Default: "1048576", Usage: "how much of an answer of WeCom is read"},
	{Name: "WECOM_DANGEROUSLY_ALLOW_HTTP", Option: "DangerouslyAllowHTTP", Default: "false", Usage: "true accepts a callback with plain http: everybody on the network path can take over sessions"},
})

// withReaders lets each variable that has no reader set the field that its Option names.
func withReaders(vs Variables) Variables {
	for i, v := range vs {
		if v.read == nil {
			vs[i].read = func(r *reading, value string) error {
				field := reflect.ValueOf(&r.options).Elem()
				for name := range strings.SplitSeq(v.Option, ".") {
					field = field.FieldByName(name)
				}
				return set(field.Addr().Interface(), value, v.Default != "")
			}
		}
	}
	return vs
}

// set reads value into the field that to points to. zeroIsDefault says that the
// field's zero value stands for something else than none.
func set(to any, value string, zeroIsDefault bool) error {
	switch to := to.(type) {
	case *string:
		*to = value
	case *wecom.Secret:
		*to = wecom.NewSecret(value)
	case *[]string:
		*to = list(value)
	case *[]wecom.Secret:
		for _, key := range list(value) {
			*to = append(*to, wecom.NewSecret(key))
		}
	case *bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q: want true or false", value)
		}
		*to = b
	case *int64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n <= 0 {
			return fmt.Errorf("%q: want a positive number", value)
		}
		*to = n
	case *time.Duration:
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 || d == 0 && zeroIsDefault {
			return fmt.Errorf("%q: want a time such as 90s, 10m or 12h", value)
		}
		*to = d
	case *wecom.Page:
		switch page := wecom.Page(value); page {
		case "auto":
		case wecom.PageInApp, wecom.PageWeb, wecom.PageWeixin:
			*to = page
		default:
			return fmt.Errorf("%q: want auto, in-app, web or weixin", value)
		}
	case *[]netip.Prefix:
		return setPrefixes(to, value)
	default:
		panic(fmt.Sprintf("envoptions: a variable for a %T", to))
	}
	return nil
}

func setPrefixes(to *[]netip.Prefix, value string) error {
	var errs []error
	for _, one := range list(value) {
		p, err := netip.ParsePrefix(one)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(one); a.Zone() != "" {
				err = errors.New("a zone")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%q: want addresses and CIDRs such as 10.0.0.7,192.168.0.0/24", one))
		case p.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("%q: write an IPv4 address or CIDR: peers are compared as IPv4", one))
		default:
			*to = append(*to, p.Masked())
		}
	}
	return errors.Join(errs...)
}

func members(r *reading, value string) error {
	switch value {
	case "all":
	case "visible":
		r.members = append(r.members, allow.Visible())
	case "active":
		r.members = append(r.members, allow.Active())
	default:
		return fmt.Errorf("%q: want all, visible or active", value)
	}
	return nil
}

func allowUsers(r *reading, value string) error {
	users := list(value)
	if len(users) == 0 {
		return errors.New("want user ids, separated by commas")
	}
	for _, id := range users {
		if strings.Contains(id, "/") {
			return fmt.Errorf("%q: no member's id holds a slash", id)
		}
	}
	r.listed = append(r.listed, allow.Users(users...))
	return nil
}

func allowNumbers(authorizer func(...int64) wecom.Authorizer) func(*reading, string) error {
	return func(r *reading, value string) error {
		var ids []int64
		for _, item := range list(value) {
			id, err := strconv.ParseInt(item, 10, 64)
			if err != nil || id <= 0 {
				return fmt.Errorf("%q: want ids, which are numbers, separated by commas", value)
			}
			ids = append(ids, id)
		}
		if len(ids) == 0 {
			return errors.New("want ids, which are numbers, separated by commas")
		}
		r.listed = append(r.listed, authorizer(ids...))
		return nil
	}
}

// authorize makes one authorizer of what the variables say, or none.
func (r *reading) authorize() {
	every := r.members
	if len(r.listed) > 0 {
		every = append(every, allow.Any(r.listed...))
	}
	if len(every) > 0 {
		r.options.Authorize = allow.All(every...)
	}
}

func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
