package httpin

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"carteiro/hooks"
)

// servePage calls the backend for a request to a page.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.MaxBody))
	if err != nil {
		http.Error(w, "request too large", http.StatusRequestEntityTooLarge)
		return
	}
	answer, ok := s.backend.Web(r.Context(), r.PathValue("bundle"), pageRequest(r, string(body)))
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

// pageRequest is a request as policies see it.
func pageRequest(r *http.Request, body string) *hooks.Request {
	req := &hooks.Request{
		Method:  r.Method,
		Path:    "/" + r.PathValue("path"),
		Query:   firstValues(r.URL.Query()),
		Headers: map[string]string{},
		Body:    body,
	}
	for name, values := range r.Header {
		req.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	req.IP, _, _ = net.SplitHostPort(r.RemoteAddr)
	r.Body = io.NopCloser(strings.NewReader(body))
	if err := r.ParseMultipartForm(int64(len(body))); err == nil || err == http.ErrNotMultipart {
		req.Form = firstValues(r.PostForm)
	}
	return req
}

// firstValues takes the first of each parameter's values.
func firstValues(v url.Values) map[string]string {
	out := make(map[string]string, len(v))
	for name := range v {
		out[name] = v.Get(name)
	}
	return out
}
