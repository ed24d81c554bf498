package lua_test

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/yuin/gopher-lua/parse"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// evaluate runs a chunk that returns text; an error becomes "error: ...".
func evaluate(t testing.TB, chunk string) string {
	t.Helper()
	w := hookstest.New(t)
	src := hookstest.Scripts(map[string]string{"a.lua": "on(\"receive.mail\", function(session, tx)\nlocal function f() " + chunk +
		" end\nlocal ok, v = pcall(f)\ntx.meta.r = (ok and \"\" or \"error: \") .. tostring(v)\nend)"})
	src.Limits.Instructions, src.Limits.Granted = 50_000_000, true
	w.Load(src)
	e := mailEvent("a@a.example")
	if a := w.Ask(e); a.Err() != "" {
		return "failed: " + firstLine(a.Err())
	}
	return e.Tx.Meta["r"].(string)
}

// show is Lua that joins all results of an expression with "|".
const show = `local function show(...) local t = {} for i = 1, select("#", ...) do t[i] = tostring((select(i, ...))) end ` +
	`return table.concat(t, "|") end `

// expressions and what Lua 5.1 answers.
var expressions = []struct{ lua, want string }{
	{`("hello world"):find("o w")`, "5|7"},
	{`("hello world"):find("l+")`, "3|4"},
	{`("hello"):find("")`, "1|0"},
	{`("hello"):find("", 10)`, "6|5"},
	{`("hello"):find("xyz")`, "nil"},
	{`("a.b"):find(".", 1, true)`, "2|2"},
	{`("a+b"):find("+", 1, true)`, "2|2"},
	{`("hello"):find("l", -2)`, "4|4"},
	{`("key = value"):match("^(%w+)%s*=%s*(%w+)$")`, "key|value"},
	{`("hello"):match("()ll()")`, "3|5"},
	{`("hello"):match(".-(l+)(.*)")`, "ll|o"},
	{`("[[x]]"):match("%[%[(.-)%]%]")`, "x"},
	{`("f(a(b)c)d"):match("%b()")`, "(a(b)c)"},
	{`("THE (quick) fox"):find("%((%a+)%)")`, "5|11|quick"},
	{`("THE (quick) fox"):gsub("%f[%a]%a+", "w")`, "w (w) w|3"},
	{`("abc"):gsub("%w", "%0%0")`, "aabbcc|3"},
	{`("abc"):gsub("", "-")`, "-a-b-c-|4"},
	{`("hello world"):gsub("o", "0", 1)`, "hell0 world|1"},
	{`("abc"):gsub("%w", { a = "1", b = true and "2" })`, "12c|3"},
	{`("abc"):gsub("(%w)(%w)", "%2%1")`, "bac|1"},
	{`("$name is $x"):gsub("%$(%w+)", { name = "lua" })`, "lua is $x|2"},
	{`("abc"):gsub("b", function() return nil end)`, "abc|1"},
	{`("abc"):gsub("^a", "x")`, "xbc|1"},
	{`("aaa"):gsub("^a", "x")`, "xaa|1"},
	{`("a,b,,c"):gsub(",", ";")`, "a;b;;c|3"},
	{`("x^y"):gsub("%^", "%%")`, "x%y|1"},
	{`("aXb"):find("%u")`, "2|2"},
	{`("a-b"):find("[a%-]-b")`, "1|3"},
	{`("a]b"):find("[]]")`, "2|2"},
	{`("a^b"):find("[b^]")`, "2|2"},
	{`("abc"):find("[^a-b]")`, "3|3"},
	{`("äb"):upper()`, "äB"},
	{`#("\233\128A"):lower()`, "3"},
	{`("\233\128A"):lower():byte(1, -1)`, "233|128|97"},
	{`("a\0b"):find("\0", 1, true)`, "2|2"},
	{`("a\0b"):find("%z")`, "2|2"},
	{`("a\0b"):len()`, "3"},
	{`("abc"):rep(3)`, "abcabcabc"},
	{`("abc"):rep(0)`, ""},
	{`("abc"):rep(-1)`, ""},
	{`("abc"):reverse()`, "cba"},
	{`("hello"):sub(2, -2)`, "ell"},
	{`("hello"):sub(-3)`, "llo"},
	{`("hello"):sub(0)`, "hello"},
	{`("hello"):sub(10)`, ""},
	{`("hello"):sub(3, 2)`, ""},
	{`("hello"):byte(1, 3)`, "104|101|108"},
	{`("hello"):byte(-1)`, "111"},
	{`("hello"):byte(10)`, ""},
	{`string.char(72, 105, 0, 255):len()`, "4"},
	{`("%d %5d %-5d| %05d %+d"):format(3, 4, 5, 6, 7)`, "3     4 5    | 00006 +7"},
	{`("%x %X %#x %o %u"):format(255, 255, 255, 8, 9)`, "ff FF 0xff 10 9"},
	{`("%5.2f %e %g %g %g"):format(3.14159, 12345.678, 0.1, 1e20, 100000)`, " 3.14 1.234568e+04 0.1 1e+20 100000"},
	{`("%g %g %g"):format(1e15, 123456789, 0.0001)`, "1e+15 1.23457e+08 0.0001"},
	{`("%s %10s %-10s| %.2s"):format("a", "b", "c", "defg")`, "a          b c         | de"},
	{`("%q"):format("a\"b\\c\nd\0e\r")`, "\"a\\\"b\\\\c\\\nd\\000e\\r\""},
	{`("%c%c"):format(72, 105)`, "Hi"},
	{`("%%"):format()`, "%"},
	{`("%5s%%"):format(1.5)`, "  1.5%"},
	{`("%d"):format("10")`, "10"},
	{`("%d"):format(3.99)`, "3"},
	{`("%.3d"):format(5)`, "005"},
	{`("%#g"):format(1)`, "1.00000"},
	{`("%+.1e"):format(-12345)`, "-1.2e+04"},
	{`("%i"):format(-0.5)`, "0"},
	{`tostring(1e15)`, "1e+15"},
	{`tostring(2^53)`, "9.007199254741e+15"},
	{`tostring(123456789012)`, "123456789012"},
	{`tostring(0.1)`, "0.1"},
	{`tostring(1/3)`, "0.33333333333333"},
	{`tostring(-1e300 * 1e300)`, "-inf"},
	{`1 .. 2`, "12"},
	{`"a" .. 1.5 .. "b" .. 2 ^ 10`, "a1.5b1024"},
	{`tonumber("0x10"), tonumber("  12  "), tonumber("1e2"), tonumber("")`, "16|12|100|nil"},
	{`tonumber("10", 2), tonumber("zz", 36), tonumber("8", 8), tonumber("1e")`, "2|1295|nil|nil"},
	{`tonumber("0x"), tonumber("- 1"), tonumber("inf"), tonumber("1_000")`, "nil|nil|nil|nil"},
	{`select("#"), select("#", nil, nil), select(2, "a", "b", "c")`, "0|2|b|c"},
	{`select(-1, "a", "b")`, "b"},
	{`unpack({ 1, 2, 3 }, 2)`, "2|3"},
	{`table.concat({ 1, 2, 3 }, "-", 2, 3)`, "2-3"},
	{`table.concat({})`, ""},
	{`(function() local t = { 3, 1, 2 } table.sort(t) return table.concat(t, ",") end)()`, "1,2,3"},
	{`(function() local t = { 3, 1, 2, 9, 4 } table.sort(t, function(a, b) return a > b end) return table.concat(t, ",") end)()`, "9,4,3,2,1"},
	{`(function() local t = { 1, 2, 3 } table.insert(t, 2, 9) local r = table.remove(t, 1) return r, table.concat(t, ",") end)()`, "1|9,2,3"},
	{`(function() local t = {} table.insert(t, "a") table.insert(t, "b") return #t, table.remove(t), table.remove(t), table.remove(t) end)()`,
		"2|b|a"},
	{`(function() local s = "" for k, v in ("a=1, b=2"):gmatch("(%w)=(%w)") do s = s .. k .. v end return s end)()`, "a1b2"},
	{`(function() local n = 0 for _ in ("abc"):gmatch("") do n = n + 1 end return n end)()`, "4"},
	{`pcall(error, { 1 }) and 1 or 2`, "2"},
	{`pcall(error, "x", 0)`, "false|x"},
	{`xpcall(function() error("x", 0) end, function(e) return e .. "!" end)`, "false|x!"},
	{`pcall(function(...) return ... end, 1, nil, 3)`, "true|1|nil|3"},
	{`type(nil), type(print), type({}), type("")`, "nil|function|table|string"},
	{`setmetatable({}, { __concat = function(a, b) return "meta" end }) .. "x"`, "meta"},
	{`"x" .. setmetatable({}, { __concat = function(a, b) return a .. "meta" end })`, "xmeta"},
	{`tostring(setmetatable({}, { __tostring = function() return "T" end }))`, "T"},
	{`getmetatable(setmetatable({}, { __metatable = "locked" }))`, "locked"},
	{`math.max(1, 5, 3), math.min(4, 2), math.floor(-1.5), math.fmod(-5, 3), math.huge`, "5|2|-2|-2|inf"},
	{`-5 % 3, 5 % -3, 2 ^ 0.5 > 1.41`, "1|-1|true"},
	{`#{ 1, 2, nil, 4 } > 0, #{ n = 1 }, #{ (function() return 1, 2, 3 end)() }`, "true|0|3"},
	{`#{ ((function() return 1, 2, 3 end)()) }`, "1"},
	{`({ [1] = "a", "b" })[1]`, "b"},
}

func TestExpressions(t *testing.T) {
	for _, c := range expressions {
		if got := evaluate(t, show+"return show("+c.lua+")"); got != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.lua, got, c.want)
		}
	}
}

// errorsOfLua are calls that fail, with what the message says.
var errorsOfLua = []struct{ lua, want string }{
	{`("x"):find("[a")`, "malformed pattern (missing ']')"},
	{`("x"):find("%")`, "malformed pattern (ends with '%')"},
	{`("x"):find("(x")`, "unfinished capture"},
	{`("x"):match("x)")`, "invalid pattern capture"},
	{`("x"):find("%1")`, "invalid capture index"},
	{`("x"):find("%f")`, "missing '[' after '%f' in pattern"},
	{`("x"):find("%b")`, "unbalanced pattern"},
	{`("x"):gsub("x", "%2")`, "invalid capture index"},
	{`("x"):gsub("x", function() return {} end)`, "invalid replacement value (a table)"},
	{`("x"):gsub("x", "%")`, "invalid use of '%' in replacement"},
	{`("x"):gsub("x")`, "bad argument #3 to 'gsub' (string, function or table expected"},
	{`("%y"):format(1)`, "invalid option '%y' to 'format'"},
	{`("%d"):format()`, "bad argument #2 to 'format' (value expected, got no value)"},
	{`("%d"):format("x")`, "bad argument #2 to 'format' (number expected, got string)"},
	{`string.rep()`, "bad argument #1 to 'rep' (string expected, got no value)"},
	{`string.char(256)`, "0..255 expected"},
	{`table.concat({ {} })`, "invalid value (table) at index 1"},
	{`"x" .. {}`, "attempt to concatenate a table value"},
	{`setmetatable(setmetatable({}, { __metatable = 1 }), {})`, "protected metatable"},
	{`rawset({}, nil, 1)`, "index is nil"},
	{`tonumber("1", 99)`, "base out of range"},
}

func TestErrorsOfLua(t *testing.T) {
	for _, c := range errorsOfLua {
		if got := evaluate(t, "return "+c.lua); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.lua, got, c.want)
		}
	}
}

// TestAgainstLua51 compares random patterns, subjects and formats with the
// reference implementation.
func TestAgainstLua51(t *testing.T) {
	path, err := exec.LookPath("lua5.1")
	if err != nil {
		t.Skip("lua5.1 is not installed; TestExpressions and FuzzPattern check against fixed answers and another matcher")
	}
	r := rand.New(rand.NewPCG(1, 2))
	var chunk strings.Builder
	chunk.WriteString(show +
		"local out = {}\nlocal function try(f, ...) local r = show(pcall(f, ...)) out[#out + 1] = (r:gsub('^false.*', 'error')) end\n")
	quote := func(s string) string {
		return "\"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + "\""
	}
	for range 4000 {
		s, p := randomText(r, "ab1 -", 12), randomText(r, "ab.%a%d[^]*+-?()$1 ", 8)
		chunk.WriteString("try(string.find, " + quote(s) + ", " + quote(p) + ")\ntry(string.gsub, " + quote(s) + ", " + quote(p) +
			", \"<%0>\")\n")
	}
	for range 2000 {
		f := "%" + randomText(r, "-+ #0", 2) + randomText(r, "123", 2) + "." + randomText(r, "12", 1) + string("deEfgGxXoiusq"[r.IntN(13)])
		arg := randomText(r, "0123456789", 6)
		if r.IntN(2) == 0 {
			arg = randomText(r, "-", 1) + arg + "." + randomText(r, "0123456789", 6) + []string{"", "e5", "e-7", "e18"}[r.IntN(4)]
		}
		if strings.HasSuffix(f, "x") || strings.HasSuffix(f, "X") || strings.HasSuffix(f, "o") || strings.HasSuffix(f, "u") {
			arg = randomText(r, "0123456789", 9) // out of range is undefined in C
		}
		chunk.WriteString("try(string.format, " + quote(f) + ", " + quote(arg) + ")\ntry(tostring, tonumber(" + quote(arg) + "))\n")
	}
	text := chunk.String()
	cmd := exec.Command(path, "-")
	cmd.Stdin = strings.NewReader(text + "io.write(table.concat(out, '\\n'))")
	reference, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := evaluate(t, "return nil"); got != "nil" {
		t.Fatal(got)
	}
	// Our files are limited, so the calls go in pieces.
	lines := strings.Split(text, "\n")
	var got []string
	for i := 2; i < len(lines); i += 1000 {
		piece := strings.Join(append(append([]string(nil), lines[:2]...), lines[i:min(i+1000, len(lines))]...), "\n")
		got = append(got, strings.Split(evaluate(t, piece+" return table.concat(out, '\\n')"), "\n")...)
	}
	want := strings.Split(string(reference), "\n")
	if failed := strings.Count(string(reference), "error"); len(want) < 12_000 || failed > len(want)/2 {
		t.Fatalf("%d comparisons, %d of them errors", len(want), failed)
	}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("%s\nwant %q", lines[i+2], want[i])
		}
	}
}

func randomText(r *rand.Rand, alphabet string, most int) string {
	b := make([]byte, r.IntN(most+1))
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

// TestInstructionsAreCounted: the trail says what a handler cost.
func TestInstructionsAreCounted(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.mail", function(session, tx) for i = 1, 1000 do end return reject("x") end)`)
	a := w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example")})
	if n := a.Trail[0].Instructions; n < 1000 || n > 3000 {
		t.Errorf("%d instructions", n)
	}
}

// TestAnnotationsAreLua: editors and interpreters can read them.
func TestAnnotationsAreLua(t *testing.T) {
	if _, err := parse.Parse(bytes.NewReader(lua.Annotations()), "carteiro.lua"); err != nil {
		t.Error(err)
	}
}
