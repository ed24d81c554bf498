package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/hooks"
)

// maxRequest bounds the body of a request to a policy.
const maxRequest = 1 << 20

// serveHTTP is what an http listener answers: the policies' pages, metrics,
// health, and, where a token is set, operators' calls.
func (s *server) serveHTTP(lc config.Listener) func(context.Context, net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", admin.Metrics(s.journal))
	mux.HandleFunc("GET /health", admin.Health(s.store))
	mux.HandleFunc("/b/{bundle}/{path...}", s.servePolicy)
	if s.cfg.Web.Secret != "" {
		mux.Handle("/v1/", s.operators(lc))
	}
	return func(ctx context.Context, ln net.Listener) error {
		if lc.TLS == "implicit" {
			ln = tls.NewListener(ln, s.certs.config())
		}
		return admin.Serve(ctx, ln, mux)
	}
}

// operators serves the calls of the admin socket to whoever has the token
// (RFC 6750). Like a password it is not taken in the clear, except from this
// host: from a proxy, say, that speaks TLS with the world.
func (s *server) operators(lc config.Listener) http.Handler {
	calls := sync.OnceValue(func() http.Handler { return s.service().Handler() })
	want := sha256.Sum256([]byte(s.cfg.Web.Secret))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse := func(status int, text string) {
			s.journal.WarnContext(r.Context(), "api refused", "ip", r.RemoteAddr, "call", r.URL.Path, "status", status)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]string{"error": text})
		}
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if r.TLS == nil && !lc.InsecureAuth && (err != nil || !from.Addr().Unmap().IsLoopback()) {
			refuse(http.StatusForbidden, "a token needs TLS")
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="carteiro"`)
			refuse(http.StatusUnauthorized, "no valid token")
			return
		}
		calls().ServeHTTP(w, r)
	})
}

// servePolicy hands a request to web.request.
func (s *server) servePolicy(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "request too large", http.StatusRequestEntityTooLarge)
		return
	}
	answer, ok := s.pipeline.Web(r.Context(), r.PathValue("bundle"), policyRequest(r, string(body)))
	if !ok {
		http.NotFound(w, r)
		return
	}
	for name, value := range answer.Headers {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", answer.Type)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(answer.Status)
	io.WriteString(w, answer.Body)
}

func policyRequest(r *http.Request, body string) *hooks.Request {
	req := &hooks.Request{Method: r.Method, Path: "/" + r.PathValue("path"), Query: first(r.URL.Query()), Headers: map[string]string{}, Body: body}
	for name, values := range r.Header {
		req.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	req.IP, _, _ = net.SplitHostPort(r.RemoteAddr)
	r.Body = io.NopCloser(strings.NewReader(body))
	if err := r.ParseMultipartForm(maxRequest); err == nil || err == http.ErrNotMultipart {
		req.Form = first(r.PostForm)
	}
	return req
}

// first takes the first of each parameter's values.
func first(v url.Values) map[string]string {
	out := make(map[string]string, len(v))
	for name := range v {
		out[name] = v.Get(name)
	}
	return out
}
