package lua_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// programs writes random programs: assignments of several variables at once,
// loops, closures, varargs, methods, metatables, in whatever order.
type programs struct {
	r     *rand.Rand
	b     strings.Builder
	depth int
}

func (p *programs) pick(list ...string) string { return list[p.r.IntN(len(list))] }

func (p *programs) variable() string {
	return p.pick("a", "b", "c", "t.x", "t[1]", "t[2]", "u.y", "t[a]", "u[b]")
}

func (p *programs) expr() string {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > 3 {
		return p.pick("1", "2", "a", "b", "c", "nil", "\"s\"", "true")
	}
	switch p.r.IntN(16) {
	case 0:
		return fmt.Sprint(p.r.IntN(7))
	case 1, 2:
		return p.variable()
	case 3:
		return fmt.Sprintf("n(%s) %s n(%s)", p.expr(), p.pick("+", "-", "*", "%"), p.expr())
	case 4:
		return fmt.Sprintf("s(%s) .. s(%s) .. s(%s)", p.expr(), p.expr(), p.expr())
	case 5:
		return fmt.Sprintf("(%s %s %s)", p.expr(), p.pick("and", "or", "==", "~="), p.expr())
	case 6:
		return "not " + p.expr()
	case 7:
		return fmt.Sprintf("f(%s, %s)", p.expr(), p.expr())
	case 8:
		return fmt.Sprintf("(f(%s))", p.expr())
	case 9:
		return fmt.Sprintf("{ %s, x = %s, %s }", p.expr(), p.expr(), p.expr())
	case 10:
		return fmt.Sprintf("select(\"#\", f(%s, %s))", p.expr(), p.expr())
	case 11:
		return fmt.Sprintf("m:get(%s)", p.expr())
	case 12:
		return fmt.Sprintf("(function(...) local x, y = ... return y, x end)(%s, %s)", p.expr(), p.expr())
	case 13:
		return fmt.Sprintf("#{ %s, %s }", p.pick("1", "a or 1"), p.pick("2", "b or 2"))
	case 14:
		return fmt.Sprintf("n(%s) < n(%s)", p.expr(), p.expr())
	}
	return p.pick("a", "b", "c")
}

func (p *programs) exprs(n int) string {
	var list []string
	for range n {
		list = append(list, p.expr())
	}
	return strings.Join(list, ", ")
}

func (p *programs) statement(level int) {
	in := strings.Repeat(" ", level)
	block := func() {
		for range 1 + p.r.IntN(3) {
			p.statement(level + 1)
		}
	}
	kind := p.r.IntN(12)
	if level > 2 && kind > 6 {
		kind = 0
	}
	switch kind {
	case 0, 1, 2: // one to three at once, with as many, fewer or more values
		n := 1 + p.r.IntN(3)
		var left []string
		for range n {
			left = append(left, p.pick("a", "b", "c")) // what tables do here is not defined
		}
		fmt.Fprintf(&p.b, "%s%s = %s\n", in, strings.Join(left, ", "), p.exprs(max(1, n+p.r.IntN(3)-1)))
	case 3:
		fmt.Fprintf(&p.b, "%s%s = %s\n", in, p.pick("t.x", "t[1]", "t[2]", "u.y"), p.expr())
	case 4:
		fmt.Fprintf(&p.b, "%slocal %s, d = %s\n%sout(d)\n", in, p.pick("a", "b", "c"), p.exprs(1+p.r.IntN(3)), in)
	case 5:
		fmt.Fprintf(&p.b, "%sout(%s)\n", in, p.exprs(1+p.r.IntN(2)))
	case 6:
		fmt.Fprintf(&p.b, "%sout(pcall(function() %s end))\n", in, p.pick("error(\"e\", 0)", "return a, b", "return f(c)", "error({ }, 0)", "local x = a + {}"))
	case 7:
		fmt.Fprintf(&p.b, "%sif %s then\n", in, p.expr())
		block()
		fmt.Fprintf(&p.b, "%selse\n", in)
		block()
		fmt.Fprintf(&p.b, "%send\n", in)
	case 8:
		fmt.Fprintf(&p.b, "%sfor i = %d, %d, %d do\n", in, p.r.IntN(3), p.r.IntN(5), 1+p.r.IntN(2))
		block()
		fmt.Fprintf(&p.b, "%s out(i) if i > 3 then break end\n%send\n", in, in)
	case 9:
		fmt.Fprintf(&p.b, "%sfor k, v in ipairs({ %s }) do\n%s local g = function() a = k return v end\n", in, p.exprs(3), in)
		block()
		fmt.Fprintf(&p.b, "%s out(g())\n%send\n", in, in)
	case 10:
		fmt.Fprintf(&p.b, "%sdo local k = 0 repeat local z = k k = k + 1\n", in)
		block()
		fmt.Fprintf(&p.b, "%s until z >= %d end\n", in, p.r.IntN(3))
	case 11:
		fmt.Fprintf(&p.b, "%sdo local k = %d while k > 0 do k = k - 1\n", in, p.r.IntN(4))
		block()
		fmt.Fprintf(&p.b, "%send end\n", in)
	}
}

// prelude are what programs use. s and n make texts and numbers of anything,
// without the addresses of tables.
const prelude = `local lines = {}
local function s(v) if type(v) == "table" then return "table" elseif type(v) == "function" then return "function" elseif v ~= v then return "nan" end return tostring(v) end
local function n(v) if type(v) == "number" and v > -1e6 and v < 1e6 then return v end return #s(v) end
local function out(...) local p = {} for i = 1, select("#", ...) do p[i] = s((select(i, ...))) end local line = table.concat(p, ",") if line:find("arithmetic") or line:find("add operation") then line = "no arithmetic" end lines[#lines + 1] = (line:gsub("^false,.-:%d+: ", "false,")) end
local function f(x, y) if x then return y, x, 3 end return y end
out((pcall(function()
local a, b, c, t, u = 1, 2, 3, { 1, 2, x = 5 }, { y = 6 }
local m = { v = 7 } function m:get(x) return self.v, x end
m = setmetatable({}, { __index = m, __call = function(self, x) return x end })
`

// TestProgramsAgainstLua51 runs random programs here and with the reference
// implementation.
func TestProgramsAgainstLua51(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs some hundred programs twice")
	}
	path, err := exec.LookPath("lua5.1")
	if err != nil {
		t.Skip("lua5.1 is not installed; TestAssignment and TestExpressions check against fixed answers")
	}
	r := rand.New(rand.NewPCG(3, 4))
	total := 0
	for i := range 200 {
		p := &programs{r: r}
		for range 12 {
			p.statement(0)
		}
		text := prelude + p.b.String() + "out(a, b, c, t.x, t[1], t[2], u.y)\nend)))\n"
		cmd := exec.Command(path, "-")
		cmd.Stdin = strings.NewReader(text + "io.write(table.concat(lines, '\\n'))")
		reference, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, reference, text)
		}
		if strings.HasSuffix(string(reference), "true") {
			total++ // the others end where they index nil
		}
		if got := evaluate(t, text+"return table.concat(lines, '\\n')"); got != string(reference) {
			t.Fatalf("program %d\n%s\ngot\n%s\nwant\n%s", i, text, got, reference)
		}
	}
	if total < 50 {
		t.Errorf("only %d programs ran to their end", total)
	}
}
