package httpin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// requireToken passes requests with the token (RFC 6750) to calls. Like a password, the
// token is not accepted without TLS, except from this host, where a proxy may speak TLS
// with the clients.
func (s *Server) requireToken(calls http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.cfg.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if r.TLS == nil && !s.cfg.InsecureAuth && (err != nil || !from.Addr().Unmap().IsLoopback()) {
			s.refuse(w, r, http.StatusForbidden, "a token needs TLS")
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="carteiro"`)
			s.refuse(w, r, http.StatusUnauthorized, "no valid token")
			return
		}
		// An operator may hand in a large message, or watch a trace for hours.
		conn := http.NewResponseController(w)
		conn.SetReadDeadline(time.Time{})
		conn.SetWriteDeadline(time.Time{})
		calls.ServeHTTP(w, r)
	})
}

// refuse answers with an error as JSON and logs it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.cfg.Log.WarnContext(r.Context(), "api refused", "ip", r.RemoteAddr, "call", r.URL.Path, "status", status)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": text})
}
