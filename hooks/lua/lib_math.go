package lua

import (
	"math"
	"math/rand/v2"

	glua "github.com/yuin/gopher-lua"
)

var mathModule = module{name: "math", doc: "Lua 5.1's math functions", functions: []function{
	unary("abs", math.Abs), unary("acos", math.Acos), unary("asin", math.Asin), unary("atan", math.Atan),
	unary("ceil", math.Ceil), unary("cos", math.Cos), unary("cosh", math.Cosh),
	unary("deg", func(f float64) float64 { return f * 180 / math.Pi }),
	unary("exp", math.Exp), unary("floor", math.Floor), unary("log", math.Log), unary("log10", math.Log10),
	unary("rad", func(f float64) float64 { return f * math.Pi / 180 }),
	unary("sin", math.Sin), unary("sinh", math.Sinh), unary("sqrt", math.Sqrt), unary("tan", math.Tan), unary("tanh", math.Tanh),
	binary("atan2", math.Atan2), binary("fmod", math.Mod), binary("pow", math.Pow),
	{name: "frexp", call: mathFrexp, sig: "frexp(x)", doc: "mantissa and exponent"},
	{name: "ldexp", call: mathLdexp, sig: "ldexp(m, e)", doc: "m times 2 to the power of e"},
	{name: "max", call: mathMax, sig: "max(x, ...)", doc: "the largest"},
	{name: "min", call: mathMin, sig: "min(x, ...)", doc: "the smallest"},
	{name: "modf", call: mathModf, sig: "modf(x)", doc: "integral and fractional part"},
	{name: "random", call: mathRandom, sig: "random([m, [n]])", doc: "a number in [0,1), or an integer from 1 to m, or from m to n"},
}, values: map[string]float64{"huge": math.Inf(1), "pi": math.Pi}}

func unary(name string, f func(float64) float64) function {
	return function{name: name, sig: name + "(x)", doc: "as in C", call: func(L *glua.LState) int {
		L.Push(stateOf(L).number(f(number(L, 1))))
		return 1
	}}
}

func binary(name string, f func(x, y float64) float64) function {
	return function{name: name, sig: name + "(x, y)", doc: "as in C", call: func(L *glua.LState) int {
		L.Push(stateOf(L).number(f(number(L, 1), number(L, 2))))
		return 1
	}}
}

func mathFrexp(L *glua.LState) int {
	m, e := math.Frexp(number(L, 1))
	L.Push(glua.LNumber(m))
	L.Push(glua.LNumber(e))
	return 2
}

func mathLdexp(L *glua.LState) int {
	L.Push(glua.LNumber(math.Ldexp(number(L, 1), integer(L, 2))))
	return 1
}

func mathMax(L *glua.LState) int {
	m := number(L, 1)
	for i := 2; i <= L.GetTop(); i++ {
		if f := number(L, i); f > m {
			m = f
		}
	}
	L.Push(glua.LNumber(m))
	return 1
}

func mathMin(L *glua.LState) int {
	m := number(L, 1)
	for i := 2; i <= L.GetTop(); i++ {
		if f := number(L, i); f < m {
			m = f
		}
	}
	L.Push(glua.LNumber(m))
	return 1
}

func mathModf(L *glua.LState) int {
	f := number(L, 1)
	whole, frac := math.Modf(f)
	if math.IsInf(f, 0) {
		frac = 0
	}
	L.Push(glua.LNumber(whole))
	L.Push(glua.LNumber(frac))
	return 2
}

// mathRandom is refused while a file loads: every state has to load the same.
func mathRandom(L *glua.LState) int {
	refuseWhileLoading(L, "math.random")
	if L.GetTop() == 0 {
		L.Push(glua.LNumber(rand.Float64()))
		return 1
	}
	low, high := 1, integer(L, 1)
	if L.GetTop() > 1 {
		low, high = high, integer(L, 2)
	}
	if low > high {
		L.RaiseError("math.random: interval is empty")
	}
	L.Push(glua.LNumber(low) + glua.LNumber(rand.Int64N(int64(high-low)+1)))
	return 1
}
