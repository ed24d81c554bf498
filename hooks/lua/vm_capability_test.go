package lua_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// bundleWith is a bundle with grants alone.
func bundleWith(text string, g hooks.Grants) hooks.Source {
	src := hookstest.Bundle("acme/hello", map[string]string{"init.lua": text})
	if g.Hooks == nil {
		g.Hooks = []hooks.Point{hooks.ReceiveData, hooks.QueueExpand, hooks.ReceiveRcpt, hooks.DeliverLocal}
	}
	src.Grants = &g
	return src
}

func data(body string) string {
	return "on(\"receive.data\", function(session, tx, msg)\n" + body + "\nend)"
}

func expand(body string) string {
	return "on(\"queue.expand\", function(msg, rcpt)\n" + body + "\nend)"
}

// TestRights: each method refuses without its right, in the right's name, and
// works with it.
func TestRights(t *testing.T) {
	for _, c := range []struct {
		right hooks.Right
		text  string
	}{
		{hooks.HeadersRead, data(`msg:header("Subject")`)}, {hooks.HeadersRead, data(`msg:headers("Subject")`)},
		{hooks.HeadersRead, data(`msg:subject()`)},
		{hooks.HeadersRead, data(`msg:from()`)}, {hooks.HeadersRead, data(`msg:from_display()`)}, {hooks.HeadersRead, data(`msg:date()`)},
		{hooks.HeadersRead, data(`msg:message_id()`)}, {hooks.HeadersRead, data(`msg:is_auto()`)},
		{hooks.HeadersRead, data(`msg:addressed_to("a@a.example")`)},
		{hooks.HeadersRead, data(`msg:auth()`)},
		{hooks.BodyRead, data(`msg:text()`)}, {hooks.BodyRead, data(`msg:parts()`)}, {hooks.BodyRead, data(`msg:urls()`)},
		{hooks.HeadersWrite, data(`msg:add_header("X-Other", "x")`)}, {hooks.HeadersWrite, data(`msg:set_header("Subject", "x")`)},
		{hooks.HeadersWrite, data(`msg:prepend_header("X-Acme-Hello", "x")`)}, {hooks.HeadersWrite, data(`msg:remove_header("Subject")`)},
		{hooks.HeadersWrite, expand(`rcpt:set_header("Subject", "x")`)}, {hooks.HeadersWrite, expand(`rcpt:add_header("X-Other", "x")`)},
		{hooks.HeadersWrite, expand(`rcpt:remove_header("Subject")`)},
		{hooks.RecipientsAdd, expand(`rcpt:copy_to("x@x.example")`)}, {hooks.RecipientsAdd, expand(`rcpt:replace("x@x.example")`)},
		{hooks.RecipientsAdd, `on("receive.rcpt", function(session, tx, rcpt) rcpt.address = "x@our.example" end)`},
	} {
		all := hooks.Rights()
		var others []hooks.Right
		for _, r := range all {
			if r != c.right {
				others = append(others, r)
			}
		}
		ask := func(rights []hooks.Right) string {
			w := hookstest.New(t).Load(bundleWith(c.text, hooks.Grants{Message: rights}))
			a := w.Ask(rightsEvent(c.text))
			return a.Err()
		}
		if got := ask(others); !strings.Contains(got, `acme/hello@1.0.0 has no "`+string(c.right)+`"`) || !strings.Contains(got,
			"acme/hello/init.lua:") {
			t.Errorf("%s without %s: %s", c.text, c.right, got)
		}
		if got := ask(all); got != "" {
			t.Errorf("%s with everything: %s", c.text, got)
		}
	}
}

func rightsEvent(text string) *hooks.Event {
	e := dataEvent(plainMail)
	if strings.Contains(text, "queue.expand") {
		return &hooks.Event{Point: hooks.QueueExpand, Msg: e.Msg, Rcpt: hookstest.Rcpt("bob@our.example")}
	}
	if strings.Contains(text, "receive.rcpt") {
		return &hooks.Event{Point: hooks.ReceiveRcpt, Session: e.Session, Tx: e.Tx, Rcpt: hookstest.Rcpt("bob@our.example")}
	}
	return e
}

// TestBodyWrite: parts are changed with the right alone.
func TestBodyWrite(t *testing.T) {
	text := data(`for p in msg:parts() do p:replace("x") end`)
	for _, rights := range [][]hooks.Right{{hooks.BodyRead}, {hooks.BodyRead, hooks.BodyWrite}} {
		a := hookstest.New(t).Load(bundleWith(text, hooks.Grants{Message: rights})).Ask(dataEvent(plainMail))
		if refused := strings.Contains(a.Err(), `"body:write"`); refused != (len(rights) == 1) {
			t.Errorf("%v: %s", rights, a.Err())
		}
	}
}

// TestOwnFields: fields under the bundle's prefix need no right, neither on
// the message nor on a copy nor on what it sends itself.
func TestOwnFields(t *testing.T) {
	w := hookstest.New(t).Load(bundleWith(data(`msg:set_header("x-acme-hello-Seen", "yes") msg:remove_header("X-Acme-Hello-Old")
mail.submit { from = "a@our.example", to = "b@our.example", text = "x", headers = { ["X-Any"] = "x" } }`)+"\n"+
		expand(`rcpt:add_header("X-Acme-Hello-Copy", "1")`), hooks.Grants{Modules: []string{"mail"}, Submit: hooks.Rate{N: 1, Per: time.Minute}}))
	if a := w.Ask(dataEvent(plainMail)); a.Err() != "" {
		t.Error(a.Err())
	}
	if a := w.Ask(rightsEvent("queue.expand")); a.Err() != "" {
		t.Error(a.Err())
	}
	if p := hooks.OwnPrefix("acme/big-list2"); p != "X-Acme-Big-List2-" {
		t.Error(p)
	}
}

// TestLiteralGrants: what the text tells is refused at load.
func TestLiteralGrants(t *testing.T) {
	for text, want := range map[string]string{
		data(`mail.submit {}`): "init.lua:2: mail.submit is not granted",
		"on(\"deliver.local\", function() return redirect(\"a@a.example\") end)": `init.lua:1: redirect needs the right "recipients:add"`,
		data(`local x = secrets.get("token")`):                                   "init.lua:2: the secret token is not granted",
		data(`local x = kv.get("x")`):                                            "init.lua:2: module kv is not granted",
		"on(\"receive.mail\", function() end)":                                   "receive.mail is not among the hooks",
	} {
		_, err := hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{bundleWith(text, hooks.Grants{Modules: []string{"mail", "secrets"}})})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestSubmitRate: so many in a time, for each domain; a failed handler's do
// not count.
func TestSubmitRate(t *testing.T) {
	text := data(`mail.submit { from = "a@our.example", to = "b@our.example", text = "x" } if tx.sender == "fail@a.example" then error("x")
end`)
	src := bundleWith(text, hooks.Grants{Modules: []string{"mail"}, Submit: hooks.Rate{N: 2, Per: time.Minute}})
	src.Domains = []string{"our.example", "b.example"}
	w := hookstest.New(t).Load(src)
	to := "bob@our.example"
	send := func(sender string) string {
		e := dataEvent(plainMail)
		e.Tx = hookstest.Tx(sender, to)
		a := w.Ask(e)
		w.Commit(e)
		return a.Err()
	}
	if got := send("fail@a.example"); !strings.Contains(got, ": x") {
		t.Fatal(got)
	}
	for range 2 {
		if got := send("a@a.example"); got != "" {
			t.Fatal(got)
		}
	}
	if got := send("a@a.example"); !strings.Contains(got, "acme/hello@1.0.0 sent 2/1m (capabilities.submit)") {
		t.Error(got)
	}
	to = "bob@b.example"
	if got := send("a@a.example"); got != "" {
		t.Errorf("another domain: %s", got)
	}
	to = "bob@our.example"
	w.Clock.Advance(time.Minute)
	if got := send("a@a.example"); got != "" {
		t.Error(got)
	}
}

// TestSecrets: from a file or the environment, read once for a generation.
func TestSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HELLO_SECRET", "from env")
	w := hookstest.New(t).Load(bundleWith(data(`local name = tx.sender == "" and "other" or "token" return discard(secrets.get(name) ..
secrets.get("env"))`),
		hooks.Grants{Modules: []string{"secrets"}, Secrets: map[string]hooks.Secret{"token": {File: file}, "env": {Env: "HELLO_SECRET"}}}))
	for range 2 {
		if a := w.Ask(dataEvent(plainMail)); a.Reason != "from filefrom env" {
			t.Errorf("%v %s", a.Verdict, a.Err())
		}
		os.Remove(file)
	}
	e := dataEvent(plainMail)
	e.Tx = hookstest.Tx("", "bob@our.example")
	if a := w.Ask(e); !strings.Contains(a.Err(), `has no secret "other"`) {
		t.Error(a.Err())
	}
}

// TestLimits: a bundle's limits are the hook's at most, unless granted.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		limits hooks.Limits
		loops  string
		ok     bool
	}{
		{hooks.Limits{Instructions: 1000}, "2000", false},
		{hooks.Limits{Instructions: 1 << 30}, "1e7", false},
		{hooks.Limits{Instructions: 1 << 30, Granted: true}, "1e7", true},
	} {
		src := bundleWith(data("for i = 1, "+c.loops+" do end"), hooks.Grants{})
		src.Limits = c.limits
		a := hookstest.New(t).Load(src).Ask(dataEvent(plainMail))
		if (a.Err() == "") != c.ok {
			t.Errorf("%+v: %.100s", c, a.Err())
		}
	}
}

// TestPerCall: so many operations in a call, more where that is granted.
func TestPerCall(t *testing.T) {
	for limit, ok := range map[int]bool{0: true, 3: false, 300: true} {
		src := bundleWith(data(`for i = 1, 150 do kv.get("x") end`), hooks.Grants{Modules: []string{"kv"}})
		src.Limits.KV = limit
		a := hookstest.New(t).Load(src).Ask(dataEvent(plainMail))
		if (a.Err() == "") != ok || !ok && !strings.Contains(a.Err(), "too many kv and account operations") {
			t.Errorf("%d: %s", limit, a.Err())
		}
	}
}

// TestDomains: config, kv and meta are apart for each domain, and shared ones
// are those of mail that is of none or several.
func TestDomains(t *testing.T) {
	src := bundleWith(`on("receive.rcpt", function(session, tx, rcpt)
  kv.incr("n")
  tx.meta.n = (tx.meta.n or 0) + 1
  return discard(config.greeting .. kv.incr("n") .. " " .. tx.meta.n .. " " .. (session.meta.early or ""))
end)
on("receive.connect", function(session) session.meta.early = config.greeting end)`,
		hooks.Grants{Modules: []string{"kv"}, Hooks: []hooks.Point{hooks.ReceiveRcpt, hooks.ReceiveConnect}})
	src.Config = map[string]any{"greeting": "all"}
	src.DomainConfig = map[string]map[string]any{"b.example": {"greeting": "b"}}
	src.Domains = []string{"a.example", "b.example", "c.example"}
	w := hookstest.New(t).Load(src)
	s, tx := hookstest.Session("192.0.2.7"), hookstest.Tx("x@x.example")
	s.Identity = hookstest.Identity("u@c.example")
	w.Ask(&hooks.Event{Point: hooks.ReceiveConnect, Session: s})
	for _, c := range []struct{ rcpt, want string }{
		{"r@a.example", "all2 1 "}, {"r@b.example", "b2 1 "}, {"r@b.example", "b4 2 "}, {"s@a.example", "all4 2 "},
	} {
		a := w.Ask(&hooks.Event{Point: hooks.ReceiveRcpt, Session: s, Tx: tx, Rcpt: hookstest.Rcpt(c.rcpt)})
		if a.Reason != c.want {
			t.Errorf("%s: %q, want %q %s", c.rcpt, a.Reason, c.want, a.Err())
		}
	}
	if v, err := w.KV.Get(t.Context(), "acme/hello/b.example", "n"); err != nil || string(v) != "4" {
		t.Errorf("%q %v", v, err)
	}
	// Before anybody logged in no domain is known: seen everywhere.
	s = hookstest.Session("192.0.2.7")
	src.Domains = nil
	src.Except = []string{"x.example"}
	w = hookstest.New(t).Load(src)
	w.Ask(&hooks.Event{Point: hooks.ReceiveConnect, Session: s})
	a := w.Ask(&hooks.Event{Point: hooks.ReceiveRcpt, Session: s, Tx: tx, Rcpt: hookstest.Rcpt("bob@our.example")})
	if a.Reason != "all2 1 all" {
		t.Errorf("%q %s", a.Reason, a.Err())
	}
	if a := w.Ask(&hooks.Event{Point: hooks.ReceiveRcpt, Session: s, Tx: tx,
		Rcpt: hookstest.Rcpt("bob@x.example")}); a.Action != hooks.Continue {
		t.Errorf("excepted: %v", a.Verdict)
	}
}

// TestRequireBundle: what is declared is found, frozen, and has the grants of
// who asks for it.
func TestRequireBundle(t *testing.T) {
	util := hookstest.Bundle("acme/util", map[string]string{"init.lua": `local strip = require "lib.strip"
return { strip = strip, list = { 1, 2, { deep = 3 } }, kv = kv, store = function() return kv.get("x") end, default = config.x }`,
		"lib/strip.lua": `return function(s) return (s:gsub("%s", "")) end`, "handlers.lua": `on("receive.mail", function() end)`})
	util.Main = nil
	util.Grants = &hooks.Grants{Modules: []string{"kv"}}
	util.Config = map[string]any{"x": "dflt"}
	load := func(text string) (*hookstest.World, error) {
		src := bundleWith(text, hooks.Grants{})
		src.Requires = []string{"acme/util", "acme/absent"}
		w := hookstest.New(t)
		g, err := w.Engine.Load(t.Context(), []hooks.Source{src, util})
		w.Generation = g
		return w, err
	}
	for _, c := range []struct{ text, want string }{
		{`local u = require "acme/util"` + "\n" + data(`local n = 0 for _, v in ipairs(u.list) do n = n + 1 end for k in pairs(u) do n = n + 1 end
return discard(u.strip(" a b ") .. n .. u.list[3].deep .. u.default)`), "ab83dflt"},
		{`local strip = require "acme/util.lib.strip"` + "\n" + data(`return discard(strip(" a "))`), "a"},
	} {
		w, err := load(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if a := w.Ask(dataEvent(plainMail)); a.Reason != c.want {
			t.Errorf("%q, want %q %s", a.Reason, c.want, a.Err())
		}
	}
	for _, c := range []struct{ text, want string }{
		{`local u = require "acme/util"` + "\n" + data(`u.list[1] = 2`), "read only"},
		{`local u = require "acme/util"` + "\n" + data(`u.list[3].deep = 2`), "read only"},
		{`local u = require "acme/util"` + "\n" + data(`u.store()`), "module kv is not granted to acme/hello@1.0.0"},
		{`local u = require "acme/util"` + "\n" + data(`u.kv.get("x")`), "module kv is not granted to acme/hello@1.0.0"},
	} {
		w, err := load(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if a := w.Ask(dataEvent(plainMail)); !strings.Contains(a.Err(), c.want) {
			t.Errorf("%s: %s", c.text, a.Err())
		}
	}
	for text, want := range map[string]string{
		`require "acme/other"`:         "there is no acme/other.lua",
		`require "acme/absent"`:        "acme/absent is not installed",
		`require "acme/util.nothing"`:  "acme/util has no nothing.lua",
		`require "acme/util.handlers"`: "acme/util/handlers.lua:1: on: acme/util is required here",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAfter: bundles are asked after those that they name; circles are
// errors.
func TestAfter(t *testing.T) {
	source := func(name string, position int, after ...string) hooks.Source {
		src := hookstest.Bundle(name, map[string]string{"init.lua": `on("receive.mail", function() end)`})
		src.Position, src.After = position, after
		return src
	}
	order := func(sources ...hooks.Source) string {
		w := hookstest.New(t)
		g, err := w.Engine.Load(t.Context(), sources)
		if err != nil {
			return err.Error()
		}
		var names []string
		for _, h := range g.Chain.Handlers(hooks.ReceiveMail) {
			names = append(names, h.Info().Bundle)
		}
		return strings.Join(names, " ")
	}
	for _, c := range []struct{ got, want string }{
		{order(source("a/a", 0), source("b/b", 1), source("c/c", 2)), "a/a b/b c/c"},
		{order(source("a/a", 0, "c/c"), source("b/b", 1), source("c/c", 2)), "c/c a/a b/b"},
		{order(source("a/a", 0, "c"), source("b/b", 1, "nobody"), source("c/c", 2, "b/b")), "b/b c/c a/a"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if got := order(source("a/a", 0, "b"), source("b/b", 1, "a/a")); !strings.Contains(got, "has a cycle: a/a after b/b after a/a") {
		t.Error(got)
	}
}

// TestUsage: what bundles cost is told, by domain.
func TestUsage(t *testing.T) {
	var got []lua.Usage
	w := hookstest.New(t)
	e := lua.New(lua.Options{KV: w.KV, Clock: w.Clock, Local: func(d string) bool { return d == "our.example" },
		Usage: func(u lua.Usage) { got = append(got, u) }})
	src := bundleWith(data(`mail.submit { from = "a@our.example", to = "b@our.example", text = "x" } if tx.sender == "" then error("x") end`),
		hooks.Grants{Modules: []string{"mail"}, Submit: hooks.Rate{N: 9, Per: time.Minute}})
	g, err := e.Load(t.Context(), []hooks.Source{src})
	if err != nil {
		t.Fatal(err)
	}
	event := dataEvent(plainMail)
	g.Chain.Run(context.Background(), event)
	event = dataEvent(plainMail)
	event.Tx = hookstest.Tx("", "x@elsewhere.example")
	g.Chain.Run(context.Background(), event)
	if len(got) != 2 || got[0].Bundle != "acme/hello" || got[0].Submits != 1 || got[0].Failed || got[0].Instructions == 0 ||
		got[1].Domain != "" || !got[1].Failed || got[1].Submits != 0 {
		t.Errorf("%+v", got)
	}
}

// TestModuleNames: the contract knows every module that the engine has.
func TestModuleNames(t *testing.T) {
	for _, e := range lua.API() {
		if e.Kind != "module" {
			continue
		}
		if known, _ := hooks.Module(e.Name); !known {
			t.Errorf("hooks.Module does not know %s", e.Name)
		}
	}
}

// TestTimerOfEachDomain: the settings and kv are those of the domain whose
// turn it is.
func TestTimerOfEachDomain(t *testing.T) {
	src := bundleWith(`on("timer.tick", { every = "1h", each = "domain" }, function(now, domain) kv.set("is", domain .. " " .. config.x) end)`,
		hooks.Grants{Modules: []string{"kv"}, Hooks: []hooks.Point{hooks.TimerTick}})
	src.Config, src.Domains = map[string]any{"x": "shared"}, []string{"a.example", "our.example"}
	src.DomainConfig = map[string]map[string]any{"a.example": {"x": "own"}}
	w := hookstest.New(t).Load(src)
	for _, d := range []string{"a.example", "our.example"} {
		if a := w.Ask(&hooks.Event{Point: hooks.TimerTick, Domain: d}); a.Err() != "" {
			t.Fatal(a.Err())
		}
	}
	for space, want := range map[string]string{"acme/hello/a.example": "sa.example own", "acme/hello/our.example": "sour.example shared"} {
		if v, err := w.KV.Get(t.Context(), space, "is"); err != nil || string(v) != want {
			t.Errorf("%s: %q %v", space, v, err)
		}
	}
	for want, bad := range map[string]hooks.Source{
		`each = "domain" is for timer.tick of bundles`: hookstest.Scripts(map[string]string{"a.lua": `on("timer.tick", { every = "1h", each =
"domain" }, function() end)`}),
		"each has no effect at receive.data": bundleWith(`on("receive.data", { each = "domain" }, function() end)`, hooks.Grants{}),
	} {
		if _, err := hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{bad}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestObservedSubject: what an event tells of the header is for those who may
// read it.
func TestObservedSubject(t *testing.T) {
	for _, rights := range [][]hooks.Right{nil, {hooks.HeadersRead}} {
		w := hookstest.New(t).Load(bundleWith(`on("observe.event", function(event) kv.set("is", (event.data.subject or "none") .. " " ..
event.data.sender) end)`,
			hooks.Grants{Modules: []string{"kv"}, Hooks: []hooks.Point{hooks.ObserveEvent}, Message: rights}))
		a := w.Ask(&hooks.Event{Point: hooks.ObserveEvent, Observed: &hooks.Observed{Name: "accepted", Data: map[string]any{"subject": "hello",
			"sender": "a@a.example", "to": []any{"bob@our.example"}}}})
		want := map[bool]string{false: "snone a@a.example", true: "shello a@a.example"}[rights != nil]
		if v, err := w.KV.Get(t.Context(), "acme/hello/our.example", "is"); err != nil || string(v) != want {
			t.Errorf("%q %v %s", v, err, a.Err())
		}
	}
}
