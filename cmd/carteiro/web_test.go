package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/ops/admin"
)

// TestWebListener: policies answer below /b/, monitors get metrics and health,
// everything else is not found.
func TestWebListener(t *testing.T) {
	h := testserver.New(t, "")
	policy := `
on("web.request", { path = "/leave" }, function(req)
  if req.method == "POST" and req.form["List-Unsubscribe"] == "One-Click" then
    return response { type = "text/plain", body = "gone: " .. req.query.token }
  end
  return response { status = 405, type = "text/plain", body = "post it" }
end)
on("web.request", { path = "/broken" }, function(req) error("secret detail") end)
`
	if err := os.WriteFile(filepath.Join(h.Dir, "scripts", "web.lua"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	reload := exec.Command(testserver.Binary(), "reload", "-c", h.ConfigFile())
	reload.Env = append(os.Environ(), testserver.RunAsCommand+"=1")
	if out, err := reload.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	base := "http://" + h.Addr("web")
	w, err := testserver.Dial(h.Addr("mx")) // an open session, for the metrics
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, _, err := w.SMTP("EHLO there.example"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		method, path, form string
		status             int
		body               string
	}{
		{"POST", "/b/scripts/leave?token=t1", "List-Unsubscribe=One-Click", 200, "gone: t1"},
		{"GET", "/b/scripts/leave?token=t1", "", 405, "post it"},
		{"GET", "/b/scripts/broken", "", 500, "internal error\n"},
		{"GET", "/b/scripts/other", "", 404, ""},
		{"GET", "/b/nobody/leave", "", 404, ""},
		{"POST", "/b/scripts/leave", strings.Repeat("x", 2<<20), 413, ""},
		{"GET", "/health", "", 200, "ok\n"},
		{"GET", "/metrics", "", 200, ""},
		{"POST", "/v1/status", "", 404, ""}, // no token is set
		{"GET", "/", "", 404, ""},
	}
	for _, tt := range tests {
		req, err := http.NewRequest(tt.method, base+tt.path, strings.NewReader(tt.form))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", tt.method, tt.path, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if tt.path == "/metrics" && !strings.Contains(string(body), `carteiro_smtp_sessions{listener="mx"} 1`+"\n") {
			t.Errorf("the open session is not counted in\n%s", body)
		}
		if resp.StatusCode != tt.status || tt.body != "" && string(body) != tt.body || strings.Contains(string(body), "secret detail") {
			t.Errorf("%s %s: %d %.100q, want %d %q", tt.method, tt.path, resp.StatusCode, body, tt.status, tt.body)
		}
	}
}

// httpByCurl makes a request with curl and returns the status and the body of
// the answer.
func httpByCurl(t testing.TB, curl string, args ...string) (status, body string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "-m", "20", "-w", "\n%{http_code}"}, args...)...).Output()
	if err != nil {
		t.Fatalf("curl %s: %v", args, err)
	}
	i := strings.LastIndexByte(string(out), '\n')
	return string(out[i+1:]), string(out[:i])
}

// TestAPI: operators' calls at the http listener, for clients with the token.
func TestAPI(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	h := testserver.New(t, "[[listener]]\nname = \"tls\"\nprotocol = \"http\"\naddr = \"127.0.0.1:0\"\n"+
		"tls = \"implicit\"\n[web]\ntoken = \""+token+"\"\n")
	curl := need(t, "curl")
	call := func(listener, authorization, name, args string) (status, body string) {
		t.Helper()
		scheme := "http"
		if listener == "tls" {
			scheme = "https"
		}
		return httpByCurl(t, curl, "--cacert", filepath.Join(h.Dir, "cert.pem"), "-H", "Authorization: "+authorization, "-d", args,
			scheme+"://"+h.Addr(listener)+"/v1/"+name)
	}
	for _, tt := range []struct{ listener, authorization, name, args, status, body string }{
		{"web", "Bearer " + token, "status", "", "200", `"hostname":"mx.example.com"`},
		{"tls", "bearer " + token, "status", "", "200", `"hostname":"mx.example.com"`},
		{"web", "Bearer " + token, "account.add", `{"address":"new@example.com","password":"secret-secret"}`, "200",
			`"address":"new@example.com"`},
		{"web", "Bearer " + token, "account.add", `{"adress":"x@example.com"}`, "422", `unknown field`},
		{"web", "Bearer " + token, "reload", "{}", "200", `"id":"`},
		{"web", "Bearer " + token, "nothing", "", "422", `no call`},
		{"web", "Bearer " + token[1:], "status", "", "401", `no valid token`},
		{"web", "Bearer " + token + "x", "status", "", "401", `no valid token`},
		{"web", "Basic " + token, "status", "", "401", `no valid token`},
		{"web", "", "account.rm", `{"address":"new@example.com"}`, "401", `no valid token`},
	} {
		status, body := call(tt.listener, tt.authorization, tt.name, tt.args)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s at %s with %q: %s %s, want %s %s", tt.name, tt.listener, tt.authorization, status, body, tt.status, tt.body)
		}
	}
	if out, err := h.Command("account", "list").Output(); err != nil || !strings.Contains(string(out), "new@example.com") {
		t.Errorf("%v\n%s", err, out)
	}
	if log := h.Log(); strings.Contains(log, token[1:]) || !strings.Contains(log, "api refused") {
		t.Errorf("the log:\n%s", log)
	}
}

// TestWebMaxConnections: the limit of the configuration counts for http, too.
func TestWebMaxConnections(t *testing.T) {
	h := testserver.New(t, "[[listener]]\nname = \"small\"\nprotocol = \"http\"\naddr = \"127.0.0.1:0\"\nmax_connections = 1\n")
	first, err := testserver.Dial(h.Addr("small"))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := first.Write([]byte("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := first.ReadLine(); err != nil || line != "HTTP/1.1 200 OK" {
		t.Fatalf("the first connection: %q, %v", line, err)
	}
	second, err := testserver.Dial(h.Addr("small"))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if line, err := second.ReadLine(); err != nil || line != "HTTP/1.1 503 Service Unavailable" {
		t.Errorf("the second connection: %q, %v", line, err)
	}
}

// TestAPIManual: the manual has all calls, with arguments that they take.
func TestAPIManual(t *testing.T) {
	text, err := manual.ReadFile("manual/api.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z.]+) \| ([^|]*) ?\| `).FindAllStringSubmatch(string(text), -1) {
		args, ok := admin.Methods()[row[1]]
		told[row[1]] = true
		if !ok {
			if row[1] != "submit" && row[1] != "call" {
				t.Errorf("there is no call %s", row[1])
			}
			continue
		}
		for arg := range strings.FieldsFuncSeq(row[2], func(r rune) bool { return strings.ContainsRune(", *", r) }) {
			if !slices.Contains(arguments(reflect.TypeOf(args)), arg) {
				t.Errorf("%s has no argument %q", row[1], arg)
			}
		}
	}
	for name := range admin.Methods() {
		if !told[name] {
			t.Errorf("the manual does not have %s", name)
		}
	}
}

// arguments are the names that a call's arguments have in JSON.
func arguments(t reflect.Type) (out []string) {
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			out = append(out, name)
		}
	}
	return out
}
