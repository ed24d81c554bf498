package lua

import (
	toml "github.com/pelletier/go-toml/v2"
	glua "github.com/yuin/gopher-lua"
)

var tomlModule = module{name: "toml", doc: "TOML 1.0", functions: []function{
	{name: "encode", call: tomlEncode, sig: "encode(table)", doc: "a table with names as TOML; keys are sorted"},
	{name: "decode", call: tomlDecode, sig: "decode(text)", doc: "the table, or nil and what is wrong; dates are texts"},
}}

func tomlEncode(L *glua.LState) int {
	v, err := toPlain(L.CheckAny(1))
	if err != nil {
		L.RaiseError("toml.encode: %s", err.Error())
	}
	m, ok := v.(map[string]any)
	if !ok {
		L.RaiseError("toml.encode: a table with names expected, got %s", typeOf(L.Get(1)))
	}
	b := budgetOf(L)
	b.chargeMemory(L, 6*int64(plainSize(m))) // an escaped octet takes six
	out, err := toml.Marshal(wholesToIntegers(m))
	if err != nil {
		L.RaiseError("toml.encode: %s", err.Error())
	}
	L.Push(glua.LString(out))
	return 1
}

// wholesToIntegers turns whole numbers into integers: Lua has one kind of number, TOML
// two.
func wholesToIntegers(v any) any {
	switch v := v.(type) {
	case float64:
		if n := int64(v); float64(n) == v && v < 1<<53 && v > -1<<53 {
			return n
		}
	case []any:
		for i := range v {
			v[i] = wholesToIntegers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = wholesToIntegers(v[k])
		}
	}
	return v
}

func tomlDecode(L *glua.LState) int {
	s := text(L, 1)
	st := stateOf(L)
	st.budget.chargeSteps(L, int64(len(s))/4)
	st.budget.chargeMemory(L, 8*int64(len(s)))
	if len(s) > maxTOML {
		L.RaiseError("toml.decode: %d octets, at most %d", len(s), maxTOML)
	}
	var m map[string]any
	if err := toml.Unmarshal([]byte(s), &m); err != nil {
		L.Push(glua.LNil)
		L.Push(st.budget.newString(L, err.Error()))
		return 2
	}
	L.Push(st.toLua(L, m))
	return 1
}

// maxTOML bounds what is read at once: the reader cannot be interrupted.
const maxTOML = 256 << 10
