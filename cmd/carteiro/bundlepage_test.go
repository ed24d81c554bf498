package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

// shows is a bundle whose page answers with what it is shown.
func shows(name, capabilities string) map[string]string {
	return map[string]string{
		"bundle.toml": "[bundle]\nname = \"acme/" + name + "\"\nversion = \"1.0.0\"\napi = 1\nhooks = [\"web.request\"]\n[capabilities]\n" +
			capabilities,
		"init.lua": `on("web.request", { path = "/" }, function(req)
  local shown = req.headers
  return response { status = 401, type = "text/plain", body = tostring(shown.authorization) .. " " .. tostring(shown["cookie"]),
    headers = { ["WWW-Authenticate"] = 'Basic realm="mail"' } }
end)
`}
}

// fetchPage gets a page with a password and a cookie, as a browser does that is logged in
// at another bundle's page.
func fetchPage(t *testing.T, h *testserver.Server, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+h.Addr("web")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("boss", "hunter2")
	req.Header.Set("Cookie", "session=1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestBundlePages: pages of bundles have the sandbox, ask for a login with the name of the
// bundle in the realm, and get the credentials that browsers send only with the right to
// them.
func TestBundlePages(t *testing.T) {
	t.Parallel()
	h := &testserver.Server{Dir: t.TempDir()}
	bundles := "[[bundle]]\npath = \"helper\"\n[[bundle]]\npath = \"plain\"\nallow_web = \"plain\"\n[[bundle]]\npath = \"asks\"\n"
	for _, name := range []string{"delegate", "forward", "mailinglist"} {
		bundles += "[[bundle]]\nname = \"carteiro/" + name + "\"\n"
	}
	if err := h.Build(t.Context(), bundles); err != nil {
		t.Fatal(err)
	}
	testserver.WriteFiles(t, filepath.Join(h.Dir, "helper"), shows("helper", ""))
	testserver.WriteFiles(t, filepath.Join(h.Dir, "plain"), shows("plain", "web = \"plain\"\nrights = [\"credentials\"]\n"))
	testserver.WriteFiles(t, filepath.Join(h.Dir, "asks"), shows("asks", "web = \"plain\"\n"))
	testserver.WriteFiles(t, filepath.Join(h.Dir, "scripts"),
		map[string]string{"web.lua": `on("web.request", { path = "/" }, function(req) return response { body = req.headers.cookie } end)`})
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	defer h.Stop(syscall.SIGTERM)
	const sandbox = "sandbox allow-forms allow-scripts"
	for _, c := range []struct{ path, policy, realm, body string }{
		{"/b/helper/", sandbox, `Basic realm="mail (acme/helper)"`, "nil nil"},
		{"/b/plain/", "", `Basic realm="mail (acme/plain)"`, "Basic Ym9zczpodW50ZXIy session=1"},
		{"/b/asks/", sandbox, `Basic realm="mail (acme/asks)"`, "nil nil"},
		{"/b/delegate/audit", sandbox, `Basic realm="mail (carteiro/delegate)", charset="UTF-8"`, ""},
		{"/b/forward/confirm/x/1", sandbox + ", default-src 'none'; form-action 'self'; frame-ancestors 'none'", "", ""},
		{"/b/mailinglist/list/none@example.com", sandbox +
			", default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'", "", ""},
		{"/b/scripts/", "", "", "session=1"},
	} {
		res, body := fetchPage(t, h, c.path)
		if got := strings.Join(res.Header["Content-Security-Policy"], "|"); got != c.policy {
			t.Errorf("%s: policy %q, not %q", c.path, got, c.policy)
		}
		if got := res.Header.Get("WWW-Authenticate"); got != c.realm {
			t.Errorf("%s: %s", c.path, got)
		}
		if c.body != "" && body != c.body {
			t.Errorf("%s: got body %q, want %q", c.path, body, c.body)
		}
	}
	out, err := h.Try("check")
	if err != nil || !strings.Contains(out, "note: acme/asks asks for pages without the sandbox") || strings.Contains(out, "acme/plain") {
		t.Errorf("check: %v\n%s", err, out)
	}
}

// beforeRights makes a lock file one that the version before rights wrote.
var beforeRights = regexp.MustCompile(`(?m)^(format|rights|kept) = .*\n`)

// TestEarlierLock: a bundle that an earlier version installed works on with the
// rights that it uses. list, check and the log say so, and the first start writes
// them down.
func TestEarlierLock(t *testing.T) {
	t.Parallel()
	h := &testserver.Server{Dir: t.TempDir()}
	if err := h.Build(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	testserver.WriteFiles(t, filepath.Join(h.Dir, "shows"), shows("shows", "modules = [\"account\"]\n"))
	out, err := h.Try("bundle", "install", filepath.Join(h.Dir, "shows"))
	if err != nil || !strings.Contains(out, "granted: module account (it reads the accounts") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := h.Try("bundle", "enable", "acme/shows"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(h.Dir, "data", "bundles", "bundles.lock")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := beforeRights.ReplaceAll(raw, nil)
	if len(old) == len(raw) {
		t.Fatalf("nothing of this version in\n%s", raw)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	const keeps = "keeps the right credentials until its next upgrade"
	for _, command := range [][]string{{"bundle", "list"}, {"check"}} {
		if out, err := h.Try(command...); err != nil || !strings.Contains(out, keeps) {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if now, _ := os.ReadFile(path); string(now) != string(old) {
		t.Error("a command that only reads has changed the lock file")
	}
	for range 2 { // the second start reads what the first one wrote
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
		if _, body := fetchPage(t, h, "/b/shows/"); body != "Basic Ym9zczpodW50ZXIy session=1" {
			t.Errorf("shown %q", body)
		}
		if !strings.Contains(h.Log(), keeps) {
			t.Errorf("the log says nothing\n%s", h.Log())
		}
		if now, _ := os.ReadFile(path); !strings.Contains(string(now), "kept = ['credentials']") {
			t.Errorf("the lock file is\n%s", now)
		}
		if status, err := h.Stop(syscall.SIGTERM); status != 0 || err != nil {
			t.Fatal(status, err)
		}
		os.Remove(h.LogFile())
	}
	files := shows("shows", "modules = [\"account\"]\nrights = [\"credentials\"]\n")
	files["bundle.toml"] = strings.Replace(files["bundle.toml"], "1.0.0", "1.1.0", 1)
	testserver.WriteFiles(t, filepath.Join(h.Dir, "shows"), files)
	if out, err := h.Try("bundle", "upgrade", filepath.Join(h.Dir, "shows")); err == nil || !strings.Contains(out,
		"wants more than is granted: right credentials") {
		t.Errorf("an upgrade does not ask: %v\n%s", err, out)
	}
	out, err = h.Try("bundle", "upgrade", "--accept-capabilities", filepath.Join(h.Dir, "shows"))
	if err != nil || !strings.Contains(out,
		"granted: right credentials (its pages see the passwords and cookies that browsers send to this server)") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := h.Try("bundle", "list"); err != nil || strings.Contains(out, "keeps the right") {
		t.Errorf("%v\n%s", err, out)
	}
}
