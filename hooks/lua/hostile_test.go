package lua_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

func TestAttacks(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: attacks are held against limits of time and memory, which a race detector multiplies")
	}
	good := hookstest.Tx("good@a.example")
	for _, a := range hookstest.Attacks {
		t.Run(a.Name, func(t *testing.T) {
			w := hookstest.New(t).Script("on(\"receive.mail\", function(session, tx)\n" +
				" if tx.sender == \"good@a.example\" then return reject(\"I am well\") end\n" + a.Body + "\nend)")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			got := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("bad@a.example")})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			// On a slow machine the wall time may end what another limit would.
			ended := strings.Contains(got.Err(), a.Want) || strings.Contains(got.Err(), "out of time")
			if got.Action != hooks.Defer || got.Status.Code != 451 || !ended {
				t.Errorf("got %v: %q, want the failure column and %q", got.Verdict, firstLine(got.Err()), a.Want)
			}
			if took > time.Minute { // the wall limit is 2 s; this only catches what nothing ends
				t.Errorf("took %v", took)
			}
			if made := after.TotalAlloc - before.TotalAlloc; made > 700<<20 {
				t.Errorf("made %d MiB", made>>20)
			}
			if len(got.Event.Session.Meta) != 0 || len(got.Event.Pending.Effects)+len(got.Event.Pending.Submits) != 0 {
				t.Error("edits of a failed handler stayed")
			}
			next := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: good})
			if next.Action != hooks.Reject || next.Status.Text != "I am well" {
				t.Errorf("the next message: %v %s", next.Verdict, next.Err())
			}
		})
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// TestDeadline: the wall time ends a call that the instructions would not. The
// loop needs a real clock: that of a synctest bubble stands while code runs.
func TestDeadline(t *testing.T) {
	src := hookstest.Scripts(map[string]string{"a.lua": `on("receive.mail", function() while true do end end)`})
	src.Limits = hooks.Limits{Wall: 50 * time.Millisecond, Instructions: 1 << 40, Granted: true}
	w := hookstest.New(t).Load(src)
	start := time.Now()
	a := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example")})
	if took := time.Since(start); took < 50*time.Millisecond || took > time.Second || !strings.Contains(a.Err(), "out of time") {
		t.Fatalf("%v after %v: %s", a.Verdict, took, a.Err())
	}
}

// TestHeapLimit: a call ends when the process holds too much.
func TestHeapLimit(t *testing.T) {
	src := hookstest.Scripts(map[string]string{"a.lua": `on("receive.mail", function() local t = {} for i = 1, 1e9 do t[i] = function()
return i end end end)`})
	src.Limits = hooks.Limits{Wall: time.Minute, Instructions: 1 << 40, Granted: true}
	w := hookstest.NewWith(t, hookstest.Options{HeapLimit: 128 << 20}).Load(src)
	a := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example")})
	if !strings.Contains(a.Err(), "MiB of memory") {
		t.Fatalf("%v: %s", a.Verdict, a.Err())
	}
}

// sealed are attempts to change what other handlers see. They fail, or
// change nothing that can be seen.
var sealed = []struct{ name, body, want string }{
	{"write to a module", `string.find = function() end`, "read only"},
	{"write through the string metatable", `getmetatable("").__index = {}`, "attempt to index"},
	{"metatable of an object", `getmetatable(session).__index = {}`, "attempt to index"},
	{"rawset on a module", `rawset(string, "find", 1)`, "table expected"},
	{"rawset on an object", `rawset(session, "ip", 1)`, "table expected"},
	{"setmetatable on a module", `setmetatable(string, {})`, "table expected"},
	{"setmetatable on a string", `setmetatable("", {})`, "table expected"},
	{"write to a field", `session.ip = "127.0.0.1"`, "read only"},
	{"write a new field", `session.foo = 1`, "does not exist"},
	{"next over a module", `next(string)`, "table expected"},
	{"pairs over a module", `for k in pairs(kv) do end`, "table expected"},
	{"call a method on another object", `tx.recipients(session)`, "tx expected, got session"},
	{"call a method without an object", `local f = tx.recipients f()`, "tx expected"},
	{"raw metatable", `rawget(session, "x")`, "table expected"},
	{"unknown module member through a variable", `string["g" .. "find"]("x")`, "does not exist"},
	{"identity", `session.identity.user = "root"`, "read only"},
	{"a member of the wrong type", `return session[1]`, "no member"},
}

func TestSealed(t *testing.T) {
	for _, s := range sealed {
		t.Run(s.name, func(t *testing.T) {
			w := hookstest.New(t).Script("on(\"receive.mail\", function(session, tx)\n" + s.body + "\nend)")
			e := &hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("bad@a.example")}
			e.Session.Identity = hookstest.Identity("bob@our.example")
			a := w.Ask(e)
			if a.Action != hooks.Defer || !strings.Contains(a.Err(), s.want) {
				t.Errorf("got %v %q, want %q", a.Verdict, firstLine(a.Err()), s.want)
			}
		})
	}
}

// badSources must be refused, quickly, before anything runs.
func TestSourceLimits(t *testing.T) {
	many := func(s string, n int) string { return strings.Repeat(s, n) }
	for name, text := range map[string]string{
		"too long":           many("-- x\n", 60_000),
		"nested not":         "return " + many("not ", 100_000) + "true",
		"nested parentheses": "return " + many("(", 100_000) + "1" + many(")", 100_000),
		"nested tables":      "return " + many("{", 100_000) + many("}", 100_000),
		"nested functions":   many("return function() ", 10_000) + many(" end", 10_000),
		"nested blocks":      many("do ", 50_000) + many("end ", 50_000),
		"nested ifs":         many("if x then ", 20_000) + many("end ", 20_000),
		"long sum":           "return 1" + many("+a", 100_000),
		"long concatenation": "return a" + many("..a", 80_000),
		"long minus":         "return " + many("- ", 100_000) + "1",
		"long power":         "return 1" + many("^1", 100_000),
		"long index":         "return a" + many(".a", 100_000),
		"long brackets":      "return a" + many("[1]", 80_000) + many("+1", 300),
		"long calls":         "return a" + many(":a()", 60_000),
		"long comparisons":   "return a" + many("==a", 80_000),
		"long logic":         "return a" + many(" or a", 50_000),
	} {
		t.Run(name, func(t *testing.T) {
			w := hookstest.New(t)
			start := time.Now()
			_, err := w.Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": text})})
			if err == nil {
				t.Error("loaded")
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestLoadBudget: code of a file that does not end is a load error.
func TestLoadBudget(t *testing.T) {
	for _, text := range []string{`while true do end`, `local s = "x" while true do s = s .. s end`,
		`pcall(function() while true do end end) while true do end`} {
		w := hookstest.New(t)
		if _, err := w.Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": text})}); err == nil ||
			!strings.Contains(err.Error(), "exhausted") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
