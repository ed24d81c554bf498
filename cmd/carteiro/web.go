package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"carteiro/core/admin"
	"carteiro/core/config"
	"carteiro/hooks"
)

// maxRequest bounds the body of a request to a policy.
const maxRequest = 1 << 20

// serveHTTP is what an http listener answers: the policies' pages, metrics
// and health.
func (s *server) serveHTTP(lc config.Listener) func(context.Context, net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", admin.Metrics(s.journal))
	mux.HandleFunc("GET /health", admin.Health(s.store))
	mux.HandleFunc("/b/{bundle}/{path...}", s.servePolicy)
	return func(ctx context.Context, ln net.Listener) error {
		if lc.TLS == "implicit" {
			ln = tls.NewListener(ln, s.certs.config())
		}
		return admin.Serve(ctx, ln, mux)
	}
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
