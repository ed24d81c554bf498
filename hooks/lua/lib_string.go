package lua

import (
	"strings"

	"carteiro/hooks/lua/pattern"

	glua "github.com/yuin/gopher-lua"
)

// stringModule is Lua 5.1's string library over octets, budgeted: what makes
// strings pays before it allocates, what searches counts its steps.
var stringModule = module{name: "string", doc: "Lua 5.1's string functions; their work counts against the budget", functions: []function{
	{name: "byte", call: stringByte, sig: "byte(s, [i, j])", doc: "numbers of the octets i to j"},
	{name: "char", call: stringChar, sig: "char(...)", doc: "a string of these octets"},
	{name: "find", call: stringFind, sig: "find(s, pattern, [init, plain])", doc: "start and end of the first match, and its captures"},
	{name: "format", call: stringFormat, sig: "format(f, ...)", doc: "as C's printf: c d i o u x X e E f g G q s %"},
	{name: "gmatch", call: stringGmatch, sig: "gmatch(s, pattern)", doc: "iterates over all matches"},
	{name: "gsub", call: stringGsub, sig: "gsub(s, pattern, repl, [n])", doc: "replaces matches by a text, or by what a table or " +
		"function gives"},
	{name: "len", call: stringLen, sig: "len(s)", doc: "the number of octets of s"},
	{name: "lower", call: stringLower, sig: "lower(s)", doc: "ASCII letters in lower case"},
	{name: "match", call: stringMatch, sig: "match(s, pattern, [init])", doc: "captures of the first match"},
	{name: "rep", call: stringRep, sig: "rep(s, n)", doc: "s, n times"},
	{name: "reverse", call: stringReverse, sig: "reverse(s)", doc: "octets backwards"},
	{name: "sub", call: stringSub, sig: "sub(s, i, [j])", doc: "octets i to j"},
	{name: "upper", call: stringUpper, sig: "upper(s)", doc: "ASCII letters in upper case"},
}}

// text is argument n as a string; numbers are converted as Lua does.
func text(L *glua.LState, n int) string {
	switch v := L.Get(n).(type) {
	case glua.LString:
		return string(v)
	case glua.LNumber:
		return formatNumber(float64(v))
	default:
		raiseArgument(L, n, "string", v)
		return ""
	}
}

// number is argument n as a number; strings are converted as Lua does.
func number(L *glua.LState, n int) float64 {
	switch v := L.Get(n).(type) {
	case glua.LNumber:
		return float64(v)
	case glua.LString:
		if f, ok := parseNumber(string(v)); ok {
			return f
		}
	}
	raiseArgument(L, n, "number", L.Get(n))
	return 0
}

// integer is argument n cut to an integer.
func integer(L *glua.LState, n int) int {
	f := number(L, n)
	switch {
	case f != f:
		return 0
	case f >= 1<<53:
		return 1 << 53
	case f <= -(1 << 53):
		return -(1 << 53)
	}
	return int(f)
}

func optInteger(L *glua.LState, n, otherwise int) int {
	if L.Get(n) == glua.LNil {
		return otherwise
	}
	return integer(L, n)
}

func raiseArgument(L *glua.LState, n int, want string, got glua.LValue) {
	name := "no value"
	if n <= L.GetTop() {
		name = typeOf(got)
	}
	L.RaiseError("bad argument #%d to '%s' (%s expected, got %s)", n, functionName(L), want, name)
}

// functionName returns the name by which the function that runs was called.
func functionName(L *glua.LState) string {
	if dbg, ok := L.GetStack(0); ok {
		if _, err := L.GetInfo("n", dbg, glua.LNil); err == nil && !strings.HasPrefix(dbg.Name, "(") {
			return dbg.Name
		}
	}
	return "?"
}

// sliceRange turns Lua's i and j into offsets, i inclusive, j exclusive.
func sliceRange(length, i, j int) (int, int) {
	if i < 0 {
		i = max(length+i+1, 1)
	} else if i == 0 {
		i = 1
	}
	if j < 0 {
		j = length + j + 1
	} else if j > length {
		j = length
	}
	if i > j {
		return 0, 0
	}
	return i - 1, j
}

func stringLen(L *glua.LState) int {
	L.Push(stateOf(L).number(float64(len(text(L, 1)))))
	return 1
}

func stringSub(L *glua.LState) int {
	s := text(L, 1)
	i, j := sliceRange(len(s), integer(L, 2), optInteger(L, 3, -1))
	L.Push(glua.LString(s[i:j]))
	return 1
}

func stringByte(L *glua.LState) int {
	s := text(L, 1)
	first := optInteger(L, 2, 1)
	i, j := sliceRange(len(s), first, optInteger(L, 3, first))
	if j-i > 8000 {
		L.RaiseError("string slice too long")
	}
	st := stateOf(L)
	st.budget.chargeSteps(L, int64(j-i))
	for k := i; k < j; k++ {
		L.Push(st.number(float64(s[k])))
	}
	return j - i
}

func stringChar(L *glua.LState) int {
	n := L.GetTop()
	b := make([]byte, n)
	budgetOf(L).chargeMemory(L, int64(n))
	for i := range n {
		c := integer(L, i+1)
		if c < 0 || c > 255 {
			L.RaiseError("bad argument #%d to '%s' (0..255 expected, got %d)", i+1, functionName(L), c)
		}
		b[i] = byte(c)
	}
	L.Push(glua.LString(b))
	return 1
}

func stringRep(L *glua.LState) int {
	s, n := text(L, 1), max(integer(L, 2), 0)
	b := budgetOf(L)
	if n > 0 && len(s) > (1<<40)/n {
		b.chargeMemory(L, 1<<40)
	}
	b.chargeMemory(L, int64(len(s)*n))
	L.Push(glua.LString(strings.Repeat(s, n)))
	return 1
}

func stringReverse(L *glua.LState) int {
	return mapOctets(L, func(in string, out []byte) {
		for i := range len(in) {
			out[len(in)-1-i] = in[i]
		}
	})
}

func stringLower(L *glua.LState) int {
	return mapOctets(L, func(in string, out []byte) {
		for i := range len(in) {
			c := in[i]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			out[i] = c
		}
	})
}

func stringUpper(L *glua.LState) int {
	return mapOctets(L, func(in string, out []byte) {
		for i := range len(in) {
			c := in[i]
			if c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
			out[i] = c
		}
	})
}

func mapOctets(L *glua.LState, f func(in string, out []byte)) int {
	s := text(L, 1)
	b := budgetOf(L)
	b.chargeMemory(L, int64(len(s)))
	b.chargeSteps(L, int64(len(s)/64))
	out := make([]byte, len(s))
	f(s, out)
	L.Push(glua.LString(out))
	return 1
}

func stringFind(L *glua.LState) int  { return search(L, true) }
func stringMatch(L *glua.LState) int { return search(L, false) }

func search(L *glua.LState, find bool) int {
	s, pat := text(L, 1), text(L, 2)
	init := startOf(L, len(s))
	st := stateOf(L)
	if find && (glua.LVAsBool(L.Get(4)) || !pattern.HasSpecials(pat)) {
		i := strings.Index(s[init:], pat)
		if i < 0 {
			st.budget.chargeSteps(L, int64(len(s)-init)/64)
			L.Push(glua.LNil)
			return 1
		}
		st.budget.chargeSteps(L, int64(i)/64)
		L.Push(st.number(float64(init + i + 1)))
		L.Push(st.number(float64(init + i + len(pat))))
		return 2
	}
	m := &st.matcher
	m.Reset(s, pat)
	start, end := m.Find(init)
	if start < 0 {
		L.Push(glua.LNil)
		return 1
	}
	if find {
		L.Push(st.number(float64(start + 1)))
		L.Push(st.number(float64(end)))
		return 2 + pushCaptures(L, st, m, start, end, m.Captures())
	}
	return pushCaptures(L, st, m, start, end, max(m.Captures(), 1))
}

// startOf reads the third argument, init, as an offset.
func startOf(L *glua.LState, length int) int {
	init := optInteger(L, 3, 1)
	if init < 0 {
		init = max(length+init+1, 1)
	}
	return min(max(init-1, 0), length)
}

func pushCaptures(L *glua.LState, st *state, m *pattern.Matcher, start, end, n int) int {
	for i := range n {
		L.Push(captureValue(st, m, i, start, end))
	}
	return n
}

func captureValue(st *state, m *pattern.Matcher, i, start, end int) glua.LValue {
	s, pos, isPos := m.Capture(i, start, end)
	if isPos {
		return st.number(float64(pos))
	}
	return glua.LString(s)
}

func stringGmatch(L *glua.LState) int {
	st := stateOf(L)
	s, pat := text(L, 1), text(L, 2)
	st.budget.chargeMemory(L, 1024)
	m := st.newMatcher()
	at := 0
	L.Push(L.NewFunction(func(L *glua.LState) int {
		for at <= len(s) {
			m.Reset(s, pat)
			e := m.MatchAt(at, 0)
			if e < 0 {
				at++
				continue
			}
			start := at
			if at = e; e == start {
				at++
			}
			return pushCaptures(L, st, m, start, e, max(m.Captures(), 1))
		}
		L.Push(glua.LNil)
		return 1
	}))
	return 1
}

// substitution is one gsub at work.
type substitution struct {
	st   *state
	src  string
	m    *pattern.Matcher
	out  strings.Builder
	repl glua.LValue
}

func stringGsub(L *glua.LState) int {
	s, pat := text(L, 1), text(L, 2)
	repl := L.Get(3)
	switch repl.Type() {
	case glua.LTString, glua.LTTable, glua.LTFunction:
	case glua.LTNumber:
		repl = glua.LString(text(L, 3))
	default:
		raiseArgument(L, 3, "string, function or table", repl)
	}
	limit := optInteger(L, 4, len(s)+1)
	st := stateOf(L)
	g := substitution{st: st, src: s, m: st.newMatcher(), repl: repl}
	g.m.Reset(s, pat)
	p := 0
	anchored := pattern.Anchored(pat)
	if anchored {
		p = 1
	}
	at, n := 0, 0
	for n < limit {
		e := g.m.MatchAt(at, p)
		if e >= 0 {
			n++
			g.replace(L, at, e)
		}
		if e > at {
			at = e
		} else if at < len(s) {
			g.write(L, s[at:at+1])
			at++
		} else {
			break
		}
		if anchored {
			break
		}
	}
	if at < len(s) {
		g.write(L, s[at:])
	}
	L.Push(glua.LString(g.out.String()))
	L.Push(st.number(float64(n)))
	return 2
}

func (g *substitution) write(L *glua.LState, s string) {
	if len(s) > 0 {
		g.st.budget.chargeMemory(L, int64(len(s)))
		g.out.WriteString(s)
	}
}

// replace writes what stands for the match from start to end.
func (g *substitution) replace(L *glua.LState, start, end int) {
	g.st.budget.chargeSteps(L, 1)
	var v glua.LValue
	switch r := g.repl.(type) {
	case glua.LString:
		g.template(L, string(r), start, end)
		return
	case *glua.LTable:
		v = L.GetTable(r, captureValue(g.st, g.m, 0, start, end))
	default:
		level := g.m.Captures()
		L.Push(r)
		n := pushCaptures(L, g.st, g.m, start, end, max(level, 1))
		L.Call(n, 1)
		v = L.Get(-1)
		L.Pop(1)
	}
	switch {
	case !glua.LVAsBool(v):
		g.write(L, g.src[start:end])
	case stringable(v):
		g.write(L, tostring(L, v))
	default:
		L.RaiseError("invalid replacement value (a %s)", typeOf(v))
	}
}

// template writes a replacement text with %0 to %9.
func (g *substitution) template(L *glua.LState, r string, start, end int) {
	for {
		i := strings.IndexByte(r, '%')
		if i < 0 {
			g.write(L, r)
			return
		}
		g.write(L, r[:i])
		if i+1 >= len(r) {
			L.RaiseError("invalid use of '%s' in replacement string", "%")
		}
		switch c := r[i+1]; {
		case c == '0':
			g.write(L, g.src[start:end])
		case c >= '1' && c <= '9':
			g.write(L, tostring(L, captureValue(g.st, g.m, int(c-'1'), start, end)))
		default:
			g.write(L, r[i+1:i+2])
		}
		r = r[i+2:]
	}
}
