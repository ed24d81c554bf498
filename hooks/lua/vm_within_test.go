package lua_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// TestWithin: a function that uses up its part of the budget ends, and nothing
// around it.
func TestWithin(t *testing.T) {
	const endless = `local function endless() while true do end end `
	for _, c := range [][2]string{
		{`return select("#", within(1000, function(...) return ... end, 1, nil, 3))`, "3"},
		{`return (within(1000, function(a, b) return a .. b end, "x", "y"))`, "xy"},
		{endless + `local v, why = within(1000, endless) return tostring(v) .. why`, "nilbudget"},
		{endless + `local v, why = within(1000, function() while true do pcall(endless) end end) return tostring(v) .. why`,
			"nilbudget"},
		{endless + `local v, why = within(1000, function() while true do xpcall(endless, endless) end end) return why`,
			"budget"},
		{endless + `local n = 0 for i = 1, 50 do local _, why = within(1000, endless) if why == "budget" then n = n + 1 end end return n`,
			"50"},
		{`return select(2, pcall(within, 1000, error, "as it is"))`, "as it is"},
		{`local e = {} local ok, got = pcall(within, 1000, function() error(e) end) return tostring(got == e)`, "true"},
		{endless +
			`local inner local outer = within(5000, function() inner = select(2, within(100, endless)) return "on" end) return inner .. outer`,
			"budgeton"},
		{endless +
			`local a, b = "none" a, b = within(1000, function() local _, why = within(1e9, endless) return why end) return tostring(a) .. b`,
			"nilbudget"},
		{endless + `local t, n = {}, 0 within(5000, function() for i = 1, 100 do t[i], n = i, i end endless() end) return #t + n`,
			"200"},
		{endless + `local get within(3000, function() local v = 1 get = function() return v end v = 5 endless() end) return get()`,
			"5"},
		{endless + `local v = 1 local function up() v = v + 1 end within(1000, function() up() endless() end) up() return v`,
			"3"},
		{`local v, why = within(500, function() return ("x"):rep(200000):find("y") end) return why`, "budget"},
		{`local n = 0 local v, why = within(2000, table.sort, { 3, 1, 2 }, function(a, b) n = n + 1 ` +
			`while n > 1 do end return a < b end) return why`,
			"budget"},
		{`return (within(1000, string.gsub, "abc", "b", function() while true do end end)) == nil`, "true"},
		{`local function deep(n) return within(1e6, deep, n + 1) end return tostring(pcall(deep, 1))`, "false"},
		{`return select(2, pcall(within, 0, print))`, "a.lua:2: within: instructions must be at least 1, got 0"},
		{`return select(2, pcall(within, 5, "x"))`, "a.lua:2: within: f must be a function, got string"},
		{`return select(2, pcall(within, 5))`, "a.lua:2: within: expected within(instructions, f, ...)"},
		{`local v, why = within(100, function() return 1 end) return v`, "1"},
	} {
		chunk, want := c[0], c[1]
		if got := strings.TrimPrefix(evaluate(t, chunk), "error: "); got != want {
			t.Errorf("%s: got %q, want %q", chunk, got, want)
		}
	}
}

// TestWithinEndsNoSooner: what within uses is used, and the whole budget, the
// time and what may be made hold for all of the call.
func TestWithinEndsNoSooner(t *testing.T) {
	for _, c := range [][2]string{
		{`while true do within(1000, function() while true do end end) end`, "more than 200000 instructions"},
		{`while true do pcall(within, 1000, function() while true do end end) end`, "more than 200000 instructions"},
		{`within(1e9, function() while true do end end) while true do end`, "more than 200000 instructions"},
		{`within(1e9, function() while true do within(1e9, function() while true do end end) end end) while true do end`,
			"more than 200000 instructions"},
		{`local t = {} for i = 1, 100 do within(1000, function() t[i] = ("x"):rep(1e6) end) end`, "KiB of strings"},
		{`within(1000, function() return string.rep("x", 1e9) end)`, "KiB of strings"},
		{`local f f = function() within(1e9, f) f() end f()`, ""},
	} {
		body, want := c[0], c[1]
		w := hookstest.New(t).Script("on(\"receive.mail\", function(session, tx)\n" + body + "\nend)")
		got := w.Ask(mailEvent("a@a.example"))
		if got.Action != hooks.Defer || !strings.Contains(got.Err(), want) {
			t.Errorf("%s: got %v %q, want %q", body, got.Verdict, firstLine(got.Err()), want)
		}
		if used := got.Trail[0].Instructions; used < 1 {
			t.Errorf("%s: %d instructions used", body, used)
		}
	}
}

// TestRulesOfSpamscore: a rule that is too dear for a message ends by itself
// and is named, and the next one runs.
func TestRulesOfSpamscore(t *testing.T) {
	symbols, err := os.ReadFile("../../plugins/spamscore/symbols.lua")
	if err != nil {
		t.Fatal(err)
	}
	w := hookstest.New(t).Load(hookstest.Scripts(map[string]string{"symbols.lua": string(symbols), "a.lua": `local symbols = require "symbols"
on("receive.data", function(session, tx, msg)
  local got = symbols.rule(msg, "endless", function(m) m:score("BEFORE", 1) while true do end end, msg)
  local a, b = symbols.rule(msg, "short", function(m) m:score("NEXT", 2) return "x", "y" end, msg)
  msg:score("GOT", 0, tostring(got) .. a .. b)
end)`}))
	e := dataEvent(plainMail)
	if a := w.Ask(e); a.Err() != "" {
		t.Fatal(a.Err())
	}
	got := ""
	for _, s := range e.Msg.Scores {
		got += fmt.Sprintf("%s=%g %s|", s.Name, s.Points, s.Note)
	}
	if want := "BEFORE=1 |TOO_COMPLEX=0 endless|NEXT=2 |GOT=0 nilxy|"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
