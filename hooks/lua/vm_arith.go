package lua

import (
	"math"

	glua "github.com/yuin/gopher-lua"
)

// The interpreter would take any text that Go takes for a number: "010" as an
// octal one, "0b1", "1_000". So arithmetic with texts is ours, as metamethods
// of strings; "10" + 1 is 11, as in Lua 5.1.
var arithmetic = map[string]func(a, b float64) float64{
	"__add": func(a, b float64) float64 { return a + b },
	"__sub": func(a, b float64) float64 { return a - b },
	"__mul": func(a, b float64) float64 { return a * b },
	"__div": func(a, b float64) float64 { return a / b },
	"__mod": modulo,
	"__pow": math.Pow,
}

func modulo(a, b float64) float64 {
	m := math.Mod(a, b)
	if b > 0 && m < 0 || b < 0 && m > 0 {
		m += b
	}
	return m
}

// addStringArithmetic adds the metamethods to the metatable of strings.
func addStringArithmetic(L *glua.LState, mt *glua.LTable) {
	for event, compute := range arithmetic {
		mt.RawSetString(event, L.NewFunction(func(L *glua.LState) int { return arith(L, event, compute) }))
	}
	mt.RawSetString("__unm", L.NewFunction(func(L *glua.LState) int {
		L.Push(glua.LNumber(-operand(L, 1)))
		return 1
	}))
}

// arith is asked where the first operand is a string, or the second is one and
// the first has no metamethod.
func arith(L *glua.LState, event string, compute func(a, b float64) float64) int {
	if _, ok := L.Get(1).(glua.LString); ok {
		if f := metamethod(L.Get(2), event); f != glua.LNil {
			a, b := L.Get(1), L.Get(2)
			L.Push(f)
			L.Push(a)
			L.Push(b)
			L.Call(2, 1)
			return 1
		}
	}
	L.Push(glua.LNumber(compute(operand(L, 1), operand(L, 2))))
	return 1
}

// operand returns an argument as a number, or an error as Lua words it.
func operand(L *glua.LState, n int) float64 {
	switch v := L.Get(n).(type) {
	case glua.LNumber:
		return float64(v)
	case glua.LString:
		if f, ok := parseNumber(string(v)); ok {
			return f
		}
	}
	L.RaiseError("attempt to perform arithmetic on a %s value", typeOf(L.Get(n)))
	return 0
}
