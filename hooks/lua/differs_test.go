package lua_test

import (
	"os"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// TestDiffersFromLua51 holds the rows of the sandbox page, and what follows
// Lua 5.1 although it did not always.
func TestDiffersFromLua51(t *testing.T) {
	page, err := os.ReadFile("../../cmd/carteiro/manual/sandbox.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ row, lua, want string }{
		{"`goto`", `for i = 1, 3 do if i == 2 then goto next end if i == 3 then return i end ::next:: end`, "3"},
		{"`arg`", `local function f(...) return select("#", ...) end return f(1)`, "1"},
		{"`(\"x\").y`", `return ("x").y`, "error: a.lua:2: string.y does not exist"},
		{"`tostring(1e14)`", `return tostring(1e14) .. " " .. tostring(123456789012345) .. " " .. tostring(1e15)`,
			"100000000000000 123456789012345 1e+15"},
		{"`tostring(0 * -1)`", `local z = 0 return tostring(z * -1)`, "0"},
		{"`next({}, \"x\")`", `return next({}, "x")`, "nil"},
		{"`#` of a list with nil", `local t = { 1, 2, 3 } t[10] = 1 local n = #t return t[n] ~= nil and t[n + 1] == nil`, "true"},
		{"`table.sort`", `local t = { 3, 1, 2 } table.sort(t, function() return true end) table.sort(t) return table.concat(t)`, "123"},
		{"`%f`", `return (("THE (quick) fox"):gsub("%f[%a]%a+", "x")) .. #("a\0b"):match("%z.")`, "x (x) x2"},
		{"`(\"x\"):gsub", `return (("x"):gsub("x", "%y"))`, "y"},
		{"`(\"x\"):gsub", `return (("x"):gsub("x", "%"))`, "error: a.lua:2: invalid use of '%' in replacement string"},
		{"`tonumber(\"inf\")`", `return tostring(tonumber("inf")) .. tostring(tonumber("nan")) .. tostring(tonumber("0x1p4"))`, "nilnilnil"},
		{"`upper`", `return ("\233a"):upper() == "\233A"`, "true"},
		{"nesting of calls", `local n = 0 local function f() n = n + 1 f() n = n + 0 end pcall(f) return n > 150 and n < 200`, "true"},
		{"a stack overflow in `xpcall`",
			`local function f() return 1 + f() end return select(2, xpcall(f, function(e) return "seen " .. e:match("stack overflow") end))`,
			"seen stack overflow"},
		{"", `for i = "10", "1", "-2" do return i end`, "10"},
		{"", `local t = { 1, 2, 3 } table.insert(t, 10, "x") return t[3] .. t[10]`, "3x"},
		{"", `local t = { 1, 2, 3 } table.insert(t, 0, "x") return t[0] .. tostring(t[1]) .. t[2] .. t[3] .. t[4]`, "xnil123"},
		{"", `return #setmetatable({}, { __len = function() return 5 end })`, "0"},
		{"", `return type(tostring(setmetatable({}, { __tostring = function() return 5 end })))`, "number"},
		{"", `return select(2, pcall(error, "x"))`, "x"},
		{"", `return type(select(2, pcall(error, 2))) .. type(select(2, pcall(error, 2, 0)))`, "stringnumber"},
		{"", `return select(2, pcall(function() error("x") end))`, "a.lua:2: x"},
		{"", `return select(2, pcall(function() error("x", 0) end))`, "x"},
		{"", `return string.find(nil, "a")`, "error: a.lua:2: bad argument #1 to 'find' (string expected, got nil)"},
		{"", `local s = 5 return s:find("5")`, "error: a.lua:2: attempt to index variable 's' (a number value)"},
	} {
		if row.row != "" && !strings.Contains(string(page), "| "+row.row) {
			t.Errorf("the page has no row for %s", row.row)
		}
		if got := evaluate(t, row.lua); got != row.want {
			t.Errorf("%s: got %q, want %q", row.lua, got, row.want)
		}
	}
	if got := loadText(t, `local function f(...) return arg end`); !strings.Contains(got, "unknown name arg") {
		t.Errorf("arg: %s", got)
	}
}

// loadText is the error of a file that does not load.
func loadText(t *testing.T, text string) string {
	t.Helper()
	_, err := lua.New(lua.Options{}).Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": text})})
	if err == nil {
		return ""
	}
	return err.Error()
}
