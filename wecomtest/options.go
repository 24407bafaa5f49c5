package wecomtest

import "github.com/wecomauth/wecom"

// Options returns options that sign in to the default app of this fake, in this process and without
// a socket: CorpID, AgentID, Secret, CallbackURL and Transport are set, and whatever else is wanted
// may be added. callbackURL is usually under the origin that [Fake.Browser] is given, and https.
// With [Server.Endpoints] added, a real browser is sent to the server's pages, and the calls stay
// in the process.
func (f *Fake) Options(callbackURL string) wecom.Options {
	return wecom.Options{
		CorpID:      f.CorpID(),
		AgentID:     f.AgentID(),
		Secret:      wecom.NewSecret(f.Secret()),
		CallbackURL: callbackURL,
		Transport:   f.Transport(),
	}
}

// Options returns options that sign in to the default app of this server's fake in a real browser:
// those of [Fake.Options], with [Server.Endpoints] in the place of the transport, so that pages and
// calls go over the network. callbackURL is usually on loopback, where http will do.
func (s *Server) Options(callbackURL string) wecom.Options {
	o := s.fake.Options(callbackURL)
	o.Endpoints, o.Transport = s.Endpoints(), nil
	return o
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
