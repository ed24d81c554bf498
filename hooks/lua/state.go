package lua

import (
	"context"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/spam"
	"carteiro/hooks"
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
	L       *glua.LState
	set     *set
	budget  *budget
	matcher matcher
	parts   []string // scratch of concat
	small   []glua.LValue

	methods     map[*class]map[string]*glua.LFunction
	lastClass   *class // the class asked last, and its methods
	lastMethods map[string]*glua.LFunction
	metatable   *glua.LTable // of all objects
	modules     map[string]*glua.LUserData

	nextFunction, ipairsFunction *glua.LFunction

	handlers []*glua.LFunction                   // by number of the handler in the set
	blocking map[*glua.LFunction]bool            // functions that wait for the network
	memoized map[*glua.LFunction]*glua.LFunction // what cache.memoize wraps
	loading  *loader                             // nil once loaded
	tester   *tester                             // nil but in tests
	source   *unit                               // whose code runs
	call     *call                               // nil between calls
}

// call is what objects of one hook call share.
type call struct {
	ctx      context.Context
	event    *hooks.Event
	handler  *handler
	unit     *unit
	domain   string // at hand, of a bundle
	submits  int    // messages sent
	objects  [4]object
	data     [4]glua.LUserData
	used     int
	msg      *object // of this call, for mail.submit and texts cached
	text     string  // cache of msg:text(textMax)
	textMax  int64
	hasText  bool
	spamOf   *hooks.Message // whose features spam has; nil features: too complex
	spam     *spam.Features
	pixels   int64    // of pictures searched for codes
	requests int      // of http
	after    []func() // done when the handler has returned normally
}

func budgetOf(L *glua.LState) *budget { return L.Context().(*budget) }
func stateOf(L *glua.LState) *state   { return L.Context().(*budget).state }

func newState(s *set) *state {
	st := &state{set: s, methods: map[*class]map[string]*glua.LFunction{}, modules: map[string]*glua.LUserData{}, small: s.engine.small,
		blocking: map[*glua.LFunction]bool{}, memoized: map[*glua.LFunction]*glua.LFunction{}}
	st.L = glua.NewState(glua.Options{SkipOpenLibs: true, CallStackSize: callDepth, RegistrySize: registrySize,
		RegistryMaxSize: registryMax, RegistryGrowStep: 1024, MinimizeStackMemory: true})
	st.budget = newBudget(st, s.engine.heapLimit)
	st.budget.cover = s.engine.Cover
	st.L.SetContext(st.budget)
	st.matcher = *st.newMatcher()
	st.nextFunction, st.ipairsFunction = st.L.NewFunction(baseNext), st.L.NewFunction(ipairsNext)
	st.metatable = st.L.CreateTable(0, 4)
	st.metatable.RawSetString("__index", st.L.NewFunction(objectIndex))
	st.metatable.RawSetString("__newindex", st.L.NewFunction(objectAssign))
	st.metatable.RawSetString("__metatable", glua.LFalse)
	for _, m := range allModules() {
		st.addModule(m)
	}
	st.stringMetatable()
	return st
}

func (st *state) newMatcher() *matcher {
	return &matcher{tick: func(n int64) { st.budget.steps(st.L, n) }, raise: func(s string) { st.L.RaiseError("%s", s) }}
}

// number is a number as a value, without an allocation for small ones.
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
		fn := st.L.NewFunction(st.guarded(m, f.call))
		members.RawSetString(f.name, fn)
		if f.blocks {
			st.blocking[fn] = true
		}
	}
	for k, v := range m.values {
		members.RawSetString(k, glua.LNumber(v))
	}
	fallback := st.L.CreateTable(0, 1)
	fallback.RawSetString("__index", st.L.NewFunction(func(L *glua.LState) int {
		key := L.ToString(2)
		L.RaiseError("%s.%s does not exist%s", m.name, key, hooks.Suggestion(key, m.names()))
		return 0
	}))
	members.Metatable = fallback
	mt := st.L.CreateTable(0, 3)
	mt.RawSetString("__index", members)
	mt.RawSetString("__newindex", st.L.NewFunction(func(L *glua.LState) int {
		L.RaiseError("%s is read only", m.name)
		return 0
	}))
	mt.RawSetString("__metatable", glua.LFalse)
	st.modules[m.name] = &glua.LUserData{Value: m, Metatable: mt, Env: st.L.Env}
}

// stringMetatable lets ("x"):upper() work with a table no script can reach.
func (st *state) stringMetatable() {
	mt := st.L.CreateTable(0, 2)
	mt.RawSetString("__index", st.modules["string"].Metatable.(*glua.LTable).RawGetString("__index"))
	mt.RawSetString("__metatable", glua.LFalse)
	st.L.SetMetatable(glua.LString(""), mt)
}

// wrap makes an object of the call at hand.
func (st *state) wrap(c *class, v any) *glua.LUserData {
	cl := st.call
	if cl != nil && cl.used < len(cl.objects) {
		o, ud := &cl.objects[cl.used], &cl.data[cl.used]
		cl.used++
		*o = object{class: c, call: cl, v: v}
		*ud = glua.LUserData{Value: o, Metatable: st.metatable, Env: st.L.Env}
		return ud
	}
	st.budget.charge(st.L, 128)
	return &glua.LUserData{Value: &object{class: c, call: cl, v: v}, Metatable: st.metatable, Env: st.L.Env}
}

// alive raises for an object of an earlier call.
func (st *state) alive(o *object) {
	if o.call != nil && o.call != st.call {
		st.L.RaiseError("this %s belongs to an earlier call; keep values in meta or kv instead", o.class.name)
	}
}

// self is the receiver of a method: argument 1 as an object of that class.
func self(L *glua.LState, class string) (*state, *object) {
	st := stateOf(L)
	if ud, ok := L.Get(1).(*glua.LUserData); ok {
		if o, ok := ud.Value.(*object); ok && o.class.name == class {
			st.alive(o)
			return st, o
		}
	}
	L.RaiseError("%s expected, got %s; methods are called with a colon", class, typeOf(L.Get(1)))
	return nil, nil
}

// objectIndex is __index of all objects.
func objectIndex(L *glua.LState) int {
	ud, ok := L.Get(1).(*glua.LUserData)
	if !ok {
		L.RaiseError("object expected")
	}
	o := ud.Value.(*object)
	st := stateOf(L)
	st.alive(o)
	key := L.Get(2)
	if n, ok := key.(glua.LNumber); ok && o.class.number != nil {
		L.Push(o.class.number(st, L, o, n))
		return 1
	}
	name, ok := key.(glua.LString)
	if !ok {
		L.RaiseError("%s has no member of type %s", o.class.name, typeOf(key))
	}
	L.Push(st.member(L, o, string(name)))
	return 1
}

func (st *state) member(L *glua.LState, o *object, name string) glua.LValue {
	c := o.class
	if c.index != nil {
		return c.index(st, L, o, name)
	}
	if st.lastClass != c {
		st.lastClass, st.lastMethods = c, st.methodsOf(c)
	}
	if f, ok := st.lastMethods[name]; ok {
		return f
	}
	for i := range c.fields {
		if c.fields[i].name == name {
			return c.fields[i].get(st, L, o)
		}
	}
	L.RaiseError("%s.%s does not exist%s", c.name, name, hooks.Suggestion(name, c.memberNames()))
	return nil
}

// methodsOf are a class's methods as functions of this state.
func (st *state) methodsOf(c *class) map[string]*glua.LFunction {
	methods, ok := st.methods[c]
	if !ok {
		methods = make(map[string]*glua.LFunction, len(c.methods))
		for _, f := range c.methods {
			methods[f.name] = st.L.NewFunction(f.call)
		}
		st.methods[c] = methods
	}
	return methods
}

func (c *class) memberNames() []string {
	var names []string
	for _, f := range c.fields {
		names = append(names, f.name)
	}
	for _, f := range c.methods {
		names = append(names, f.name)
	}
	return names
}

// objectAssign is __newindex of all objects.
func objectAssign(L *glua.LState) int {
	ud, ok := L.Get(1).(*glua.LUserData)
	if !ok {
		L.RaiseError("object expected")
	}
	o := ud.Value.(*object)
	st := stateOf(L)
	st.alive(o)
	if o.class.assign != nil {
		o.class.assign(st, L, o, L.Get(2), L.Get(3))
		return 0
	}
	name := L.ToString(2)
	for i := range o.class.fields {
		if f := &o.class.fields[i]; f.name == name {
			if f.set == nil {
				L.RaiseError("%s.%s is read only", o.class.name, name)
			}
			f.set(st, L, o, L.Get(3))
			return 0
		}
	}
	L.RaiseError("%s.%s does not exist%s", o.class.name, name, hooks.Suggestion(name, o.class.memberNames()))
	return 0
}

// running raises while files load: what it guards would make two states of
// one generation differ, or needs a message.
func (st *state) running(L *glua.LState, what string) *call {
	if st.call == nil {
		L.RaiseError("%s: only inside a handler, not while the file loads", what)
	}
	return st.call
}

// must raises an error of the contract's methods in the script's words.
func (st *state) must(L *glua.LState, err error) {
	if err != nil {
		L.RaiseError("%s", err.Error())
	}
}
