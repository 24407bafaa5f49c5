package issuer

import (
	"net/http"

	"github.com/wecomauth/wecom"
)

func (s *Issuer) endSession(w http.ResponseWriter, r *http.Request, id wecom.Identity) {
	s.fail(w, r, errRequest)
}
