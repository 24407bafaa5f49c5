package wecomtest

import "github.com/wecomauth/wecom"

// Options returns options that sign in to the default app of this fake, in this
// process and without a socket: CorpID, AgentID, Secret, CallbackURL and
// Transport are set, and whatever else is wanted may be added. callbackURL is usually
// under the origin that [Fake.Browser] is given, and https.
func (f *Fake) Options(callbackURL string) wecom.Options {
	return wecom.Options{
		CorpID:      f.CorpID(),
		AgentID:     f.AgentID(),
		Secret:      wecom.NewSecret(f.Secret()),
		CallbackURL: callbackURL,
		Transport:   f.Transport(),
	}
}

// Endpoints returns the addresses of this server in the place of WeCom's own.
func (s *Server) Endpoints() wecom.Endpoints {
	return wecom.Endpoints{
		API:       s.URL(),
		Authorize: s.URL() + inAppPath,
		WebLogin:  s.URL() + webPath,

		PanelScript: s.URL() + panelPath,
	}
}
