package lua_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// hosts is a web server with what scripts may meet, and what it was asked.
type hosts struct {
	*httptest.Server
	mu   sync.Mutex
	keys []string
}

func newHosts(t *testing.T, tls bool) *hosts {
	h := &hosts{}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.keys = append(h.keys, r.Header.Get("Idempotency-Key"))
		h.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("X-Two", "a")
		w.Header().Add("X-Two", "b")
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Header.Get("Content-Type"), r.Header.Get("X-A"), body)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 1<<20+1)) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	})
	if tls {
		h.Server = httptest.NewTLSServer(mux)
	} else {
		h.Server = httptest.NewServer(mux)
	}
	t.Cleanup(h.Close)
	return h
}

func (h *hosts) addr() string { return h.Listener.Addr().String() }

const httpScript = `
local function is(got, want) if got ~= want then error("got " .. tostring(got) .. ", want " .. tostring(want), 2) end end
local base = "http://ADDR"
on("receive.data", function(session, tx, msg)
`

func askHTTP(t *testing.T, body string, granted ...string) (hookstest.Answer, *hookstest.World) {
	t.Helper()
	src := hookstest.Scripts(map[string]string{"a.lua": strings.ReplaceAll(httpScript, "ADDR", granted[0]) + body + "\nend)"})
	src.HTTP = granted
	w := hookstest.New(t).Load(src)
	e := &hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
		Msg: hookstest.Message("a@a.example", plainMail)}
	return w.Ask(e), w
}

func TestHTTP(t *testing.T) {
	h, closed := newHosts(t, false), newHosts(t, false)
	secure := newHosts(t, true)
	closed.Close()
	for _, body := range []string{
		`local r = http.get(base .. "/echo", { headers = { ["X-A"] = "1" } }) is(r.status, 200) is(r.body, "GET  1 ")
is(r.headers["x-two"], "a, b")`,
		`is(http.post(base .. "/echo", "text").body, "POST application/octet-stream  text")
is(http.post(base .. "/echo", { a = 1 }).body, 'POST application/json  {"a":1}')
is(http.post(base .. "/echo", "x", { type = "text/plain" }).body, "POST text/plain  x")`,
		`is(http.get(base .. "/none").status, 404) local r = http.get(base .. "/away") is(r.status, 302)
is(r.headers.location, "http://192.0.2.1/")`,
		`local r, e = http.get(base .. "/big") is(r, nil) is(e, "too long")`,
		`local r, e = http.get(base .. "/slow", { timeout = 0.05 }) is(r, nil) is(e, "timeout")`,
		`local r, e = http.get("https://` + secure.addr() + `/echo") is(r, nil) is(e, "tls")`,
		`local r, e = http.get("http://` + closed.addr() + `/echo") is(r, nil) is(e, "unreachable")`,
		`local b = http.batch { { url = base .. "/echo" }, { url = base .. "/echo", body = "x", headers = { ["X-A"] = "2" } }, { url = "http://` +
			closed.addr() + `/" } } is(b[1].status, 200) is(b[2].body, "POST application/octet-stream 2 x") is(b[3], "unreachable")`,
		`is(pcall(http.get, "http://192.0.2.1/"), false) is(select(2, pcall(http.get,
"http://user@Other.example./")):find("other.example:80 is not among the hosts that were granted; see http in [scripts]", 1, true) ~= nil,
true)`,
		`is(pcall(http.get, "file:///etc/passwd"), false) is(pcall(http.get, "//x"), false)
is(pcall(http.get, base .. "/echo", { headres = {} }), false)
is(pcall(http.get, base .. "/echo", { headers = { ["X-A"] = "a\r\nb" } }), false)`,
		`is(pcall(http.get, base .. "/echo", { headers = { Host = "x" } }), false) is(pcall(http.post, base .. "/echo", print), false)
is(pcall(http.post, base .. "/echo", ("x"):rep(2^21)), false) is(pcall(http.batch, { 1 }), false)`,
		`for i = 1, 5 do http.get(base .. "/echo") end is(select(2, pcall(http.get, base .. "/echo")):find("too many http requests") ~= nil,
true)`,
	} {
		if a, _ := askHTTP(t, body, h.addr(), closed.addr(), secure.addr()); a.Err() != "" {
			t.Errorf("%s\n%s", body, firstLine(a.Err()))
		}
	}
}

// A handler that runs again for the same message asks with the same keys, and
// for another message with others.
func TestIdempotencyKey(t *testing.T) {
	h := newHosts(t, false)
	a, w := askHTTP(t, `http.get(base .. "/echo") http.get(base .. "/echo") error("x")`, h.addr())
	w.Ask(a.Event)
	a.Event.Msg = hookstest.Message("a@a.example", plainMail)
	w.Ask(a.Event)
	k := h.keys
	if len(k) != 6 || len(k[0]) != 32 || k[0] == k[1] || k[0] != k[2] || k[1] != k[3] || k[0] == k[4] || k[1] == k[5] {
		t.Errorf("keys %q", k)
	}
}

// Scripts of two domains with one file name ask with keys of their own.
func TestIdempotencyKeyOfDomains(t *testing.T) {
	h := newHosts(t, false)
	var sources []hooks.Source
	for _, d := range []string{"our.example", "two.example"} {
		src := hookstest.Scripts(map[string]string{"a.lua": strings.ReplaceAll(httpScript, "ADDR", h.addr()) +
			"http.get(base .. \"/echo\")\nend)"})
		src.Name, src.Tier, src.Domains, src.HTTP = "scripts/domains/"+d, hooks.Domain, []string{d}, []string{h.addr()}
		sources = append(sources, src)
	}
	w := hookstest.New(t).Load(sources...)
	a := w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"),
		Tx:  hookstest.Tx("a@a.example", "bob@our.example", "eve@two.example"),
		Msg: hookstest.Message("a@a.example", plainMail)})
	if a.Err() != "" || len(h.keys) != 2 || h.keys[0] == h.keys[1] {
		t.Errorf("%s: keys %q", a.Err(), h.keys)
	}
}

// A request may not outlive the handler's time.
func TestHTTPDeadline(t *testing.T) {
	h := newHosts(t, false)
	src := hookstest.Scripts(map[string]string{"a.lua": strings.ReplaceAll(httpScript, "ADDR", h.addr()) +
		"http.get(base .. \"/slow\")\nend)"})
	src.HTTP, src.Limits.Wall = []string{h.addr()}, 100*time.Millisecond
	w := hookstest.New(t).Load(src)
	a := w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example"),
		Msg: hookstest.Message("a@a.example", plainMail)})
	if a.Action != hooks.Defer || !strings.Contains(a.Err(), "out of time") {
		t.Errorf("%v: %s", a.Verdict, a.Err())
	}
}
