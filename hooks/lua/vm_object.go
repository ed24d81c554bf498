package lua

import (
	"context"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// object is what a userdata of ours holds. It dies with its call, so that a
// script that keeps one from an earlier message gets an error, not that
// message.
type object struct {
	class  *class
	call   *call  // nil: lives as long as its state
	number uint64 // of the call
	v      any
}

// objectSlot is an object with its userdata, in one piece of memory.
type objectSlot struct {
	object object
	data   glua.LUserData
	cache  *classCache // that it has in its call, or nil
}

// A call has room for some objects at hand, which are made for many calls at
// once; a script that makes more pays for them.
const (
	callSlots  = 4
	freshSlots = 32
)

// classCache is how the first object of a class in each call looks to the
// interpreter: it finds methods in a table without a call of ours.
type classCache struct {
	class     *class
	methods   *glua.LTable // functions of this state, by name
	metatable *glua.LTable
	object    *object // of the current call, or nil
}

// classCacheOf makes a class's shape when it is first asked for.
func (st *state) classCacheOf(c *class) *classCache {
	sh, ok := st.classCaches[c]
	if ok {
		return sh
	}
	sh = &classCache{class: c, methods: st.L.CreateTable(0, len(c.methods)), metatable: st.L.CreateTable(0, 3)}
	for _, f := range c.methods {
		sh.methods.RawSetString(f.name, st.L.NewFunction(f.withChecks(c.name+":")))
	}
	// What is not a method is asked for here; the interpreter hands over the
	// table in which it found none, and not the object.
	other := st.L.CreateTable(0, 1)
	other.RawSetString("__index", st.L.NewFunction(func(L *glua.LState) int { return st.push(L, sh.object, L.Get(2)) }))
	sh.methods.Metatable = other
	sh.metatable.RawSetString("__index", sh.methods)
	sh.metatable.RawSetString("__newindex", st.metatable.RawGetString("__newindex"))
	sh.metatable.RawSetString("__metatable", glua.LFalse)
	st.classCaches[c] = sh
	return sh
}

// beginCall makes room for a call's first objects.
func (st *state) beginCall() *call {
	if len(st.fresh) < callSlots {
		st.fresh = make([]objectSlot, freshSlots)
	}
	st.calls = call{number: st.calls.number + 1, slots: st.fresh[:0:callSlots]}
	return &st.calls
}

// endCall lets the call's objects die and go of what they were. How much the call
// did can still be read from calls.
func (st *state) endCall() {
	c := &st.calls
	for i := range c.slots {
		s := &c.slots[i]
		s.object.v, s.data.Metatable = nil, st.metatable
		if s.cache != nil {
			s.cache.object, s.cache = nil, nil
		}
	}
	st.fresh = st.fresh[len(c.slots):]
	*c = call{number: c.number, domain: c.domain, submits: c.submits}
	st.call, st.source = nil, nil
	st.budget.ctx = context.Background()
}

// newObject makes an object of the current call.
func (st *state) newObject(c *class, v any) *glua.LUserData {
	cl := st.call
	if cl == nil || len(cl.slots) == cap(cl.slots) {
		st.budget.chargeMemory(st.L, 128)
		o := &object{class: c, call: cl, v: v}
		if cl != nil {
			o.number = cl.number
		}
		return &glua.LUserData{Value: o, Metatable: st.metatable, Env: st.L.Env}
	}
	cl.slots = cl.slots[:len(cl.slots)+1]
	s := &cl.slots[len(cl.slots)-1]
	s.object = object{class: c, call: cl, number: cl.number, v: v}
	s.data = glua.LUserData{Value: &s.object, Metatable: st.metatable, Env: st.L.Env}
	if c.index == nil {
		if sh := st.classCacheOf(c); sh.object == nil {
			s.cache, sh.object, s.data.Metatable = sh, &s.object, sh.metatable
		}
	}
	return &s.data
}

// requireAlive raises for an object of an earlier call.
func (st *state) requireAlive(o *object) {
	if o.call != nil && (st.call == nil || o.number != st.call.number) {
		st.L.RaiseError("this %s belongs to an earlier call; store values in meta or kv instead", o.class.name)
	}
}

// self returns the receiver of a method: argument 1 as an object of that class.
func self(L *glua.LState, class string) (*state, *object) {
	st := stateOf(L)
	if ud, ok := L.Get(1).(*glua.LUserData); ok {
		if o, ok := ud.Value.(*object); ok && o.class.name == class {
			st.requireAlive(o)
			return st, o
		}
	}
	L.RaiseError("%s expected, got %s; methods are called with a colon", class, typeOf(L.Get(1)))
	return nil, nil
}

// objectIndex is __index of objects without a shape.
func objectIndex(L *glua.LState) int {
	ud, ok := L.Get(1).(*glua.LUserData)
	if !ok {
		L.RaiseError("object expected")
	}
	st, o := stateOf(L), ud.Value.(*object)
	st.requireAlive(o)
	name, ok := L.Get(2).(glua.LString)
	if !ok || o.class.index != nil {
		return st.push(L, o, L.Get(2))
	}
	if f := st.classCacheOf(o.class).methods.RawGetString(string(name)); f != glua.LNil {
		L.Push(f)
		return 1
	}
	return st.push(L, o, name)
}

// push pushes a member of an object that is not a method.
func (st *state) push(L *glua.LState, o *object, key glua.LValue) int {
	c := o.class
	if n, ok := key.(glua.LNumber); ok && c.number != nil {
		L.Push(c.number(st, L, o, n))
		return 1
	}
	name, ok := key.(glua.LString)
	if !ok {
		L.RaiseError("%s has no member of type %s", c.name, typeOf(key))
	}
	if c.index != nil {
		L.Push(c.index(st, L, o, string(name)))
		return 1
	}
	for i := range c.fields {
		if c.fields[i].name == string(name) {
			L.Push(c.fields[i].get(st, L, o))
			return 1
		}
	}
	L.RaiseError("%s.%s does not exist%s", c.name, string(name), hooks.Suggestion(string(name), c.memberNames()))
	return 0
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
	st.requireAlive(o)
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
			if f.bound.check != nil {
				if r := boundCheckFor(L, o.class.name+"."+name); r != nil {
					f.bound.check(r, L.Get(3))
				}
			}
			f.set(st, L, o, L.Get(3))
			return 0
		}
	}
	L.RaiseError("%s.%s does not exist%s", o.class.name, name, hooks.Suggestion(name, o.class.memberNames()))
	return 0
}
