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
