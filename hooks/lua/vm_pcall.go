package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// These faults come back with a build tag of the same name, so that the tests
// can be seen to find them. Those of the compiler are in package source.
var faultL4, faultL5 bool

func basePCall(L *glua.LState) int {
	L.CheckAny(1)
	if err := stateOf(L).pcall(L, L.GetTop()-1); err != nil {
		object := catchError(L, err)
		L.Push(glua.LFalse)
		L.Push(object)
		return 2
	}
	L.Insert(glua.LTrue, 1)
	return L.GetTop()
}

func baseXPCall(L *glua.LState) int {
	f, handler := L.CheckAny(1), L.CheckAny(2)
	L.SetTop(2)
	L.Push(f)
	if err := stateOf(L).pcall(L, 0); err != nil {
		object := catchError(L, err)
		L.SetTop(2)
		L.Push(handler)
		L.Push(object)
		ok := glua.LFalse
		if err := stateOf(L).pcall(L, 1); err != nil {
			catchError(L, err)
			L.Push(glua.LString("error in error handling"))
		}
		object = L.Get(-1)
		L.Push(ok)
		L.Push(object)
		return 2
	}
	n := L.GetTop() - 2
	L.Insert(glua.LTrue, 3)
	return n + 1
}

// pcall calls the function that was pushed before n arguments; all its
// results are left. Where there is no room for one more call the interpreter
// panics: only in between, before it cuts the calls off, can an error be made
// of that which leaves variables of functions as they are.
func (st *state) pcall(L *glua.LState, n int) error {
	if faultL5 {
		return L.PCall(n, glua.MultRet, nil)
	}
	st.requireCallRoom(L)
	L.Insert(st.within, L.GetTop()-n)
	return L.PCall(n+1, glua.MultRet, nil)
}

// requireCallRoom raises an error where there is no room for one more call: PCall would
// lose calls then.
func (st *state) requireCallRoom(L *glua.LState) {
	defer tooDeep(L)
	L.Push(st.nothing)
	L.Call(0, 0)
}

// tooDeep, deferred, makes an error of what the interpreter panics with where
// it has no room for one more call.
func tooDeep(L *glua.LState) {
	if p := recover(); p != nil {
		if text, ok := p.(string); ok && strings.Contains(text, overflow) {
			L.RaiseError(stackOverflow)
		}
		panic(p)
	}
}

// callWithin calls its first argument with the others.
func callWithin(L *glua.LState) int {
	defer tooDeep(L)
	L.Call(L.GetTop()-1, glua.MultRet)
	return L.GetTop()
}

// catchError returns the error object of a failed protected call. What must not be
// caught, an exhausted budget or a fault of the engine, is raised again.
func catchError(L *glua.LState, err error) glua.LValue {
	b := budgetOf(L)
	apiErr, ok := err.(*glua.ApiError)
	if !ok || apiErr.Type == glua.ApiErrorPanic {
		b.fail("fault in the engine: %w", err)
	}
	b.left -= 100 // the interpreter wrote a traceback
	if s, yes := errorObject(apiErr).(glua.LString); yes && strings.HasSuffix(string(s), stackOverflow) {
		b.left -= 2000 // and took all calls back
	}
	if b.err != nil {
		L.RaiseError("%s", b.err.Error())
	}
	v := errorObject(apiErr)
	if s, ok := v.(glua.LString); ok {
		return glua.LString(b.state.generation.explain(string(s)))
	}
	return v
}

func errorObject(err *glua.ApiError) glua.LValue {
	if err == nil || err.Object == nil {
		return glua.LNil
	}
	return err.Object
}
