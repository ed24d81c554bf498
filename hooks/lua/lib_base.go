package lua

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"carteiro/hooks/lua/pattern"

	glua "github.com/yuin/gopher-lua"
)

// baseFunctions are the names that need no module. What Lua 5.1 has beyond
// them would open files, compile code, reach environments or stop the
// process's garbage collector.
var baseFunctions = []function{
	{name: "assert", call: baseAssert, sig: "assert(v, [message])", doc: "raises message if v is nil or false; else returns its " +
		"arguments"},
	{name: "error", call: baseError, sig: "error(message, [level])", doc: "raises an error"},
	{name: "getmetatable", call: baseGetMetatable, sig: "getmetatable(table)", doc: "of tables only"},
	{name: "ipairs", call: baseIpairs, sig: "ipairs(table)", doc: "iterates over 1, 2, ... up to the first nil"},
	{name: "next", call: baseNext, sig: "next(table, [key])", doc: "the next key and value"},
	{name: "pairs", call: basePairs, sig: "pairs(table)", doc: "iterates over all keys; works for meta and config too"},
	{
		name: "pcall",
		call: basePCall,
		sig:  "pcall(f, ...)",
		doc:  "calls f; an error becomes false and the error. An exhausted budget cannot be caught",
	},
	{name: "print", call: basePrint, sig: "print(...)", doc: "writes the arguments with log.info"},
	{name: "rawequal", call: baseRawEqual, sig: "rawequal(a, b)", doc: "compares, without metamethods"},
	{name: "rawget", call: baseRawGet, sig: "rawget(table, key)", doc: "reads, without metamethods"},
	{name: "rawset", call: baseRawSet, sig: "rawset(table, key, value)", doc: "writes, without metamethods; tables only"},
	{name: "select", call: baseSelect, sig: "select(n, ...)", doc: "the arguments from the n-th, or with '#' how many there are"},
	{name: "setmetatable", call: baseSetMetatable, sig: "setmetatable(table, metatable)", doc: "of tables only"},
	{name: "tonumber", call: baseToNumber, sig: "tonumber(v, [base])", doc: "a number or nil"},
	{name: "tostring", call: baseToString, sig: "tostring(v)", doc: "the text of any value"},
	{name: "type", call: baseType, sig: "type(v)", doc: "the name of the type"},
	{name: "unpack", call: baseUnpack, sig: "unpack(list, [i, j])", doc: "the elements, as several results"},
	{name: "within", call: baseWithin, sig: "within(instructions, f, ...)",
		doc: `calls f(...) with a part of the budget and returns its results, or nil and "budget" when that part is used up: f ends then, ` +
			"and the handler continues"},
	{name: "xpcall", call: baseXPCall, sig: "xpcall(f, handler)", doc: "like pcall; handler makes the error value"},
}

func baseAssert(L *glua.LState) int {
	if !glua.LVAsBool(L.CheckAny(1)) {
		if L.GetTop() < 2 {
			L.RaiseError("assertion failed!")
		}
		L.Error(L.Get(2), 0)
	}
	return L.GetTop()
}

func baseError(L *glua.LState) int {
	v, level := L.Get(1), min(max(optInteger(L, 2, 1), 0), callDepth)
	if stringable(v) && level > 0 { // numbers too, as in Lua 5.1
		v = glua.LString(caller(L, level) + tostringPlain(v))
	}
	L.Error(v, 0)
	return 0
}

// caller returns the place of the function at a level, as it stands before an error:
// nothing for functions of ours, as for pcall(error, "x").
func caller(L *glua.LState, level int) string {
	dbg, ok := L.GetStack(level)
	if !ok {
		return ""
	}
	if _, err := L.GetInfo("Sl", dbg, glua.LNil); err != nil || dbg.CurrentLine <= 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d: ", dbg.Source, dbg.CurrentLine)
}

func baseType(L *glua.LState) int {
	L.Push(typeNames[L.CheckAny(1).Type()])
	return 1
}

var typeNames = [...]glua.LValue{
	glua.LTNil: glua.LString("nil"), glua.LTBool: glua.LString("boolean"), glua.LTNumber: glua.LString("number"),
	glua.LTString: glua.LString("string"), glua.LTFunction: glua.LString("function"), glua.LTUserData: glua.LString("userdata"),
	glua.LTThread: glua.LString("thread"), glua.LTTable: glua.LString("table"), glua.LTChannel: glua.LString("channel"),
}

func baseToString(L *glua.LState) int {
	v := L.CheckAny(1)
	if v.Type() == glua.LTString {
		L.Push(v)
		return 1
	}
	if f := metamethod(v, "__tostring"); f != glua.LNil { // whatever it returns
		L.Push(f)
		L.Push(v)
		L.Call(1, 1)
		return 1
	}
	b := budgetOf(L)
	L.Push(b.newString(L, tostring(L, v)))
	return 1
}

// tostring returns the text of v; __tostring is honoured for tables and must give
// a string.
func tostring(L *glua.LState, v glua.LValue) string {
	switch v := v.(type) {
	case glua.LString:
		return string(v)
	case glua.LNumber:
		return formatNumber(float64(v))
	case *glua.LTable:
		if mt, ok := v.Metatable.(*glua.LTable); ok {
			if f := mt.RawGetString("__tostring"); f != glua.LNil {
				L.Push(f)
				L.Push(v)
				L.Call(1, 1)
				s, ok := L.Get(-1).(glua.LString)
				L.Pop(1)
				if !ok {
					L.RaiseError("'tostring' must return a string to 'print'")
				}
				return string(s)
			}
		}
	case *glua.LUserData:
		if o, ok := v.Value.(*object); ok {
			return o.class.name
		}
		if m, ok := v.Value.(*module); ok {
			return "module " + m.name
		}
	}
	return v.String()
}

// formatNumber writes a number as C's "%.14g" does.
func formatNumber(f float64) string {
	if f == float64(int64(f)) && f > -1e15 && f < 1e15 {
		if f == 0 && math.Signbit(f) {
			return "-0"
		}
		return strconv.FormatInt(int64(f), 10)
	}
	return string(pattern.AppendGeneral(nil, f, 14, false, 'g'))
}

func baseToNumber(L *glua.LState) int {
	v := L.CheckAny(1)
	base := optInteger(L, 2, 10)
	if base == 10 {
		switch v := v.(type) {
		case glua.LNumber:
			L.Push(v)
			return 1
		case glua.LString:
			if f, ok := parseNumber(string(v)); ok {
				L.Push(glua.LNumber(f))
				return 1
			}
		}
		L.Push(glua.LNil)
		return 1
	}
	if base < 2 || base > 36 {
		L.ArgError(2, "base out of range")
	}
	s := strings.ToLower(strings.TrimSpace(L.CheckString(1)))
	s = strings.TrimPrefix(s, "0x")
	if n, err := strconv.ParseUint(s, base, 64); err == nil && !strings.ContainsAny(s, "_+") {
		L.Push(glua.LNumber(n))
	} else {
		L.Push(glua.LNil)
	}
	return 1
}

// parseNumber reads a number as Lua 5.1 writes it: decimal with exponent or
// hexadecimal integer, surrounded by white space.
func parseNumber(s string) (float64, bool) {
	s = strings.Trim(s, " \t\n\v\f\r")
	body := strings.TrimLeft(s, "+-")
	if len(s)-len(body) > 1 || body == "" || len(body) > 400 {
		return 0, false
	}
	if len(body) > 2 && body[0] == '0' && (body[1] == 'x' || body[1] == 'X') {
		n, err := strconv.ParseUint(body[2:], 16, 64)
		if s[0] == '-' {
			return -float64(n), err == nil
		}
		return float64(n), err == nil
	}
	for i := range len(body) {
		if c := body[i]; (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !strings.Contains(err.Error(), "range") {
		return 0, false
	}
	return f, true
}

func baseGetMetatable(L *glua.LState) int {
	t, ok := L.CheckAny(1).(*glua.LTable)
	if !ok {
		L.Push(glua.LNil)
		return 1
	}
	if mt, ok := t.Metatable.(*glua.LTable); ok {
		if v := mt.RawGetString("__metatable"); v != glua.LNil {
			L.Push(v)
			return 1
		}
	}
	L.Push(t.Metatable)
	return 1
}

func baseSetMetatable(L *glua.LState) int {
	t := L.CheckTable(1)
	mt := L.Get(2)
	if mt != glua.LNil && mt.Type() != glua.LTTable || L.GetTop() < 2 {
		L.ArgError(2, "nil or table expected")
	}
	if old, ok := t.Metatable.(*glua.LTable); ok && old.RawGetString("__metatable") != glua.LNil {
		L.RaiseError("cannot change a protected metatable")
	}
	t.Metatable = mt
	L.Push(t)
	return 1
}

func baseRawEqual(L *glua.LState) int {
	L.Push(glua.LBool(L.RawEqual(L.CheckAny(1), L.CheckAny(2))))
	return 1
}

func baseRawGet(L *glua.LState) int {
	L.Push(L.CheckTable(1).RawGet(L.CheckAny(2)))
	return 1
}

func baseRawSet(L *glua.LState) int {
	L.RawSet(L.CheckTable(1), L.CheckAny(2), L.CheckAny(3))
	L.SetTop(1)
	return 1
}

func baseSelect(L *glua.LState) int {
	top := L.GetTop()
	if s, ok := L.Get(1).(glua.LString); ok && s == "#" {
		L.Push(glua.LNumber(top - 1))
		return 1
	}
	n := integer(L, 1)
	if n < 0 {
		n = top + n
	} else if n > top {
		n = top
	}
	if n < 1 {
		L.ArgError(1, "index out of range")
	}
	return top - n
}

func baseUnpack(L *glua.LState) int {
	t := L.CheckTable(1)
	i, j := optInteger(L, 2, 1), optInteger(L, 3, length(stateOf(L), t))
	if i > j {
		return 0
	}
	n := j - i + 1
	if n <= 0 || n >= 8000 {
		L.RaiseError("too many results to unpack")
	}
	budgetOf(L).chargeSteps(L, int64(n))
	for k := range n {
		L.Push(t.RawGet(glua.LNumber(i + k)))
	}
	return n
}

func baseNext(L *glua.LState) int {
	t := L.CheckTable(1)
	k, v := t.Next(L.Get(2))
	L.Push(k)
	if k == glua.LNil {
		return 1
	}
	L.Push(v)
	return 2
}

func basePairs(L *glua.LState) int {
	st := stateOf(L)
	if ud, ok := L.Get(1).(*glua.LUserData); ok {
		o, ok := ud.Value.(*object)
		if !ok || o.class.pairs == nil {
			L.ArgError(1, "table expected, got userdata")
		}
		st.requireAlive(o)
		L.Replace(1, o.class.pairs(st, o))
	}
	t := L.CheckTable(1)
	L.Push(st.nextFunction)
	L.Push(t)
	L.Push(glua.LNil)
	return 3
}

func baseIpairs(L *glua.LState) int {
	st := stateOf(L)
	if ud, ok := L.Get(1).(*glua.LUserData); ok {
		if o, ok := ud.Value.(*object); ok && o.class == &frozenClass {
			L.Replace(1, o.class.pairs(st, o))
		}
	}
	t := L.CheckTable(1)
	L.Push(st.ipairsFunction)
	L.Push(t)
	L.Push(glua.LNumber(0))
	return 3
}

func ipairsNext(L *glua.LState) int {
	t, i := L.CheckTable(1), L.CheckInt(2)+1
	v := t.RawGet(glua.LNumber(i))
	if v == glua.LNil {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(stateOf(L).number(float64(i)))
	L.Push(v)
	return 2
}

func basePrint(L *glua.LState) int {
	var out strings.Builder
	for i := 1; i <= L.GetTop(); i++ {
		if i > 1 {
			out.WriteByte('\t')
		}
		s := tostring(L, L.Get(i))
		budgetOf(L).chargeMemory(L, int64(len(s)))
		out.WriteString(s)
	}
	writeLog(L, logInfo, out.String(), nil)
	return 0
}

// concat is what ".." became: it pays before it allocates.
func concat(L *glua.LState) int {
	st := stateOf(L)
	top := L.GetTop()
	n := 0
	parts := st.parts[:0]
	for i := 1; i <= top; i++ {
		switch v := L.Get(i).(type) {
		case glua.LString:
			parts = append(parts, string(v))
		case glua.LNumber:
			parts = append(parts, formatNumber(float64(v)))
		default:
			return concatMeta(L, top)
		}
		n += len(parts[i-1])
	}
	st.budget.chargeMemory(L, int64(n))
	s := strings.Join(parts, "")
	clear(parts)
	st.parts = parts[:0]
	L.Push(glua.LString(s))
	return 1
}

// concatMeta joins from the right, as Lua does, with __concat where it is.
func concatMeta(L *glua.LState, top int) int {
	right := L.Get(top)
	for i := top - 1; i >= 1; i-- {
		left := L.Get(i)
		if stringable(left) && stringable(right) {
			l, r := tostring(L, left), tostring(L, right)
			budgetOf(L).chargeMemory(L, int64(len(l)+len(r)))
			right = glua.LString(l + r)
			continue
		}
		f := metamethod(left, "__concat")
		if f == glua.LNil {
			f = metamethod(right, "__concat")
		}
		if f == glua.LNil {
			bad, place := right, i+1
			if !stringable(left) {
				bad, place = left, i
			}
			L.RaiseError("attempt to concatenate a %s value (operand %d)", typeOf(bad), place)
		}
		L.Push(f)
		L.Push(left)
		L.Push(right)
		L.Call(2, 1)
		right = L.Get(-1)
		L.Pop(1)
	}
	L.Push(right)
	return 1
}

func stringable(v glua.LValue) bool {
	return v.Type() == glua.LTString || v.Type() == glua.LTNumber
}

func metamethod(v glua.LValue, name string) glua.LValue {
	if t, ok := v.(*glua.LTable); ok {
		if mt, ok := t.Metatable.(*glua.LTable); ok {
			return mt.RawGetString(name)
		}
	}
	return glua.LNil
}

// typeOf names a value in messages: objects of ours by their class.
func typeOf(v glua.LValue) string {
	if ud, ok := v.(*glua.LUserData); ok {
		switch x := ud.Value.(type) {
		case *object:
			return x.class.name
		case *module:
			return "module " + x.name
		}
	}
	return string(typeNames[v.Type()].(glua.LString))
}
