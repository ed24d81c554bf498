package lua

import "fmt"

// loop is one of the loops, with variables that others may name.
func (g *random) loop() *node {
	g.names++
	count := fmt.Sprintf("n%d", g.names)
	name, other := g.fresh(), g.fresh()
	vars := len(g.vars)
	defer func() { g.vars = g.vars[:vars] }()
	inside := func(names ...string) *node {
		g.vars = append(g.vars, names...)
		g.loops++
		body := g.body()
		g.loops--
		return body
	}
	most := fmt.Sprint(g.r.IntN(4))
	switch g.r.IntN(11) {
	case 0:
		return s([]string{"for " + name + " = " + g.one("1", "0", "\"1\"", "3", "0.5") + ", " + g.one("3", "2.5", "\"2\"", "0") + g.one("", ", 1",
			", 0.5", ", -1") + " do\n", "end"}, inside(name))
	case 1:
		return s([]string{"for " + name + " = number(", ") % 3, number(", ") % 4 do\n", "end"}, g.expr(), g.expr(), inside(name))
	case 2:
		return s([]string{"for " + name + ", " + other + " in ipairs({ ", " }) do\n", "end"}, g.exprs(3), inside(name, other))
	case 3:
		return s([]string{"for " + name + ", " + other + " in " + g.one("next, { ", "pairs({ ") + "", "DO\n", "end"}, g.exprs(2),
			inside(name, other)).pairs()
	case 4:
		return s([]string{"for " + name + " in next, pass({ ", " }) do\n", "end"}, g.exprs(2), inside(name))
	case 5:
		return s([]string{"for " + name + " in (\"a,b,c\"):gmatch(\"%w\") do\n", "end"}, inside(name))
	case 6:
		return s([]string{"do local " + count + " = " + most + " for " + name + ", " + other + " in function(s, c) " + count + " = " + count +
			" - 1 if " + count +
			" >= 0 then return " + count + ", s, c end end, ", " do\n", "end end"}, g.expr(), inside(name, other))
	case 7:
		return s([]string{"do local " + count + " = " + most + " while " + count + " > 0 and (", " or true) do " + count + " = " + count +
			" - 1\n", "end end"}, g.expr(), inside())
	case 8:
		return s([]string{"do local " + count + " = " + most + " while ", " do " + count + " = " + count + " - 1 if " + count +
			" < 0 then break end\n", "end end"}, g.expr(), inside())
	case 9:
		return s([]string{"do local " + count + " = " + most + " repeat " + count + " = " + count + " - 1 local " + name + " = ", "\n",
			"until " + count + " < 0 or ", " end"},
			g.expr(), inside(name), g.expr())
	}
	return s([]string{"do local " + count + " = " + most + " repeat\n", count + " = " + count + " - 1 until " + count + " < 0 end"}, inside())
}

// rare is what takes long, or much.
func (g *random) rare() *node {
	g.names++
	name := fmt.Sprintf("f%d", g.names)
	if g.r.IntN(2) == 0 {
		n := 65_500 + g.r.IntN(100)
		return s([]string{fmt.Sprintf("do local l = {} for i = 1, %d do l[%s] = i end out(#l, l[%d], l[%d], table.remove(l), #l) "+
			"table.insert(l, ", n, g.one("i", "#l + 1"), n, n-1),
			") out(#l, #table.concat(l, \",\")) end"}, leaf("5"))
	}
	return s([]string{"do local function " + name +
		"(p) local q = p local function r() return q end keep[#keep + 1] = #keep < 3 and r or nil return 1 + " + name +
		"(q) end out(pcall(" + name + ", ", ")) end"}, g.expr())
}

// pairs completes a loop over a table by the way in which it began.
func (n *node) pairs() *node {
	first := n.texts[0]
	if first[len(first)-8:] == "pairs({ " {
		n.texts[1] = " }) do\n"
	} else {
		n.texts[1] = " } do\n"
	}
	return n
}
