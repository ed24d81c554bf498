package httpin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"carteiro/hooks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backendFunc is a backend that is one function.
type backendFunc func(ctx context.Context, bundle string, req *hooks.Request) (hooks.Response, bool)

func (f backendFunc) Web(ctx context.Context, bundle string, req *hooks.Request) (hooks.Response, bool) {
	return f(ctx, bundle, req)
}

// noPages is a backend without pages.
var noPages = backendFunc(func(context.Context, string, *hooks.Request) (hooks.Response, bool) { return hooks.Response{}, false })

// text answers every request with a text.
func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) })
}

// TestRoutes: which paths are served, and by which handler.
func TestRoutes(t *testing.T) {
	page := backendFunc(func(_ context.Context, bundle string, req *hooks.Request) (hooks.Response, bool) {
		if bundle != "list" {
			return hooks.Response{}, false
		}
		return hooks.Response{Status: 201, Type: "text/plain", Headers: map[string]string{"X-Page": req.Path}, Body: req.Method}, true
	})
	full := Config{Token: "secret", Calls: text("call"), Metrics: text("metrics"), Health: text("ok"), MaxBody: 10}
	for _, tt := range []struct {
		name               string
		cfg                Config
		method, path, body string
		status             int
		want               string // the body
	}{
		{"a page", full, "GET", "/b/list/a/b", "", 201, "GET"},
		{"a page's root", full, "GET", "/b/list/", "", 201, "GET"},
		{"the largest body", full, "POST", "/b/list/a", "0123456789", 201, "POST"},
		{"a body too large", full, "POST", "/b/list/a", "0123456789a", 413, "request too large\n"},
		{"no such bundle", full, "GET", "/b/other/a", "", 404, "404 page not found\n"},
		{"the root", full, "GET", "/", "", 404, "404 page not found\n"},
		{"metrics", full, "GET", "/metrics", "", 200, "metrics"},
		{"metrics by POST", full, "POST", "/metrics", "", 405, "Method Not Allowed\n"},
		{"health", full, "GET", "/health", "", 200, "ok"},
		{"a call without the token", full, "POST", "/v1/status", "", 401, `{"error":"no valid token"}` + "\n"},
		{"no calls without a token", Config{Calls: text("call")}, "POST", "/v1/status", "", 404, "404 page not found\n"},
		{"no metrics", Config{}, "GET", "/metrics", "", 404, "404 page not found\n"},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
		r.RemoteAddr = "127.0.0.1:1"
		New(tt.cfg, page).handler().ServeHTTP(w, r)
		if w.Code != tt.status || w.Body.String() != tt.want {
			t.Errorf("%s: %d %q, want %d %q", tt.name, w.Code, w.Body, tt.status, tt.want)
		}
		if h := w.Header(); tt.status == 201 && (h.Get("Content-Type") != "text/plain" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("X-Page") != strings.TrimPrefix(tt.path, "/b/list")) {
			t.Errorf("%s: header section %v", tt.name, h)
		}
	}
}

// TestPageRequest: a request as policies see it.
func TestPageRequest(t *testing.T) {
	var parts bytes.Buffer
	m := multipart.NewWriter(&parts)
	m.WriteField("name", "value of a part")
	m.Close()
	for _, tt := range []struct {
		name, contentType, body string
		form                    map[string]string
	}{
		{"no form", "text/plain", "a=b", map[string]string{}},
		{"a form", "application/x-www-form-urlencoded", "a=b&a=c&d=%20", map[string]string{"a": "b", "d": " "}},
		{"a form in parts", m.FormDataContentType(), parts.String(), map[string]string{"name": "value of a part"}},
		{"a form that is broken", "multipart/form-data", "x", nil},
	} {
		var got *hooks.Request
		keep := backendFunc(func(_ context.Context, _ string, req *hooks.Request) (hooks.Response, bool) {
			got = req
			return hooks.Response{Status: 200}, true
		})
		r := httptest.NewRequest("POST", "/b/list/leave/now?token=1&token=2", strings.NewReader(tt.body))
		r.RemoteAddr = "[2001:db8::1]:1234"
		r.Header.Set("Content-Type", tt.contentType)
		r.Header["X-Two"] = []string{"1", "2"}
		New(Config{}, keep).handler().ServeHTTP(httptest.NewRecorder(), r)
		if got.Method != "POST" || got.Path != "/leave/now" || got.Query["token"] != "1" || got.IP != "2001:db8::1" || got.Body != tt.body ||
			got.Headers["x-two"] != "1, 2" || got.Headers["content-type"] != tt.contentType || fmt.Sprint(got.Form) != fmt.Sprint(tt.form) {
			t.Errorf("%s: %+v, want form %v", tt.name, got, tt.form)
		}
	}
}

// TestToken: who may call, from where.
func TestToken(t *testing.T) {
	const token = "0123456789abcdef"
	for _, tt := range []struct {
		name, remote, authorization string
		tls, insecure               bool
		want                        int
	}{
		{"another host in the clear", "192.0.2.1:1234", "Bearer " + token, false, false, 403},
		{"another host in the clear, mapped", "[::ffff:192.0.2.1]:1234", "Bearer " + token, false, false, 403},
		{"no address", "@", "Bearer " + token, false, false, 403},
		{"another host with TLS", "192.0.2.1:1234", "Bearer " + token, true, false, 200},
		{"another host, allowed", "192.0.2.1:1234", "Bearer " + token, false, true, 200},
		{"another host, allowed, no token", "192.0.2.1:1234", "", false, true, 401},
		{"this host", "127.0.0.1:1", "Bearer " + token, false, false, 200},
		{"this host, IPv6", "[::1]:1", "bearer  " + token, false, false, 200},
		{"no token", "[::1]:1", "", false, false, 401},
		{"a part of the token", "[::1]:1", "Bearer " + token[1:], false, false, 401},
		{"more than the token", "[::1]:1", "Bearer " + token + "x", false, false, 401},
		{"another scheme", "[::1]:1", "Basic " + token, false, false, 401},
	} {
		var log bytes.Buffer
		s := New(Config{Token: token, InsecureAuth: tt.insecure, Calls: text("called"), Log: slog.New(slog.NewJSONHandler(&log, nil))}, noPages)
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/status", nil)
		r.RemoteAddr = tt.remote
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		r.Header.Set("Authorization", tt.authorization)
		s.handler().ServeHTTP(w, r)
		if w.Code != tt.want || (w.Body.String() == "called") != (tt.want == 200) {
			t.Errorf("%s: %d %q, want %d", tt.name, w.Code, w.Body, tt.want)
		}
		if (w.Header().Get("WWW-Authenticate") == `Bearer realm="carteiro"`) != (tt.want == 401) {
			t.Errorf("%s: WWW-Authenticate %q with %d", tt.name, w.Header().Get("WWW-Authenticate"), w.Code)
		}
		if refused := strings.Contains(log.String(), `"msg":"api refused"`); refused != (tt.want != 200) ||
			strings.Contains(log.String(), token[1:]) {
			t.Errorf("%s: the log is %s", tt.name, &log)
		}
	}
}

// pipeListener is a listener in memory, whose deadlines obey the clock of
// synctest.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipeListener() *pipeListener {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.close(); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// running is a server in memory.
type running struct {
	ln   *pipeListener
	stop func()
	done chan error // what Serve returned
}

// start runs a server; call it within synctest.
func start(t *testing.T, cfg Config, b Backend) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &running{newPipeListener(), cancel, make(chan error, 1)}
	go func() { s.done <- New(cfg, b).Serve(ctx, s.ln) }()
	return s
}

// end stops the server and waits for it.
func (s *running) end(t *testing.T) {
	t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// client is one connection to a server.
type client struct {
	net.Conn
	*bufio.Reader
}

// Read is what the reader returns.
func (c *client) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func (s *running) dial() *client {
	near, far := net.Pipe()
	s.ln.conns <- far
	return &client{near, bufio.NewReader(near)}
}

// get asks for a path and returns the status and the body.
func (c *client) get(path string) (int, string, error) {
	if _, err := fmt.Fprintf(c.Conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		return 0, "", err
	}
	return c.answer()
}

func (c *client) answer() (int, string, error) {
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// TestMaxConnections: one connection too many is refused, and there is room
// again when another ends.
func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := start(t, Config{Name: "web", MaxConnections: 1, Health: text("ok"), Log: slog.New(slog.NewTextHandler(&log, nil))}, noPages)
		first := s.dial()
		if status, body, err := first.get("/health"); status != 200 || body != "ok" || err != nil {
			t.Fatalf("the first connection: %d %q, %v", status, body, err)
		}
		second := s.dial()
		if status, _, err := second.answer(); status != 503 || err != nil {
			t.Errorf("the second connection: %d, %v, want 503", status, err)
		}
		if _, err := second.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the second connection is open: %v", err)
		}
		second.Close()
		first.Close()
		synctest.Wait()
		third := s.dial()
		if status, _, err := third.get("/health"); status != 200 || err != nil {
			t.Errorf("after the first connection ended: %d, %v", status, err)
		}
		third.Close()
		s.end(t)
		if n := strings.Count(log.String(), `msg="connection refused" listener=web client=pipe reason="connections of the listener"`); n != 1 {
			t.Errorf("the log has %d refusals, want 1:\n%s", n, &log)
		}
	})
}

// TestTimeouts: who keeps a connection and does nothing loses it.
func TestTimeouts(t *testing.T) {
	cfg := Config{Header: 10 * time.Second, Read: time.Minute, Write: 2 * time.Minute, Idle: 3 * time.Minute, Health: text("ok")}
	large := backendFunc(func(context.Context, string, *hooks.Request) (hooks.Response, bool) {
		return hooks.Response{Status: 200, Type: "text/plain", Body: strings.Repeat("x", 1<<20)}, true
	})
	for _, tt := range []struct {
		name, says string
		answer     bool // to what was said
		want       time.Duration
	}{
		{"says nothing", "", false, cfg.Header},
		{"half a header section", "GET /health HTTP/1.1\r\nHost:", false, cfg.Header},
		{"half a body", "POST /b/x/y HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345", false, cfg.Read},
		{"no further request", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", true, cfg.Idle},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, cfg, noPages)
			c := s.dial()
			begin := time.Now()
			io.WriteString(c.Conn, tt.says)
			if tt.answer {
				if status, _, err := c.answer(); status != 200 || err != nil {
					t.Errorf("%s: %d, %v", tt.name, status, err)
				}
			}
			io.Copy(io.Discard, c) // until the server closes, with a refusal or without
			// The server waits half a second for a client to read a refusal.
			if took := time.Since(begin); took < tt.want || took > tt.want+time.Second {
				t.Errorf("%s: the connection ended after %v, want %v", tt.name, took, tt.want)
			}
			c.Close()
			s.end(t)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := start(t, cfg, large)
		c := s.dial()
		io.WriteString(c.Conn, "GET /b/x/y HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(cfg.Write + time.Second) // of the false clock; nothing is read
		if _, _, err := c.answer(); err == nil {
			t.Error("who does not read the answer still gets it")
		}
		c.Close()
		s.end(t)
	})
}

// TestCallsTakeTheirTime: what an operator sends may take longer than what a
// stranger sends.
func TestCallsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %v", body, err)
		})
		s := start(t, Config{Token: "secret", InsecureAuth: true, Calls: read}, noPages)
		c := s.dial()
		io.WriteString(c.Conn, "POST /v1/submit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 4\r\n\r\nab")
		time.Sleep(time.Hour)
		io.WriteString(c.Conn, "cd")
		if status, body, err := c.answer(); status != 200 || body != "abcd <nil>" || err != nil {
			t.Errorf("%d %q, %v", status, body, err)
		}
		c.Close()
		s.end(t)
	})
}

// TestStop: a request that runs when the server is to stop is finished before
// Serve returns, unless it takes longer than Grace.
func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name      string
		takes     time.Duration
		stream    bool // it ends by UntilStop
		want      string
		serveEnds time.Duration
	}{
		{"a request within the grace", 3 * time.Second, false, "done", 3 * time.Second},
		{"a request that takes longer", time.Hour, false, "", 5 * time.Second},
		{"a stream", time.Hour, true, "stopped", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			returned := false
			b := backendFunc(func(ctx context.Context, _ string, _ *hooks.Request) (hooks.Response, bool) {
				defer func() { returned = true }()
				body := "stopped"
				if tt.stream {
					var cancel context.CancelFunc
					ctx, cancel = UntilStop(ctx)
					defer cancel()
				}
				select {
				case <-time.After(tt.takes):
					body = "done"
				case <-ctx.Done():
				}
				return hooks.Response{Status: 200, Type: "text/plain", Body: body}, true
			})
			s := start(t, Config{}, b)
			c := s.dial()
			io.WriteString(c.Conn, "GET /b/x/y HTTP/1.1\r\nHost: x\r\n\r\n")
			answer := make(chan string)
			go func() {
				_, body, _ := c.answer()
				answer <- body
			}()
			synctest.Wait()
			begin := time.Now()
			s.stop()
			body := <-answer
			err := <-s.done
			// http.Server looks for idle connections up to half a second apart.
			if took := time.Since(begin); err != nil || took < tt.serveEnds || took > tt.serveEnds+time.Second || !returned {
				t.Errorf("%s: Serve returned %v after %v, want after %v; the handler returned: %v", tt.name, err, took, tt.serveEnds, returned)
			}
			if body != tt.want {
				t.Errorf("%s: the client got %q, want %q", tt.name, body, tt.want)
			}
			c.Close()
		})
	}
}

// TestListenerFails: the error of a listener that fails is Serve's, after the
// requests.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Health: text("ok")}, noPages)
		c := s.dial()
		if status, _, err := c.get("/health"); status != 200 || err != nil {
			t.Fatalf("%d, %v", status, err)
		}
		s.ln.Close()
		if err := <-s.done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve returned %v, want %v", err, net.ErrClosed)
		}
		c.Close()
		s.stop()
	})
}
