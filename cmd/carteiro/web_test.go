package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWebListener: policies answer below /b/, monitors get metrics and health,
// everything else is not found.
func TestWebListener(t *testing.T) {
	h := newHouse(t, "")
	policy := `
on("web.request", { path = "/leave" }, function(req)
  if req.method == "POST" and req.form["List-Unsubscribe"] == "One-Click" then
    return response { type = "text/plain", body = "gone: " .. req.query.token }
  end
  return response { status = 405, type = "text/plain", body = "post it" }
end)
on("web.request", { path = "/broken" }, function(req) error("secret detail") end)
`
	if err := os.WriteFile(filepath.Join(h.dir, "scripts", "web.lua"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	reload := exec.Command(carteiro(), "reload", "-c", h.config())
	reload.Env = append(os.Environ(), actAsMain+"=1")
	if out, err := reload.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	base := "http://" + h.addr("web")
	w, err := dialWire(h.addr("mx")) // an open session, for the metrics
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, _, err := w.smtp("EHLO there.example"); err != nil {
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
		{"POST", "/v1/status", "", 404, ""}, // operators' calls are for the socket alone
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
