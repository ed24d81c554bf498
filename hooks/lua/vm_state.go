package lua

import (
	"context"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/service/spam"
	"carteiro/hooks"
	"carteiro/hooks/lua/pattern"
)

// Sizes of a state: small at rest, bounded under attack.
const (
	callDepth    = 200
	registrySize = 512
	registryMax  = 65536
	smallNumbers = 1024
)

// state is one interpreter with all sources of a generation loaded. One
// goroutine uses it at a time; a state in which anything failed is thrown
// away.
type state struct {
	L          *glua.LState
	generation *generation
	budget     *budget
	matcher    pattern.Matcher
	parts      []string // scratch of concat
	longest    struct { // the list beyond the array whose length was asked for last
		table  *glua.LTable
		length int
	}
	small []glua.LValue

	classCaches map[*class]*classCache
	metatable   *glua.LTable               // of objects without a shape of their own
	fresh       []objectSlot               // for objects of the calls to come
	modules     map[string]*glua.LUserData // those that the sources name
	members     map[*glua.LTable]*module   // whose members a table has
	missing     *glua.LTable               // metatable of those tables
	readOnly    *glua.LFunction            // __newindex of modules

	nextFunction, ipairsFunction *glua.LFunction
	within, nothing              *glua.LFunction // see pcall

	handlers []*glua.LFunction                   // by number of the handler in the set
	blocking map[*glua.LFunction]bool            // functions that wait for the network
	memoized map[*glua.LFunction]*glua.LFunction // what cache.memoize wraps
	loading  *loader                             // nil once loaded
	tester   *tester                             // nil but in tests
	source   *loadedSource                       // whose code runs
	call     *call                               // nil between calls, else calls
	calls    call                                // one after the other
}

// call is what objects of one hook call share. Its memory serves the next
// call of the state: number says which call an object belongs to.
type call struct {
	number         uint64
	ctx            context.Context
	event          *hooks.Event
	handler        *handler
	source         *loadedSource
	domain         string       // the current one, of a bundle
	submits        int          // messages sent
	slots          []objectSlot // of its first objects
	text           string       // cache of msg:text(textMax)
	textMax        int64
	hasText        bool
	spamOf         *hooks.Message // whose features spam has; nil features: too complex
	spam           *spam.Features
	pixels         int64    // of pictures searched for codes
	requests       int      // of http
	wrongVerdictAt string   // where a verdict was made that the hook does not have
	after          []func() // done when the handler has returned normally
}

func budgetOf(L *glua.LState) *budget { return L.Context().(*budget) }
func stateOf(L *glua.LState) *state   { return L.Context().(*budget).state }

func newState(s *generation) *state {
	st := &state{
		generation:  s,
		classCaches: map[*class]*classCache{},
		modules:     map[string]*glua.LUserData{},
		members:     map[*glua.LTable]*module{},
		small:       s.engine.small,
		blocking:    map[*glua.LFunction]bool{},
		memoized:    map[*glua.LFunction]*glua.LFunction{},
	}
	st.L = glua.NewState(glua.Options{SkipOpenLibs: true, CallStackSize: callDepth, RegistrySize: registrySize,
		RegistryMaxSize: registryMax, RegistryGrowStep: 1024, MinimizeStackMemory: true})
	st.budget = newBudget(st, s.engine.heapLimit)
	st.budget.cover = s.engine.Cover
	st.L.SetContext(st.budget)
	st.matcher = *st.newMatcher()
	st.within, st.nothing = st.L.NewFunction(callWithin), st.L.NewFunction(func(*glua.LState) int { return 0 })
	st.nextFunction, st.ipairsFunction = st.L.NewFunction(baseNext), st.L.NewFunction(ipairsNext)
	st.metatable = st.L.CreateTable(0, 4)
	st.metatable.RawSetString("__index", st.L.NewFunction(objectIndex))
	st.metatable.RawSetString("__newindex", st.L.NewFunction(objectAssign))
	st.metatable.RawSetString("__metatable", glua.LFalse)
	st.missing = st.L.CreateTable(0, 1)
	st.missing.RawSetString("__index", st.L.NewFunction(st.noMember))
	st.readOnly = st.L.NewFunction(moduleAssign)
	for _, m := range allModules() {
		if m == &stringModule || s.usesGlobal(m.name) {
			st.addModule(m)
		}
	}
	st.stringMetatable()
	return st
}

func (st *state) newMatcher() *pattern.Matcher {
	return pattern.NewMatcher(func(n int64) { st.budget.chargeSteps(st.L, n) }, func(s string) { st.L.RaiseError("%s", s) })
}

// number returns a number as a value, without an allocation for small ones.
func (st *state) number(f float64) glua.LValue {
	if f >= 0 && f < smallNumbers && f == float64(int(f)) {
		return st.small[int(f)]
	}
	return glua.LNumber(f)
}

func makeSmall() []glua.LValue {
	small := make([]glua.LValue, smallNumbers)
	for i := range small {
		small[i] = glua.LNumber(i)
	}
	return small
}

// addModule makes a module a userdata: nothing a script has can write to it.
func (st *state) addModule(m *module) {
	members := st.L.CreateTable(0, len(m.functions)+len(m.values))
	for _, f := range m.functions {
		fn := st.L.NewFunction(withModuleGrant(m, f.withChecks(m.name+".")))
		members.RawSetString(f.name, fn)
		if f.blocks {
			st.blocking[fn] = true
		}
	}
	for k, v := range m.values {
		members.RawSetString(k, glua.LNumber(v))
	}
	members.Metatable = st.missing
	st.members[members] = m
	mt := st.L.CreateTable(0, 3)
	mt.RawSetString("__index", members)
	mt.RawSetString("__newindex", st.readOnly)
	mt.RawSetString("__metatable", glua.LFalse)
	st.modules[m.name] = &glua.LUserData{Value: m, Metatable: mt, Env: st.L.Env}
}

// noMember is __index of the members of all modules.
func (st *state) noMember(L *glua.LState) int {
	m, key := st.members[L.CheckTable(1)], L.ToString(2)
	L.RaiseError("%s.%s does not exist%s", m.name, key, hooks.Suggestion(key, m.names()))
	return 0
}

// moduleAssign is __newindex of all modules.
func moduleAssign(L *glua.LState) int {
	L.RaiseError("%s is read only", L.CheckUserData(1).Value.(*module).name)
	return 0
}

// stringMetatable lets ("x"):upper() work with a table no script can reach.
func (st *state) stringMetatable() {
	mt := st.L.CreateTable(0, 2+len(arithmetic)+1)
	mt.RawSetString("__index", st.modules["string"].Metatable.(*glua.LTable).RawGetString("__index"))
	mt.RawSetString("__metatable", glua.LFalse)
	addStringArithmetic(st.L, mt)
	st.L.SetMetatable(glua.LString(""), mt)
}

// currentCall raises while files load: what it guards would make two states of
// one generation differ, or needs a message.
func (st *state) currentCall(L *glua.LState, what string) *call {
	if st.call == nil {
		L.RaiseError("%s: only inside a handler, not while the file loads", what)
	}
	return st.call
}

// raiseIf raises an error of the contract's methods in the script's words.
func raiseIf(L *glua.LState, err error) {
	if err != nil {
		L.RaiseError("%s", err.Error())
	}
}
