package lua_test

import (
	"testing"

	"carteiro/hooks/hookstest"
)

// TestAssignment: a, b = b, a computes before it assigns. The expected texts
// are what PUC Lua 5.1 prints.
func TestAssignment(t *testing.T) {
	w := hookstest.New(t).Script(`on("receive.mail", function(session, tx)
  local out = {}
  local function say(...)
    for _, v in ipairs { ... } do out[#out + 1] = tostring(v) end
    out[#out + 1] = "|"
  end
  local a, b, c = 1, 2, 3
  a, b = b, a say(a, b)
  a, b, c = c, a, b say(a, b, c)
  a, b = a + 1, a say(a, b)
  local t = { 1, 2 }
  t[1], t[2] = t[2], t[1] say(t[1], t[2])
  local i = 1
  i, t[i] = i + 1, 20 say(i, t[1], t[2])
  local function f() return 5, 6 end
  a, b, c = a, f() say(a, b, c)
  a, b = b say(a, b == nil)
  a, b = f(), { a } say(a, b[1])
  local function g(options, fn)
    if fn == nil then options, fn = {}, options end
    return type(options), type(fn)
  end
  say(g(print))
  local n = 0
  repeat local x, y = 1, 2 x, y = y, x n = n + x until x == 2
  say(n)
  t.x, t.y, a = a, t.x, "s" .. a say(t.x, t.y == nil, a)
  return reject(table.concat(out, " "))
end)`)
	const want = "2 1 | 3 2 1 | 4 3 | 2 1 | 2 20 1 | 4 5 6 | 5 true | 5 5 | table function | 2 | 5 true s5 |"
	if got := w.Ask(mailEvent("x@x.example")); got.Status.Text != want {
		t.Errorf("got %q %s", got.Status.Text, got.Err())
	}
}

// TestCaughtErrors: what a function shares with those around it stays shared
// after an error that pcall catches. The expected texts are what PUC Lua 5.1
// prints.
func TestCaughtErrors(t *testing.T) {
	for _, c := range [][2]string{
		{`local n = 1 local function up() n = n + 1 end pcall(error) up() up() return n`, "3"},
		{`local n = 1 local function up() n = n + 1 end pcall(error) n = 10 up() return n`, "11"},
		{`local s = "" local function add(x) s = s .. x end for _, w in ipairs { "a", "b" } do pcall(error) add(w) end return s`,
			"ab"},
		{`local function f(p) local g = function() p = p .. "!" end pcall(error) g() return p end return f("x")`, "x!"},
		{`local f f = function(n) if n == 0 then return "done" end pcall(error) return f(n - 1) end return f(3)`, "done"},
		{`local function f() return 1 end local g = function() return f() end pcall(error) function f() return 2 end return g()`,
			"2"},
		{`local a, b = (function() return 1, 2 end)() local g = function() a, b = b, a end pcall(error) g() return a .. b`,
			"21"},
		{`local a local g = function() a = "set" end pcall(error) g() return a`, "set"},
		{`local ok, msg = 1 pcall(function() local h = function() ok = 2 end pcall(error) h() msg = "in" end) return tostring(ok) .. msg`,
			"2in"},
		{`local x = 1 do local x = 2 local g = function() x = x + 1 end pcall(error) g() end return x`, "1"},
		{`local k = 0 repeat local z = k local g = function() z = z + 1 return z end pcall(error) g() k = k + 1 until z > 2 return k`,
			"3"},
		{`local t = {} function t.m(self, v) local g = function() v = v + 1 end pcall(error) g() return v end return t:m(4)`,
			"5"},
		{`local function v(...) local a, b = ... local g = function() a = b end pcall(error) g() return a end return v(1, 7)`,
			"7"},
		{`local get do local v = 1 pcall(function() get = function() return v end v = 5 error("x") end) end return get()`,
			"5"},
		{`local e = 0 xpcall(function() local z = 1 local g = function() z = z + 1 e = z end g() error("x") end, ` +
			`function() e = e + 10 end) return e`,
			"12"},
	} {
		chunk, want := c[0], c[1]
		if got := evaluate(t, chunk); got != want {
			t.Errorf("%s: got %q, want %q", chunk, got, want)
		}
	}
}
