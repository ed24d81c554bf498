package lua_test

import (
	"strings"
	"testing"

	"carteiro/hooks/hookstest"
)

// TestErrorsNameTheValue: an error of the interpreter names what the value came
// from, uncaught and caught.
func TestErrorsNameTheValue(t *testing.T) {
	for body, want := range map[string]string{
		`local u = session.identity.user`:                  "attempt to index field 'identity' (a nil value)",
		`local t local x = t.y`:                            "attempt to index variable 't' (a nil value)",
		`local t = {} local x = t.a.b.c`:                   "attempt to index field 'a' (a nil value)",
		`local t = { a = {} } local x = t.a.b.c`:           "attempt to index field 'b' (a nil value)",
		`local t t.x = 1`:                                  "attempt to index variable 't' (a nil value)",
		`local t = {} t.x.y = 1`:                           "attempt to index field 'x' (a nil value)",
		`local t = {} local x = t.list:first()`:            "attempt to index field 'list' (a nil value)",
		`local function f() end local x = f().name`:        "attempt to index the result of 'f' (a nil value)",
		`local s = msgs(session)`:                          "attempt to call variable 'msgs', which is not a function",
		`local t = {} t.run()`:                             "attempt to call field 'run', which is not a function",
		`local t = {} t:run()`:                             "attempt to call method 'run', which is not a function",
		`local t = {} local x = string.len(t.f(1))`:        "attempt to call a value that is not a function, one of field 'len', field 'f'",
		`local n local x = n + 1`:                          "attempt to perform arithmetic on variable 'n' (a nil value)",
		`local t = {} local x = 1 - t.count`:               "attempt to perform arithmetic on field 'count' (a nil value)",
		`local x = -tx.recipients`:                         "attempt to perform arithmetic on field 'recipients'",
		`local n = "x" local y = n * 2`:                    "attempt to perform arithmetic on variable 'n' (a string value)",
		`local n local x = #n`:                             "attempt to get length of variable 'n' (a nil value)",
		`local s = "to " .. tx.sender .. session.identity`: "attempt to concatenate field 'identity' (a nil value)",
		`local a, b = "x" local s = a .. b .. "y"`:         "attempt to concatenate variable 'b' (a nil value)",
		`local a, b = "x" local s = a .. "y" .. b`:         "attempt to concatenate variable 'b' (a nil value)",
		`local a local s = a .. "y"`:                       "attempt to concatenate variable 'a' (a nil value)",
		`local a, b = {}, {} local x = a[1].y + b[1].y`:    "attempt to index a nil value",
		`local a, k = {}, 1 local x = a[k].y`:              "attempt to index an element of 'a' (a nil value)",
		`for i = 1, nil do end`:                            "'for' limit must be a number",
		`for i = 1, tx.size do end`:                        "",
		`local n for i = 1, n do end`:                      "attempt to perform arithmetic on variable 'n' (a nil value)",
		"local t\nlocal x =\n t.y":                         "attempt to index variable 't' (a nil value)",
	} {
		script := "local msgs = 1\non(\"receive.mail\", function(session, tx)\n"
		a := hookstest.New(t).Script(script + body + "\nend)").Ask(mailEvent("a@a.example"))
		if !strings.Contains(a.Err(), want) || a.Err() == "" {
			t.Errorf("%s: got %q, want %q", body, firstLine(a.Err()), want)
		}
		e := mailEvent("a@a.example")
		a = hookstest.New(t).Script(script + "tx.meta.r = select(2, pcall(function()\n" + body + "\nend))\nend)").Ask(e)
		if got, _ := e.Tx.Meta["r"].(string); !strings.Contains(got, want) || a.Err() != "" {
			t.Errorf("pcall of %s: got %q %s, want %q", body, got, a.Err(), want)
		}
	}
}

// TestFailuresOfHandlers: a failure is told once, with its place, and the
// traceback names the handler.
func TestFailuresOfHandlers(t *testing.T) {
	for _, c := range []struct {
		script string
		want   []string
	}{
		{"on(\"receive.mail\", function()\n while true do end\nend)",
			[]string{"policy failed: budget exhausted: more than 200000 instructions: policy.lua:2\n", "in the handler of receive.mail"}},
		{"local function h()\n return accept()\nend\non(\"receive.mail\", function() local v = h() return v end)",
			[]string{"policy.lua:2: accept is not a verdict of receive.mail; it allows reject, defer, disconnect"}},
		{"local function h() error(\"no\") end\non(\"receive.mail\", function()\n h()\nend)",
			[]string{"policy.lua:1: no", "policy.lua:3: in the handler of receive.mail"}},
	} {
		script, want := c.script, c.want
		a := hookstest.New(t).Script(script).Ask(mailEvent("a@a.example"))
		for _, w := range want {
			if !strings.Contains(a.Err(), w) {
				t.Errorf("%s:\ngot %q\nwant %q", script, a.Err(), w)
			}
		}
		if strings.Contains(a.Err(), "main chunk") || strings.Count(a.Err(), "budget exhausted") > 1 {
			t.Errorf("%s:\ngot %q", script, a.Err())
		}
	}
}
