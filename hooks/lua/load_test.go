package lua_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
	"carteiro/hooks/lua/source"
)

// TestLoadErrors: each fault is found at load, with file, line and a hint.
func TestLoadErrors(t *testing.T) {
	on := func(body string) string { return "on(\"receive.mail\", function(session, tx)\n" + body + "\nend)" }
	for name, c := range map[string]struct{ text, want string }{
		"syntax":              {"local x = = 1", "a.lua:1: syntax error near '='"},
		"end missing":         {"if x then\n", "a.lua:1: the file ends too early"},
		"unterminated string": {"local s = \"abc\n", "unterminated string"},
		"unknown name":        {on("return rejct(\"x\")"), "a.lua:2: unknown name rejct; did you mean reject?"},
		"unknown module":      {"local x = kw.get(\"x\")", "a.lua:1: unknown name kw; did you mean kv?"},
		"absent module":       {"local x = socket.get(\"x\")", "a.lua:1: unknown name socket"},
		"absent by design":    {"local x = os.time()", "a.lua:1: unknown name os; policies cannot use it"},
		"environment":         {"local x = _G.print", "a.lua:1: unknown name _G; policies cannot use it"},
		"code from text":      {"loadstring(\"x\")()", "unknown name loadstring; policies cannot use it"},
		"coroutines":          {"coroutine.wrap(print)", "unknown name coroutine; policies cannot use it"},
		"member of a module":  {on("return string.fnd(\"x\", \"y\")"), "a.lua:2: string.fnd does not exist; did you mean find?"},
		"accidental global":   {on("count = 1"), "a.lua:2: count is written as a global inside a function; make it local"},
		"shadowing":           {"reject = 1", "a.lua:1: reject is read only"},
		"unknown hook": {"\non(\"recieve.mail\", function() end)",
			"a.lua:2: there is no hook \"recieve.mail\"; did you mean receive.mail?"},
		"hook without function": {"on(\"receive.mail\")", "a.lua:1: on: expected on(hook, [options,] function)"},
		"unknown option": {"on(\"receive.mail\", { ordr = 1 }, function() end)",
			"a.lua:1: on: unknown option ordr; did you mean order?"},
		"order":    {"on(\"receive.mail\", { order = 101 }, function() end)", "order must be a whole number from -100 to 100"},
		"on_error": {"on(\"receive.mail\", { on_error = \"ignore\" }, function() end)", "on_error must be"},
		"on_error impossible": {"on(\"receive.mail\", { on_error = \"keep\" }, function() end)",
			"on_error = \"keep\" is not possible at receive.mail"},
		"tier": {"on(\"receive.mail\", { tier = \"before\" }, function() end)", "tier can only be \"after\""},
		"verdict": {on("if tx.sender == \"\" then\nreturn quarantine(\"x\")\nend"),
			"a.lua:3: quarantine is not a verdict of receive.mail; it allows reject, defer, disconnect"},
		"verdict not returned": {on("reject(\"x\")"), "a.lua:2: reject(...) makes a verdict, but the handler does not return it; " +
			"write return reject(...)"},
		"error while loading":       {"local t = nil\nlocal x = t.y", "a.lua:2: attempt to index variable 't' (a nil value)"},
		"require":                   {"require \"nothing\"", "a.lua:1: require: there is no nothing.lua next to a.lua"},
		"map":                       {"map.open(\"x.toml\")", "a.lua:1: map.open: there is no file x.toml here"},
		"pattern":                   {"re.compile(\"(\")", "a.lua:1: re.compile: error parsing regexp"},
		"kv while loading":          {"kv.get(\"x\")", "a.lua:1: kv.get: only inside a handler"},
		"time while loading":        {"local x = time.now()", "a.lua:1: time.now: only inside a handler"},
		"random while loading":      {"local x = math.random()", "a.lua:1: math.random: only inside a handler"},
		"two faults in one message": {on("x1 = 1\ny1 = 2"), "a.lua:3: y1 is written as a global"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": c.text})})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if _, ok := errors.AsType[*source.Error](err); !ok {
				t.Errorf("%T is not a *source.Error", err)
			}
		})
	}
}

func TestSnippet(t *testing.T) {
	_, err := hookstest.New(t).Engine.Load(t.Context(),
		[]hooks.Source{hookstest.Bundle("acme/x", map[string]string{"init.lua": "\n\tlocal x = rejct(1)\n"})})
	e, ok := errors.AsType[*source.Error](err)
	if !ok || e.File != "acme/x/init.lua" || e.Line != 2 || e.Column != 12 || e.Snippet != "\tlocal x = rejct(1)\n\t          ^" {
		t.Errorf("%+v", e)
	}
}

// TestAllErrors: one load tells every fault of every file.
func TestAllErrors(t *testing.T) {
	_, err := hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{
		hookstest.Scripts(map[string]string{"a.lua": "local x = = 1", "b.lua": "foo()"}),
		hookstest.Bundle("acme/x", map[string]string{"init.lua": "bar()\nbaz()"})})
	for _, want := range []string{"a.lua:1:", "acme/x/init.lua:1: unknown name bar", "acme/x/init.lua:2: unknown name baz"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	_, err = hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{
		hookstest.Scripts(map[string]string{"a.lua": "local n = \"x\" on(n, function() end)\non(n, function() end)",
			"b.lua": "local t = nil + 1"})})
	for _, want := range []string{"a.lua:1:", "a.lua:2:", "b.lua:1:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestBundleRules(t *testing.T) {
	load := func(text string, change func(*hooks.Source)) error {
		src := hookstest.Bundle("acme/x", map[string]string{"init.lua": text})
		change(&src)
		_, err := hookstest.New(t).Engine.Load(t.Context(), []hooks.Source{src})
		return err
	}
	for name, c := range map[string]struct {
		text   string
		change func(*hooks.Source)
		want   string
	}{
		"hook not declared": {`on("receive.mail", function() end)`,
			func(s *hooks.Source) { s.Grants = &hooks.Grants{Hooks: []hooks.Point{hooks.DeliverLocal}} }, "not among the hooks"},
		"module not granted": {`on("receive.mail", function() return kv.get("x") end)`,
			func(s *hooks.Source) { s.Grants = &hooks.Grants{Hooks: []hooks.Point{hooks.ReceiveMail}} }, "module kv is not granted"},
		"module granted": {`on("receive.mail", function() kv.get("x") end)`, func(s *hooks.Source) {
			s.Grants = &hooks.Grants{Hooks: []hooks.Point{hooks.ReceiveMail}, Modules: []string{"kv"}}
		}, ""},
		"computing is free": {`on("receive.mail", function() json.encode(string.rep("x", 2)) end)`,
			func(s *hooks.Source) { s.Grants = &hooks.Grants{Hooks: []hooks.Point{hooks.ReceiveMail}} }, ""},
		"laxer on_error":    {`on("receive.mail", { on_error = "continue" }, function() end)`, func(*hooks.Source) {}, "can only be stricter"},
		"stricter on_error": {`on("receive.mail", { on_error = "reject" }, function() end)`, func(*hooks.Source) {}, ""},
		"the admin's tier":  {`on("receive.mail", { tier = "after" }, function() end)`, func(*hooks.Source) {}, "is for the admin's scripts"},
		"no such main file": {``, func(s *hooks.Source) { s.Main = append(s.Main, "x.lua") }, "acme/x/x.lua: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			err := load(c.text, c.change)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestGeneration(t *testing.T) {
	files := map[string]string{"a.lua": `
local util = require "lib.util"
function helper(x) return util.double(x) end
on("receive.mail", { order = 3, tier = "after", listener = "mx", on_error = "continue" }, function() if helper(2) ~= 4 then
return reject("x") end end)`,
		"b.lua": `on("receive.rcpt", function() dns.a("x") end)
local ask = dns.mx
local function indirect() return ask("x") end
local t = { f = indirect }
on("receive.rcpt", function() return t.f() end)
local cached = cache.memoize(function(d) return dns.mx(d) end)
on("receive.rcpt", function() cached("x") end)
on("receive.rcpt", function() return http.get("https://x.example/") end)
on("receive.rcpt", function(session, tx, rcpt) return milter.scan("x", rcpt) end)
local post = http.post
on("receive.rcpt", function() return post("https://x.example/", "") end)
on("receive.helo", function() return json.encode { kv.get("x") } end)`,
		"lib/util.lua": `return { double = function(x) return 2 * x end }`}
	w := hookstest.New(t).Load(hookstest.Scripts(files))
	h := w.Generation.Chain.Handlers(hooks.ReceiveMail)
	if len(h) != 1 {
		t.Fatalf("%d handlers", len(h))
	}
	i := h[0].Info()
	if i.File != "a.lua" || i.Line != 4 || i.Order != 3 || i.Tier != hooks.After || i.Listener != "mx" || i.OnError != hooks.FailContinue ||
		i.MayBlock || i.Generation != w.Generation.ID {
		t.Errorf("%+v", i)
	}
	for _, h := range w.Generation.Chain.Handlers(hooks.ReceiveRcpt) {
		if !h.Info().MayBlock {
			t.Errorf("%s may block", h.Info().Name())
		}
	}
	if h := w.Generation.Chain.Handlers(hooks.ReceiveHelo)[0]; h.Info().MayBlock {
		t.Errorf("%s blocks on nothing", h.Info().Name())
	}
	if a := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.1"),
		Tx: hookstest.Tx("a@a.example")}); a.Action != hooks.Continue || a.Err() != "" {
		t.Errorf("%v %s", a.Verdict, a.Err())
	}
	again := hookstest.New(t).Load(hookstest.Scripts(files))
	if len(w.Generation.ID) != 12 || again.Generation.ID != w.Generation.ID {
		t.Errorf("ids %s and %s", w.Generation.ID, again.Generation.ID)
	}
	files["lib/util.lua"] += " "
	if other := hookstest.New(t).Load(hookstest.Scripts(files)); other.Generation.ID == w.Generation.ID {
		t.Error("a changed file gave the same id")
	}
}

func TestTimer(t *testing.T) {
	w := hookstest.New(t).Script(`on("timer.tick", { every = "1h" }, function(now) kv.set("at", now) end)`)
	h := w.Generation.Chain.Handlers(hooks.TimerTick)[0]
	if h.Info().Every != time.Hour {
		t.Errorf("every %v", h.Info().Every)
	}
	e := &hooks.Event{Point: hooks.TimerTick, Now: time.Unix(1_764_000_000, 0)}
	if a := w.Ask(e); a.Err() != "" {
		t.Fatal(a.Err())
	}
	if v, err := w.KV.Get(t.Context(), "scripts", "at"); err != nil || string(v) != "1764000000" {
		t.Errorf("now was %q, %v", v, err)
	}
	for text, want := range map[string]string{
		`on("timer.tick", function() end)`:                               "timer.tick needs the option every",
		`on("timer.tick", { every = "1s" }, function() end)`:             "at least a minute",
		`on("receive.mail", { every = "1h" }, function() end)`:           "every is for timer.tick",
		`on("receive.mail", { events = { "login" } }, function() end)`:   "events is for observe.event",
		`on("observe.event", { events = {} }, function() end)`:           "events is for observe.event",
		`on("observe.event", { events = { "bounce" } }, function() end)`: "there is no event \"bounce\"",
		`on("timer.tick", { every = "soon" }, function() end)`:           "at least a minute",
	} {
		if _, err := w.Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": text})}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestReloads: what was compiled before is used again only where the text and
// what its bundle may do are the same; faults are told each time.
func TestReloads(t *testing.T) {
	e := lua.New(lua.Options{})
	answer := func(text string, g hooks.Grants) string {
		t.Helper()
		loaded, err := e.Load(t.Context(), []hooks.Source{bundleWith(text, g)})
		if err != nil {
			return err.Error()
		}
		v, _ := loaded.Chain.Run(t.Context(), dataEvent(plainMail))
		return v.Status.Text
	}
	one, two := data(`return reject("one")`), data(`return reject("two")`)
	sends := data(`if msg.size < 0 then mail.submit { to = "x@x.example", text = "" } end return reject("sent")`)
	may := hooks.Grants{Modules: []string{"mail"}, Submit: hooks.Rate{N: 1, Per: time.Hour}}
	for i, c := range []struct {
		text   string
		grants hooks.Grants
		want   string
	}{
		{one, hooks.Grants{}, "one"}, {one, hooks.Grants{}, "one"}, {two, hooks.Grants{}, "two"}, {one, hooks.Grants{}, "one"},
		{sends, may, "sent"}, {sends, hooks.Grants{Modules: []string{"mail"}}, "mail.submit is not granted to this bundle"}, {sends, may, "sent"},
		{sends, hooks.Grants{Submit: may.Submit}, "module mail is not granted"}, {one, hooks.Grants{Hooks: []hooks.Point{hooks.QueueExpand}},
			"not among the hooks"},
		{data(`return keep()`), hooks.Grants{}, "keep is not a verdict"}, {data(`return keep()`), hooks.Grants{}, "keep is not a verdict"},
		{two, hooks.Grants{}, "two"},
	} {
		if got := answer(c.text, c.grants); !strings.Contains(got, c.want) {
			t.Errorf("load %d: %s, want %s", i+1, got, c.want)
		}
	}
}
