package lua

import (
	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks/lua/source"
)

// maxArrayIndex keeps t[67108862] = 1 from filling a gigabyte with nils: keys
// from there on are not in the array of a table, but in its hash part, and
// what the interpreter takes for the length of a list ends there.
const maxArrayIndex = 65536

// length returns a border of t, as the operator # of Lua 5.1 gives it, whatever is
// in the array of t and whatever is not.
func length(st *state, t *glua.LTable) int {
	n := t.Len()
	if n < maxArrayIndex-1 || faultL4 {
		return n
	}
	has := func(i int) bool { return t.RawGet(glua.LNumber(i)) != glua.LNil }
	if !has(n + 1) {
		return n
	}
	// Most lists grow and shrink by one element at a time.
	if st.longest.table == t {
		for at := max(st.longest.length-1, n); at <= st.longest.length+1; at++ {
			if has(at) && !has(at+1) {
				st.longest.length = at
				return at
			}
		}
	}
	low, high := n+1, 2*n
	for has(high) {
		low, high = high, 2*high
	}
	for high-low > 1 {
		if middle := (low + high) / 2; has(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	st.longest.table, st.longest.length = t, low
	return low
}

// listCost returns what a list of n elements takes: those beyond the array take
// several times as much as the others.
func listCost(n int) int64 {
	return 120 + 32*int64(n) + 128*int64(max(n-maxArrayIndex+1, 0))
}

// at is element i of a list, also of a long one.
func at(t *glua.LTable, i int) glua.LValue { return t.RawGet(glua.LNumber(i)) }

// baseLength is what the operator # became.
func baseLength(L *glua.LState) int {
	st := stateOf(L)
	switch v := L.Get(1).(type) {
	case glua.LString:
		L.Push(st.number(float64(len(v))))
	case *glua.LTable:
		L.Push(st.number(float64(length(st, v))))
	default:
		L.RaiseError("attempt to get length of a %s value", typeOf(v))
	}
	return 1
}

// newTable pays for a table constructor: table, number of fields and, where
// fields with many values were cut off, how many are before them, and those.
func newTable(L *glua.LState) int {
	t := L.CheckTable(1)
	n := L.CheckInt(2)
	if n < 0 {
		n = length(stateOf(L), t) - n
	}
	more := max(L.GetTop()-3, 0)
	budgetOf(L).chargeMemory(L, listCost(n+more))
	if more > 0 {
		from := L.CheckInt(3)
		for i := range more {
			t.RawSetInt(from+i+1, L.Get(4+i))
		}
	}
	L.SetTop(1)
	return 1
}

// joinTables makes a list of the parts that a long constructor was cut into:
// the number of fields in the parts, the number of parts, the parts, and
// values that follow.
func joinTables(L *glua.LState) int {
	n, parts := L.CheckInt(1), L.CheckInt(2)
	more := L.GetTop() - 2 - parts
	budgetOf(L).chargeMemory(L, listCost(n+more)+32*int64(n))
	t := L.CreateTable(n+more, 0)
	for i := range parts {
		part := L.CheckTable(3 + i)
		for k := 1; k <= min(source.ChunkFields, n-i*source.ChunkFields); k++ {
			t.RawSetInt(i*source.ChunkFields+k, part.RawGetInt(k))
		}
	}
	for i := range more {
		t.RawSetInt(n+i+1, L.Get(3+parts+i))
	}
	L.Push(t)
	return 1
}
