package lua_test

import (
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// TestBundleRights: what reaches further than messages needs a right of the
// manifest; a generation of before there were rights, and scripts, have all.
func TestBundleRights(t *testing.T) {
	const text = `
on("receive.auth", function(session, cred)
  if cred.password or cred.token then return reject(550, "5.7.1", "seen " .. (cred.password or cred.token)) end
end)
on("web.request", { path = "/" }, function(req)
  local out = {}
  for _, n in ipairs { "cookie", "authorization", "proxy-authorization", "accept" } do out[#out + 1] = tostring(req.headers[n]) end
  return response { body = table.concat(out, " ") }
end)
on("receive.mail", function()
  local grant, revoke = account.grant, account.revoke
  grant("a@our.example", "b@our.example", "send-as") revoke("a@our.example", "b@our.example")
end)`
	asked := func(g *hooks.Grants) (auth, token, web, grant string) {
		src := hookstest.Bundle("acme/hello", map[string]string{"init.lua": text})
		if src.Grants = g; g == nil {
			src.Bundle, src.Name, src.Tier = "", "scripts", hooks.Admin
		}
		w := hookstest.New(t).Load(src)
		cred := func(c envelope.Credentials) string {
			c.User = "a@our.example"
			return w.Ask(&hooks.Event{Point: hooks.ReceiveAuth, Session: hookstest.Session("192.0.2.7"),
				Cred: &hooks.Cred{Credentials: &c}}).Status.Text
		}
		page := w.Ask(&hooks.Event{Point: hooks.WebRequest, Req: &hooks.Request{Method: "GET", Path: "/",
			Headers: map[string]string{"cookie": "c=1", "authorization": "Basic x",
				"proxy-authorization": "Basic y", "accept": "text/html"}}})
		return cred(envelope.Credentials{Mechanism: "PLAIN", Password: "hunter2"}),
			cred(envelope.Credentials{Mechanism: "XOAUTH2", Token: "bearer"}),
			page.Response.Body,
			w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example")}).Err()
	}
	grants := func(rights []hooks.BundleRight) *hooks.Grants {
		return &hooks.Grants{Modules: []string{"account"}, Hooks: []hooks.Point{hooks.ReceiveAuth, hooks.WebRequest, hooks.ReceiveMail},
			Rights: rights}
	}
	none := []hooks.BundleRight{}
	if auth, token, web, grant := asked(grants(none)); auth+token != "" || web != "nil nil nil text/html" ||
		!strings.Contains(grant, `account.grant: acme/hello@1.0.0 does not have the right "grants" (capabilities.rights)`) {
		t.Errorf("without rights: %q %q %q %q", auth, token, web, grant)
	}
	for _, g := range []*hooks.Grants{grants(nil), grants(hooks.BundleRights()), nil} {
		if auth, token, web, grant := asked(g); auth != "seen hunter2" || token != "seen bearer" || web != "c=1 Basic x Basic y text/html" ||
			grant != "" {
			t.Errorf("with all rights (%v): %q %q %q %q", g, auth, token, web, grant)
		}
	}
	for _, r := range hooks.BundleRights() {
		auth, _, web, grant := asked(grants([]hooks.BundleRight{r}))
		if (grant == "") != (r == hooks.RightGrants) || (auth != "") != (r == hooks.RightPasswords) || strings.HasPrefix(web,
			"c=1") != (r == hooks.RightCredentials) {
			t.Errorf("with %s alone: %q %q %q", r, auth, web, grant)
		}
	}
}

// TestLintRights: `bundle lint` tells a right that the text shows to be
// missing, and gives no alarm where it is declared or nothing of it is meant.
func TestLintRights(t *testing.T) {
	for _, c := range [][2]string{
		{`on("receive.mail", function() account.grant("a@our.example", "b@our.example", "read") end)`,
			`init.lua:1: account.grant is not granted to this bundle; declare rights = ["grants"]`},
		{`on("receive.mail", function() account.revoke("a@our.example", "b@our.example") end)`,
			`init.lua:1: account.revoke is not granted`},
		{"on(\"receive.auth\", function(session, cred)\n  if cred.password == \"x\" then return reject(\"no\") end\nend)",
			`init.lua:2: cred.password is nil: this bundle does not have the right passwords; declare rights = ["passwords"]`},
		{`on("receive.auth", { order = 5 }, function(s, c) log.info("x" .. (c.token or "")) end)`, `cred.token is nil`},
		{`on("receive.auth", function(s, c) local function f() return c.password end f() end)`, `cred.password is nil`},
		{`on("web.request", { path = "/" }, function(req) return response { body = req.headers.cookie or "" } end)`,
			`req.headers.cookie is nil: this bundle does not have the right credentials`},
		{`local function who(r) return r.headers["authorization"] end on("web.request", { path = "/" }, function(r) who(r) end)`,
			`req.headers.authorization is nil`},
		{`on("web.request", { path = "/" }, function(req) local h = req.headers return response { body = h["cookie"] or "" } end)`,
			`req.headers.cookie is nil`},
		{`on("receive.auth", function(s, cred) local c = cred local d = c if d["token"] then return end end)`,
			`cred.token is nil`},
		{`on("web.request", { path = "/" }, function(req) local h = req.headers h = {} return response { body = h.cookie or "" } end)`,
			""},
		{`on("web.request", { path = "/" }, function(req) return response { body = req.headers.accept or "" } end)`, ""},
		{`on("web.request", { path = "/" }, function(req) local a = { headers = {} } return response { body = a.headers.cookie or "" } end)`,
			""},
		{`on("receive.auth", function(s, cred) local t = { password = "x" } if t.password == cred.user then return end end)`,
			""},
		{`on("receive.mail", function(session, tx) local function f(x) return x.password, x.headers end f(tx.meta) end)`, ""},
	} {
		text, want := c[0], c[1]
		g := &hooks.Grants{Modules: []string{"account"}, Hooks: []hooks.Point{hooks.ReceiveAuth, hooks.WebRequest, hooks.ReceiveMail},
			Rights: []hooks.BundleRight{}}
		src := hookstest.Bundle("acme/hello", map[string]string{"init.lua": text})
		src.Grants = g
		_, err := lua.New(lua.Options{Strict: true}).Load(t.Context(), []hooks.Source{src})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
		if _, err := lua.New(lua.Options{}).Load(t.Context(), []hooks.Source{src}); (err != nil) != strings.Contains(text, "account.") {
			t.Errorf("%s loads with %v; what gives nil fails nothing", text, err)
		}
		g.Rights = hooks.BundleRights()
		if _, err := lua.New(lua.Options{Strict: true}).Load(t.Context(), []hooks.Source{src}); err != nil {
			t.Errorf("%s with all rights: %v", text, err)
		}
	}
}
