package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

var tableModule = module{name: "table", doc: "Lua 5.1's table functions; their work counts against the budget", functions: []function{
	{name: "concat", call: tableConcat, sig: "concat(t, [sep, i, j])", doc: "the elements as one string"},
	{name: "insert", call: tableInsert, sig: "insert(t, [pos,] v)", doc: "puts v at pos or at the end"},
	{name: "maxn", call: tableMaxn, sig: "maxn(t)", doc: "the largest positive numeric key"},
	{name: "remove", call: tableRemove, sig: "remove(t, [pos])", doc: "removes and returns the element at pos, or the last one"},
	{name: "sort", call: tableSort, sig: "sort(t, [less])", doc: "sorts in place; not stable"},
}}

func tableConcat(L *glua.LState) int {
	t := L.CheckTable(1)
	sep := ""
	if L.Get(2) != glua.LNil {
		sep = text(L, 2)
	}
	i := optInteger(L, 3, 1)
	j := optInteger(L, 4, length(stateOf(L), t))
	b := budgetOf(L)
	// First measured and paid, then made.
	size := 0
	for k := i; k <= j; k++ {
		b.chargeSteps(L, 1)
		v := t.RawGet(glua.LNumber(k))
		switch v := v.(type) {
		case glua.LString:
			size += len(v) + len(sep)
		case glua.LNumber:
			size += 24 + len(sep)
		default:
			L.RaiseError("invalid value (%s) at index %d in table for 'concat'", typeOf(v), k)
		}
		if int64(size) > b.alloc {
			break
		}
	}
	b.chargeMemory(L, int64(size))
	var out strings.Builder
	out.Grow(size)
	for k := i; k <= j; k++ {
		out.WriteString(tostringPlain(t.RawGet(glua.LNumber(k))))
		if k < j {
			out.WriteString(sep)
		}
	}
	L.Push(glua.LString(out.String()))
	return 1
}

func tableInsert(L *glua.LState) int {
	t := L.CheckTable(1)
	b := budgetOf(L)
	n := length(stateOf(L), t)
	switch L.GetTop() {
	case 2:
		t.RawSet(glua.LNumber(n+1), L.Get(2))
	case 3:
		pos := integer(L, 2) // anywhere, as in Lua 5.1
		b.chargeSteps(L, int64(max(n-pos+1, 0))/4)
		for k := n; k >= pos; k-- {
			t.RawSet(glua.LNumber(k+1), t.RawGet(glua.LNumber(k)))
		}
		t.RawSet(glua.LNumber(pos), L.Get(3))
	default:
		L.RaiseError("wrong number of arguments to 'insert'")
	}
	b.chargeMemory(L, 16)
	return 0
}

func tableRemove(L *glua.LState) int {
	t := L.CheckTable(1)
	n := length(stateOf(L), t)
	pos := optInteger(L, 2, n)
	if n == 0 || pos < 1 || pos > n {
		return 0
	}
	v := t.RawGet(glua.LNumber(pos))
	budgetOf(L).chargeSteps(L, int64(n-pos)/4)
	for k := pos; k < n; k++ {
		t.RawSet(glua.LNumber(k), t.RawGet(glua.LNumber(k+1)))
	}
	t.RawSet(glua.LNumber(n), glua.LNil)
	L.Push(v)
	return 1
}

func tableMaxn(L *glua.LState) int {
	t := L.CheckTable(1)
	most := 0.0
	n := 0
	for k, _ := t.Next(glua.LNil); k != glua.LNil; k, _ = t.Next(k) {
		if f, ok := k.(glua.LNumber); ok {
			most = max(most, float64(f))
		}
		if n++; n&255 == 0 {
			budgetOf(L).chargeSteps(L, 256)
		}
	}
	L.Push(glua.LNumber(most))
	return 1
}

// tableSort is a heap sort: its running time does not depend on the order of
// the input, and a comparison that contradicts itself cannot make it run out
// of bounds.
func tableSort(L *glua.LState) int {
	t := L.CheckTable(1)
	n := length(stateOf(L), t)
	b := budgetOf(L)
	b.chargeMemory(L, int64(n)*16)
	v := make([]glua.LValue, n)
	for i := range v {
		v[i] = t.RawGet(glua.LNumber(i + 1))
	}
	less := func(x, y glua.LValue) bool { return L.LessThan(x, y) }
	if L.Get(2) != glua.LNil {
		f := L.CheckFunction(2)
		less = func(x, y glua.LValue) bool {
			L.Push(f)
			L.Push(x)
			L.Push(y)
			L.Call(2, 1)
			r := glua.LVAsBool(L.Get(-1))
			L.Pop(1)
			return r
		}
	}
	down := func(root, end int) {
		for child := 2*root + 1; child < end; child = 2*root + 1 {
			b.chargeSteps(L, 1)
			if child+1 < end && less(v[child], v[child+1]) {
				child++
			}
			if !less(v[root], v[child]) {
				return
			}
			v[root], v[child] = v[child], v[root]
			root = child
		}
	}
	for i := n/2 - 1; i >= 0; i-- {
		down(i, n)
	}
	for end := n - 1; end > 0; end-- {
		v[0], v[end] = v[end], v[0]
		down(0, end)
	}
	for i := range v {
		t.RawSet(glua.LNumber(i+1), v[i])
	}
	return 0
}
