package lua_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// TestPrivateHosts: a granted name that leads to this machine is not asked,
// however often and by whichever function; its address, or the name with a word
// more, is. What is refused says what to write, and is logged.
func TestPrivateHosts(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++ }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	name, address := "localhost:"+port, "127.0.0.1:"+port
	ask := func(bundle bool, grants []string, host, call string) string {
		w := hookstest.New(t)
		text := data(strings.ReplaceAll(call, "URL", "http://"+host+"/"))
		src := hookstest.Scripts(map[string]string{"policy.lua": text})
		if bundle {
			src = bundleWith(text, hooks.Grants{Modules: []string{"http"}})
		}
		src.HTTP = grants
		refused := ""
		w.Engine.Refused = func(h string) { refused = h }
		got := w.Load(src).Ask(dataEvent(plainMail)).Err()
		if told := strings.Contains(w.Log.String(), "http request of a policy refused"); told != (refused == name) {
			t.Errorf("%s: logged %v, told of %q", call, told, refused)
		}
		return got
	}
	const get = `local a, why = http.get("URL") error("got " .. (a and a.status or why))`
	for _, call := range []string{get, `local a, why = http.post("URL", { x = 1 }) error("got " .. (a and a.status or why))`,
		`local a = http.batch { { url = "URL" } } error("got " .. (type(a[1]) == "table" and a[1].status or a[1]))`,
		`http.get("URL") local a, why = http.get("URL", { timeout = 2 }) error("got " .. (a and a.status or why))`} {
		want := `write "` + name + ` private" under http in [scripts] of the configuration`
		if got := ask(false, []string{name}, name, call); !strings.Contains(got, "no public address") || !strings.Contains(got, want) ||
			asked > 0 {
			t.Errorf("%s: %s, asked %d times", call, got, asked)
		}
	}
	if got := ask(true, []string{name}, "LocalHost:"+port, get); !strings.Contains(got,
		"under http in the [[bundle]] of acme/hello of the configuration") || asked > 0 {
		t.Errorf("a bundle: %s", got)
	}
	for grant, host := range map[string]string{name + " private": name, address: address, "LOCALHOST.:" + port + "  private": name} {
		before := asked
		if got := ask(true, []string{grant}, host, get); !strings.Contains(got, "got 200") || asked != before+1 {
			t.Errorf("%s: %s", grant, got)
		}
	}
	for grant, host := range map[string]string{address: name, name + " private": address} {
		if got := ask(false, []string{grant}, host, get); !strings.Contains(got, "is not among the hosts that were granted") {
			t.Errorf("%s for %s: %s", grant, host, got)
		}
	}
}

// TestSharedConnections: a connection to a private address that one policy may
// use is none for another that may not.
func TestSharedConnections(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	const get = `local a, why = http.get("http://localhost:PORT/") tx.meta.NAME = a and a.status or why`
	text := func(name string) string { return data(strings.NewReplacer("PORT", port, "NAME", name).Replace(get)) }
	script := hookstest.Scripts(map[string]string{"policy.lua": text("first")})
	script.HTTP = []string{"localhost:" + port + " private"}
	bundle := bundleWith(text("second"), hooks.Grants{Modules: []string{"http"}})
	bundle.HTTP = []string{"localhost:" + port}
	e := dataEvent(plainMail)
	if a := hookstest.New(t).Load(script, bundle).Ask(e); a.Err() != "" {
		t.Fatal(a.Err())
	}
	got := ""
	for _, v := range e.Tx.Meta {
		if s, ok := v.(string); ok {
			got += s
		}
	}
	if !strings.Contains(got, "no public address") {
		t.Errorf("%v", e.Tx.Meta)
	}
}
