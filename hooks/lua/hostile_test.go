package lua_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// attacks are bodies of a receive.mail handler. Each has to end in the
// failure column, quickly and without much memory, and the next message has
// to be treated as if nothing had happened.
var attacks = []struct {
	name, body string
	want       string // in the error
}{
	{"endless loop", `while true do end`, "instructions"},
	{"endless loop in pcall", `while true do pcall(function() while true do end end) end`, "instructions"},
	{"endless loop in xpcall", `while true do xpcall(function() while true do end end, function() while true do end end) end`, "instructions"},
	{"pcall of pcall", `local function f() return pcall(f) end while true do f() end`, "overflow"},
	{"handler of xpcall", `xpcall(function() error("x") end, function() while true do end end)`, "instructions"},
	{"goto loop", `::a:: goto a`, "instructions"},
	{"repeat loop", `repeat until false`, "instructions"},
	{"string.rep", `local s = string.rep("x", 2e10)`, "KiB of strings"},
	{"string.rep method", `local s = ("x"):rep(2e10)`, "KiB of strings"},
	{"string.rep caught", `pcall(string.rep, "x", 2e10) return nil`, "KiB of strings"},
	{"string.rep of a long string", `local s = ("x"):rep(3e7) s = s:rep(1e12)`, "KiB of strings"},
	{"doubling", `local s = "x" while true do s = s .. s end`, "KiB of strings"},
	{"doubling in pcall", `local s = "x" while true do pcall(function() s = s .. s end) end`, "KiB of strings"},
	{"long chain of concatenations", `local s = ("x"):rep(1e6) while true do s = s .. s .. s .. s end`, "KiB of strings"},
	{"giant index", `local t = {} for i = 1, 1e9 do t[67108862 - i] = 1 end`, "instructions"},
	{"table.concat bomb", `local s, t = ("x"):rep(1e6), {} for i = 1, 20000 do t[i] = s end return table.concat(t)`, "KiB of strings"},
	{"table.concat over a range", `return table.concat({}, "x", 1, 1e15)`, "invalid value"},
	{"gsub bomb", `local s = ("x"):rep(1e6) s:gsub("", s)`, "exhausted"},
	{"gsub callback", `local s = ("x"):rep(1e7) s:gsub(".", function(c) return c .. c end)`, "exhausted"},
	{"gsub table", `local s = ("x"):rep(1e7) s:gsub(".", setmetatable({}, { __index = function(_, k) return k end }))`, "exhausted"},
	{"exponential pattern", `string.find(("a"):rep(3000), ".-.-.-.-b")`, "exhausted"},
	{"exponential pattern in pcall", `pcall(string.find, ("a"):rep(3000), ".-.-.-.-b")`, "exhausted"},
	{"greedy pattern", `for i = 1, 1e9 do (("a"):rep(990000)):find("^.*b") end`, "exhausted"},
	{"pattern of many items", `string.find(("a"):rep(1e5), ("a?"):rep(100000))`, "too complex"},
	{"pattern of many captures", `string.find("a", ("()"):rep(1000))`, "captures"},
	{"balanced pattern", `local s = ("("):rep(1e6) for i = 1, 1e9 do s:find("%b()") end`, "exhausted"},
	{"gmatch without end", `for _ in (("x"):rep(1e7)):gmatch("") do end`, "exhausted"},
	{"format width", `return ("%1000000000d"):format(1)`, "too long"},
	{"format precision", `return ("%.1000f"):format(1)`, "too long"},
	{"format loop", `local t = {} for i = 1, 1e9 do t[i] = ("%99d"):format(i) end`, "exhausted"},
	{"format of long strings", `local s = ("x"):rep(1e7) while true do s = ("%s%s"):format(s, s) end`, "KiB of strings"},
	{"quoted format", `local s = ("\0"):rep(1e7) while true do s = ("%q"):format(s) end`, "KiB of strings"},
	{"recursion", `local function f() return 1 + f() end f()`, "stack overflow"},
	{"recursion in pcall", `local function f() pcall(f) pcall(f) end f()`, "overflow"},
	{"tail recursion", `local function f() return f() end f()`, "instructions"},
	{"__index loop", `local t = {} setmetatable(t, { __index = function(t, k) return t[k] end }) return t.x`, "overflow"},
	{"__index chain", `local t = {} setmetatable(t, { __index = t }) return t.x`, "too many recursions"},
	{"__call loop", `local t = {} setmetatable(t, { __call = function(t) return t() end }) t()`, "exhausted"},
	{"__concat loop", `local t = {} setmetatable(t, { __concat = function(a, b) return a .. b end }) return t .. t`, "overflow"},
	{"__eq loop", `local mt = {} mt.__eq = function(a, b) return a == b end return setmetatable({}, mt) == setmetatable({}, mt)`, "overflow"},
	{"unpack", `return unpack({}, 1, 1e8)`, "too many results"},
	{"unpack negative", `return unpack({}, -1e8, 1e8)`, "too many results"},
	{"unpack overflow", `return unpack({}, -1e300, 1e300)`, "too many results"},
	{"byte", `return (("x"):rep(1e7)):byte(1, -1)`, "too long"},
	{"char", `return string.char(unpack({}, 1, 7999))`, "number expected"},
	{"many arguments", `local t = {} for i = 1, 7900 do t[i] = i end local function f(...) return f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...) end f(unpack(t))`, "policy failed"},
	{"table growth", `local t = {} for i = 1, 1e12 do t[i] = {} end`, "exhausted"},
	{"table growth with strings", `local t = {} for i = 1, 1e12 do t["k" .. i] = i end`, "exhausted"},
	{"table growth with holes", `local t = {} for i = 1, 1e12 do t[i * 1.5] = i end`, "exhausted"},
	{"closures", `local t = {} for i = 1, 1e12 do t[i % 100] = function() return i end end`, "exhausted"},
	{"sort with a liar", `local t = {} for i = 1, 1e4 do t[i] = i % 7 end while true do table.sort(t, function() return true end) end`, "exhausted"},
	{"sort of a growing table", `local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function(a, b) while true do t[#t + 1] = 1 end end)`, "exhausted"},
	{"insert at the front", `local t = {} while true do table.insert(t, 1, 1) end`, "exhausted"},
	{"hostile __tostring", `error(setmetatable({}, { __tostring = function() while true do end end }))`, "(table)"},
	{"tostring that returns no string", `return tostring(setmetatable({}, { __tostring = function() return {} end }))`, "must return a string"},
	{"error object in a chain", `local e = {} e.e = e error(e)`, "(table)"},
	{"error without a value", `error()`, "(nil)"},
	{"upper", `local s = ("x"):rep(3e7) for i = 1, 1e9 do s = s:upper() end`, "exhausted"},
	{"reverse", `local s = ("x"):rep(3e7) for i = 1, 1e9 do s = s:reverse() end`, "exhausted"},
	{"compare long strings", `local a, b = ("x"):rep(3e7), ("x"):rep(3e7) while a <= b do end`, "exhausted"},
	{"tonumber of a long string", `local s = ("1"):rep(3e7) while true do tonumber(s) end`, "exhausted"},
	{"plain find", `local s = ("a"):rep(3e7) while true do s:find("b", 1, true) end`, "exhausted"},
	{"json bomb", `local s = ("[") :rep(1e6) while true do json.decode(s) end`, "exhausted"},
	{"json of many references", `local s, t = ("\1"):rep(1e6), {} for i = 1, 9000 do t[i] = s end return json.encode(t)`, "KiB of strings"},
	{"json of a circle", `local t = {} t.t = t return json.encode(t)`, "nested deeper"},
	{"regular expression", `while true do re.compile("(a*)*b"):match(("a"):rep(1e5)) end`, "exhausted"},
	{"heavy regular expression", `re.compile("(x{1,500}){2}"):match(("x"):rep(1e6))`, "too many"},
	{"nested repeats", `re.compile("((a{100}){100}){100}")`, "re.compile"},
	{"base64", `local s = ("x"):rep(1e7) while true do s = base64.encode(s) end`, "exhausted"},
	{"meta bomb", `local s = ("x"):rep(1e4) for i = 1, 1e9 do session.meta["k" .. i] = s end`, "meta"},
	{"meta of a circle", `local t = {} t.t = t session.meta.x = t`, "nested deeper"},
	{"kv loop", `for i = 1, 1e9 do kv.set("k" .. i, i) end`, "too many kv"},
	{"kv value", `kv.set("k", ("x"):rep(1e6))`, "KiB"},
	{"log loop", `while true do log.info("x") end`, "exhausted"},
	{"submit loop", `for i = 1, 1e9 do mail.submit { from = "a@our.example", to = "b@our.example", text = "x" } end`, "too many messages"},
	{"number as string in a loop", `local t = {} for i = 1, 1e9 do t[i] = i .. "" end`, "exhausted"},
	{"select", `while true do select(-1, 1, 2, 3) end`, "exhausted"},
}

func TestAttacks(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: attacks are held against limits of time and memory, which a race detector multiplies")
	}
	good := hookstest.Tx("good@a.example")
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			w := hookstest.New(t).Script("on(\"receive.mail\", function(session, tx)\n if tx.sender == \"good@a.example\" then return reject(\"I am well\") end\n" + a.body + "\nend)")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			got := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("bad@a.example")})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			// On a slow machine the wall time may end what another limit would.
			ended := strings.Contains(got.Err(), a.want) || strings.Contains(got.Err(), "out of time")
			if got.Action != hooks.Defer || got.Status.Code != 451 || !ended {
				t.Errorf("got %v: %q, want the failure column and %q", got.Verdict, firstLine(got.Err()), a.want)
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

// TestDeadline: the wall time ends a call that the instructions would not.
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
	src := hookstest.Scripts(map[string]string{"a.lua": `on("receive.mail", function() local t = {} for i = 1, 1e9 do t[i] = function() return i end end end)`})
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
	for _, text := range []string{`while true do end`, `local s = "x" while true do s = s .. s end`, `pcall(function() while true do end end) while true do end`} {
		w := hookstest.New(t)
		if _, err := w.Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": text})}); err == nil || !strings.Contains(err.Error(), "exhausted") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
