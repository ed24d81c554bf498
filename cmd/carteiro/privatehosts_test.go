package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

// asksHost is a policy that answers MAIL with what a request came to.
const asksHost = `on("receive.mail", function()
  local a, why = http.get("http://localhost:PORT/")
  return reject(550, "5.7.1", "got " .. string.sub(a and a.status or why, 1, 300))
end)
`

// askingServer is a server whose policy and bundle ask this machine by name, and
// what writes the grants of the two.
func askingServer(t *testing.T, port string) (h *testserver.Server, granted func(scripts, bundle string)) {
	t.Helper()
	h = &testserver.Server{Dir: t.TempDir()}
	if err := h.Build(t.Context(), "[[bundle]]\npath = \"asks\"\n"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(h.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	granted = func(scripts, bundle string) {
		t.Helper()
		text := strings.Replace(string(raw), "dir = \"scripts\"\n", fmt.Sprintf("dir = \"scripts\"\nhttp = [%q]\n", scripts), 1)
		text = strings.Replace(text, "path = \"asks\"\n", fmt.Sprintf("path = \"asks\"\nhttp = [%q]\n", bundle), 1)
		if err := os.WriteFile(h.ConfigFile(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testserver.WriteFiles(t, filepath.Join(h.Dir, "scripts"), map[string]string{"asks.lua": strings.Replace(asksHost, "PORT", port, 1)})
	manifest := "[bundle]\nname = \"acme/asks\"\nversion = \"1.0.0\"\napi = 1\n[capabilities]\nhttp = [\"localhost:" + port + "\"]\n"
	testserver.WriteFiles(t, filepath.Join(h.Dir, "asks"), map[string]string{"bundle.toml": manifest})
	granted("localhost:"+port, "public.example:443")
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	return h, granted
}

// TestPrivateHosts: a server starts with a configuration of before, that names a
// host of a private network; requests are refused, and status and log say so.
// check and reload refuse it and print what to write, and with that it works.
func TestPrivateHosts(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer web.Close()
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	name := "localhost:" + port
	h, granted := askingServer(t, port)
	defer h.Stop(syscall.SIGTERM)
	said := func() string { return h.Send(t, "a@s.test", "alice@example.com", "x\n") }
	if got := said(); !strings.Contains(got, "no public address") || !strings.Contains(got,
		`write "`+name+` private" under http in [scripts]`) {
		t.Errorf("a request: %s", got)
	}
	status := func() string {
		out, err := h.Try("status")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	testserver.Until(t, "the log names the host", func() bool {
		return strings.Contains(h.Log(), name+" leads to addresses of private networks alone")
	})
	if got := status(); !strings.Contains(got, name+" leads to a private network") {
		t.Errorf("status:\n%s", got)
	}
	for _, c := range []struct{ scripts, bundle, table string }{{name, "public.example:443", "scripts.http"}, {"public.example:443", name,
		"bundle.http"}} {
		granted(c.scripts, c.bundle)
		for _, command := range []string{"check", "reload"} {
			out, err := h.Try(command)
			if err == nil || !strings.Contains(out, "carteiro.toml:") || !strings.Contains(out, c.table+` "`+name+`" leads to addresses`) ||
				!strings.Contains(out, `write "`+name+` private"`) {
				t.Errorf("%s with %s: %v\n%s", command, c.table, err, out)
			}
		}
	}
	// A host that only a manifest names gives a warning, and stops nothing.
	granted(name+" private", "public.example:443")
	out, err := h.Try("check")
	if err != nil || !strings.Contains(out,
		"note: "+name+" leads to addresses of private networks alone, so requests of acme/asks are refused") {
		t.Errorf("check of a manifest: %v\n%s", err, out)
	}
	granted(name+" private", name+" private")
	for _, command := range []string{"check", "reload"} {
		if out, err := h.Try(command); err != nil || strings.Contains(out, "private") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if got := said(); !strings.Contains(got, "got 200") {
		t.Errorf("a request that is allowed: %s", got)
	}
	if got := status(); strings.Contains(got, "private") {
		t.Errorf("status:\n%s", got)
	}
}
