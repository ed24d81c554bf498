package lua

import (
	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks/lua/pattern"
)

func stringFormat(L *glua.LState) int {
	f := text(L, 1)
	b := budgetOf(L)
	b.chargeMemory(L, int64(len(f)))
	out := make([]byte, 0, len(f)+32)
	arg := 1
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			out = append(out, f[i])
			continue
		}
		i++
		if i < len(f) && f[i] == '%' {
			out = append(out, '%')
			continue
		}
		v, n, err := pattern.ParseVerb(f[i:])
		if err != nil {
			L.RaiseError("%v", err)
		}
		i += n - 1
		arg++
		before := len(out)
		out = appendVerb(L, out, v, arg)
		b.chargeMemory(L, int64(len(out)-before))
	}
	L.Push(glua.LString(out))
	return 1
}

// appendVerb appends an argument as a conversion writes it.
func appendVerb(L *glua.LState, out []byte, v pattern.Verb, arg int) []byte {
	if arg > L.GetTop() {
		raiseArgument(L, arg, "value", glua.LNil)
	}
	switch v.Letter {
	case 'c':
		return v.AppendOctet(out, byte(integer(L, arg)))
	case 's':
		return v.AppendText(out, text(L, arg))
	case 'q':
		s := text(L, arg)
		budgetOf(L).chargeMemory(L, int64(len(s))*2)
		return pattern.AppendQuoted(out, s)
	}
	return v.AppendNumber(out, number(L, arg))
}
