package lua

import (
	"errors"
	"fmt"
	"math"
	"slices"

	glua "github.com/yuin/gopher-lua"
)

// Limits of plain data that leaves a state: into meta, kv, json, log.
const (
	maxPlainDepth = 16
	maxPlainItems = 10_000
)

var errPlain = errors.New("not plain data")

// toPlain copies a Lua value into Go: nil, bool, float64, string, []any for
// tables with keys 1 to n, map[string]any for all others. Functions, objects
// and tables inside themselves are errors.
func toPlain(v glua.LValue) (any, error) {
	items := 0
	return valueToPlain(v, 0, &items)
}

func valueToPlain(v glua.LValue, depth int, items *int) (any, error) {
	if *items++; *items > maxPlainItems {
		return nil, fmt.Errorf("%w: more than %d values", errPlain, maxPlainItems)
	}
	switch v := v.(type) {
	case *glua.LNilType:
		return nil, nil
	case glua.LBool:
		return bool(v), nil
	case glua.LNumber:
		return float64(v), nil
	case glua.LString:
		return string(v), nil
	case *glua.LTable:
		return tableToPlain(v, depth, items)
	}
	return nil, fmt.Errorf("%w: a %s", errPlain, typeOf(v))
}

func tableToPlain(t *glua.LTable, depth int, items *int) (any, error) {
	if depth >= maxPlainDepth {
		return nil, fmt.Errorf("%w: tables nested deeper than %d", errPlain, maxPlainDepth)
	}
	n := t.Len()
	list, dict := make([]any, 0, min(n, maxPlainItems)), map[string]any{}
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		x, err := valueToPlain(v, depth+1, items)
		if err != nil {
			return nil, err
		}
		switch k := k.(type) {
		case glua.LNumber:
			if float64(k) == float64(len(list)+1) && len(dict) == 0 {
				list = append(list, x)
				continue
			}
			dict[formatNumber(float64(k))] = x
		case glua.LString:
			dict[string(k)] = x
		default:
			return nil, fmt.Errorf("%w: a %s as key", errPlain, typeOf(k))
		}
	}
	if len(list) == 0 {
		return dict, nil
	}
	if len(dict) == 0 {
		return list, nil
	}
	for i, x := range list {
		dict[formatNumber(float64(i+1))] = x
	}
	return dict, nil
}

// toLua copies plain data of Go into Lua and pays for it. It takes what
// encoding/json and go-toml decode to.
func (st *state) toLua(L *glua.LState, v any) glua.LValue {
	switch v := v.(type) {
	case nil:
		return glua.LNil
	case bool:
		return glua.LBool(v)
	case float64:
		return st.number(v)
	case int64:
		return st.number(float64(v))
	case int:
		return st.number(float64(v))
	case string:
		return st.budget.newString(L, v)
	case []string:
		return st.strings(L, v)
	case []any:
		st.budget.chargeMemory(L, listCost(len(v)))
		t := L.CreateTable(len(v), 0)
		for i, x := range v {
			t.RawSetInt(i+1, st.toLua(L, x))
		}
		return t
	case map[string]any:
		st.budget.chargeMemory(L, 120+64*int64(len(v)))
		t := L.CreateTable(0, len(v))
		for _, k := range sortedKeys(v) {
			t.RawSetString(k, st.toLua(L, v[k]))
		}
		return t
	case fmt.Stringer: // dates of TOML
		return st.budget.newString(L, v.String())
	}
	return st.budget.newString(L, fmt.Sprint(v))
}

// strings returns a list of strings.
func (st *state) strings(L *glua.LState, list []string) glua.LValue {
	st.budget.chargeMemory(L, listCost(len(list)))
	t := L.CreateTable(len(list), 0)
	for i, s := range list {
		t.RawSetInt(i+1, st.budget.newString(L, s))
	}
	return t
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// plainSize is roughly the octets that plain data takes.
func plainSize(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		n := 16
		for _, x := range v {
			n += plainSize(x)
		}
		return n
	case map[string]any:
		n := 16
		for k, x := range v {
			n += len(k) + plainSize(x)
		}
		return n
	}
	return 8
}

// wholeNumber reads a number that has to be an integer.
func wholeNumber(v glua.LValue) (int64, bool) {
	f, ok := v.(glua.LNumber)
	if !ok || float64(f) != math.Trunc(float64(f)) || math.Abs(float64(f)) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}
