package lua

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// node is a piece of a program: texts with pieces between them. What it is
// tells how it can be made smaller.
type node struct {
	kind  byte // 'b' statements, 's' a statement, 'e' an expression
	texts []string
	nodes []*node
}

func (n *node) String() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

func (n *node) write(b *strings.Builder) {
	for i, t := range n.texts {
		b.WriteString(t)
		if i < len(n.nodes) {
			n.nodes[i].write(b)
		}
	}
}

// random writes random programs. Each ends by itself: loops count in variables
// that nothing else names. Functions that change variables are called as
// statements alone, for the order in which operands are computed is not
// defined.
type random struct {
	r     *rand.Rand
	vars  []string // in scope
	calls []string // functions in scope that change variables
	depth int      // of expressions
	level int      // of blocks
	loops int      // around, in this function
	names int
	many  bool // in a function with "..."
	alone bool // no function holds variables of the program
}

// randomProgram is a random program.
func randomProgram(r *rand.Rand) *node {
	g := &random{r: r, many: true, alone: r.IntN(2) == 0, vars: []string{"a", "b", "c", "t", "o"}}
	body := g.block(4 + r.IntN(5))
	return &node{kind: 'b', texts: []string{"local a, b, c, t, o = 1, false, nil, { 1, 2, x = 5 }, class(4)\nlocal keep = {}\n",
		"\nout(a, b, c, t, o)\nfor i = 1, #keep do out(pcall(keep[i])) end"}, nodes: []*node{body}}
}

func (g *random) one(list ...string) string { return list[g.r.IntN(len(list))] }

func leaf(text string) *node { return &node{kind: 'e', texts: []string{text}} }

// e makes an expression of a form in which each % is an expression.
func (g *random) e(form string) *node {
	n := &node{kind: 'e', texts: strings.Split(form, "%")}
	for range len(n.texts) - 1 {
		n.nodes = append(n.nodes, g.expr())
	}
	return n
}

// exprs are several expressions with commas.
func (g *random) exprs(count int) *node {
	return g.e(strings.TrimSuffix(strings.Repeat("%, ", count), ", "))
}

func (g *random) constant() string {
	return g.one("nil", "true", "false", "0", "1", "2", "-1", "2.5", "\"s\"", "\"10\"", "\"\"", "not nil", "not true", "not 1")
}

func (g *random) variable() string { return g.one(g.vars...) }

// forms are the expressions; those that are there more than once come more
// often.
var forms = []string{
	"% and %", "% or %", "(% and %)", "(% or %)", "% and % or %", "% or % and %", "% and (% or %)", "(% or %) and %", "not %", "not (% and %)",
	"not (% or %)",
	"% == %", "% ~= %", "(% == %)", "number(%) < number(%)", "number(%) <= number(%)", "number(%) > number(%)", "number(%) >= number(%)",
	"(number(%) < number(%)) == %", "number(%) + number(%)", "number(%) - number(%)", "number(%) * number(%)", "number(%) % 7", "-number(%)",
	"number(%) / 4", "number(%) ^ 2",
	"text(%) .. text(%)", "text(%) .. text(%) .. 1", "#text(%)", "#{ 1, (%) or 2 }", "(%)", "pass(%)", "pass(%, %)", "(pass(%, %))",
	"pick(%, %)", "(pick(%, %))",
	"{ % }", "{ %, % }", "{ x = %, % }", "{ pick(%, %) }", "{ (pick(%, %)) }", "{ [1] = %, % }", "{ pass(%, %), % }", "list(%).x",
	"list(%)[1]", "list(%)[%  or 1]", "list(%)[number(%)]",
	"(function(...) return ... end)(%, %)", "(function(...) return select(\"#\", ...) end)(%, %)",
	"(function(...) local x, y = ... return y, x end)(%, %)",
	"(function(p, q) p = p and q return p end)(%, %)", "(function(...) local p = 1 p = (...) return p end)(%, %)",
	"(function(p) local q, r = 1, 2 p = pass(p) return p, q, r end)(%)",
	"select(\"#\", pass(%, %))", "(select(2, pass(%, %)))", "type(%)", "class(%):get(%)", "(class(%):get(%))", "class(%).y", "class(%)(%, %)",
	"class(%) == class(%)", "class(%) < class(%)",
	"class(%) <= class(%)", "class(%) + 1", "-class(%)", "class(%) .. %", "rawget(list(%), 1)", "(\"x\"):rep(number(%) % 4)",
	"(\"a,b\"):match(\"%w\")", "tonumber(text(%))",
	"\"10\" + number(%)", "\"3\" * \"2\"", "next({})", "pcall(error, (%))", "(pcall(pass, %))", "#{ %, 1 }", "unpack({ pass(%, (%)) })",
	"(...)",
	"select(2, ...)", "function(...) return % end",
	"1 + (% and 2 or 3)", "-2 < (% and 1 or -3)", "\"s\" == %", "2 * 3 ~= %", // a constant before what may be one
}

func (g *random) expr() *node {
	g.depth++
	defer func() { g.depth-- }()
	switch n := g.r.IntN(10); {
	case g.depth > 3 || n < 3:
		if g.r.IntN(2) == 0 {
			return leaf(g.constant())
		}
		return leaf(g.variable())
	case n < 6:
		return g.e(forms[g.r.IntN(11)])
	}
	form := forms[g.r.IntN(len(forms))]
	for _, literal := range []string{" % 7", " % 4", "\"%w\""} { // of Lua, not places
		form = strings.ReplaceAll(form, literal, strings.ReplaceAll(literal, "%", "\x00"))
	}
	if g.alone && strings.HasPrefix(form, "function") {
		form = "pass(%)"
	}
	if !g.many && (form == "(...)" || form == "select(2, ...)") {
		form = "pass(%)"
	}
	n := g.e(form)
	for i := range n.texts {
		n.texts[i] = strings.ReplaceAll(n.texts[i], "\x00", "%")
	}
	return n
}

// block is statements in a scope of their own.
func (g *random) block(count int) *node {
	vars, calls := len(g.vars), len(g.calls)
	g.level++
	n := &node{kind: 'b', texts: []string{""}}
	for range count {
		n.nodes = append(n.nodes, g.statement())
		n.texts = append(n.texts, "\n")
	}
	g.level--
	g.vars, g.calls = g.vars[:vars], g.calls[:calls]
	return n
}

func (g *random) body() *node { return g.block(1 + g.r.IntN(3)) }

func (g *random) fresh() string {
	g.names++
	return fmt.Sprintf("v%d", g.names%12)
}

// s makes a statement of texts with pieces between them.
func s(texts []string, nodes ...*node) *node { return &node{kind: 's', texts: texts, nodes: nodes} }

func (g *random) statement() *node {
	limit := 24
	if g.level > 3 {
		limit = 12
	}
	kind := g.r.IntN(limit)
	if g.level == 1 && g.r.IntN(600) == 0 {
		return g.rare()
	}
	if g.alone && (kind == 11 || kind > 20) {
		kind -= 11
	}
	switch kind {
	case 0, 1, 2, 3:
		return s([]string{g.variable() + " = ", ""}, g.expr())
	case 4:
		return s([]string{g.variable() + ", " + g.variable() + " = ", ""}, g.exprs(1+g.r.IntN(3)))
	case 5, 6:
		return g.local()
	case 7:
		return s([]string{"list(" + g.variable() + ")" + g.one(".x", "[1]", "[2]", ".y") + " = ", ""}, g.expr())
	case 8:
		return s([]string{"out(", ")"}, g.exprs(1+g.r.IntN(3)))
	case 9:
		return g.call()
	case 10:
		return s([]string{"if ", " then " + g.leave() + " end"}, g.expr())
	case 11:
		return s([]string{"keep[#keep + 1] = function(...) return ", " end"}, g.exprs(1+g.r.IntN(2)))
	case 12, 13:
		return s([]string{"if ", " then\n", g.one("end", "else\n")}, g.expr(), g.body()).orElse(g)
	case 14:
		return s([]string{"if ", " then\n", "elseif ", " then\n", "else\n", "end"}, g.expr(), g.body(), g.expr(), g.body(), g.body())
	case 15:
		return s([]string{"do\n", "end"}, g.body())
	case 16, 17, 18, 19, 20:
		return g.loop()
	case 21, 22:
		return g.function()
	}
	return s([]string{"out(pcall(function(...)\n", "end, ", "))"}, g.inFunction(nil, true), g.exprs(2))
}

// orElse completes an if that has an else.
func (n *node) orElse(g *random) *node {
	if n.texts[2] == "else\n" {
		n.texts = append(n.texts, "end")
		n.nodes = append(n.nodes, g.body())
	}
	return n
}

func (g *random) local() *node {
	name, other := g.fresh(), g.fresh()
	var n *node
	switch g.r.IntN(4) {
	case 0:
		n = s([]string{"local " + name + ", " + other + " = ", ""}, g.exprs(1+g.r.IntN(3)))
		g.vars = append(g.vars, other)
	case 1:
		n = s([]string{"local " + name})
	default:
		n = s([]string{"local " + name + " = ", ""}, g.expr())
	}
	g.vars = append(g.vars, name)
	return n
}

// call calls a function that changes variables.
func (g *random) call() *node {
	if len(g.calls) == 0 {
		return s([]string{"out(", ")"}, g.expr())
	}
	f := g.one(g.calls...)
	switch g.r.IntN(3) {
	case 0:
		return s([]string{g.variable() + " = " + f + "(1)"})
	case 1:
		return s([]string{"out(pcall(" + f + "))"})
	}
	return s([]string{f + "(", ")"}, g.expr())
}

// leave leaves the loop, or the function.
func (g *random) leave() string {
	if g.loops > 0 && g.r.IntN(3) > 0 {
		return "break"
	}
	return "return " + g.variable()
}

// inFunction is the body of a function, with parameters.
func (g *random) inFunction(params []string, many bool) *node {
	vars, loops, before := len(g.vars), g.loops, g.many
	g.vars, g.loops, g.many = append(g.vars, params...), 0, many
	n := g.body()
	g.vars, g.loops, g.many = g.vars[:vars], loops, before
	return n
}

func (g *random) function() *node {
	g.names++
	name := fmt.Sprintf("f%d", g.names) // its own: it must not call itself
	params := []string{g.fresh(), g.fresh()}[:g.r.IntN(3)]
	list, many := strings.Join(params, ", "), g.r.IntN(2) == 0
	if many {
		list = strings.TrimPrefix(list+", ...", ", ")
	}
	body := g.inFunction(params, many)
	before := g.many
	g.many = many
	n := s([]string{"local function " + name + "(" + list + ")\nspend()\n", g.variable() + " = ", "\nreturn ", "\nend"}, body, g.expr(),
		g.expr())
	g.many = before
	g.calls = append(g.calls, name)
	return n
}
