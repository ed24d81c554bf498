package lua

import (
	"fmt"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// mainFile is the file that require "publisher/name" means.
const mainFile = "init.lua"

// dependency finds the file that require(name) means in a bundle that u
// declares: "acme/util" is its init.lua, "acme/util.text" its text.lua. ok is
// false where the name is none of a bundle's.
func (s *generation) dependency(u *loadedSource, name string) (c *compiled, ok bool, err error) {
	bundle, file, _ := strings.Cut(name, ".")
	if !slices.Contains(u.src.Requires, bundle) {
		return nil, false, nil
	}
	for _, other := range s.sources {
		if other.src.Bundle != bundle {
			continue
		}
		path := mainFile
		if file != "" {
			path = strings.ReplaceAll(strings.TrimSuffix(file, ".lua"), ".", "/") + ".lua"
		}
		if c, ok := other.files[path]; ok {
			return c, true, nil
		}
		return nil, true, fmt.Errorf("require: %s has no %s", bundle, path)
	}
	return nil, true, fmt.Errorf("require: %s is not installed", bundle)
}

// runDependency runs a file of another bundle for the one that loads: with
// globals of its own, apart from those that others get of it, and with the
// grants of the bundle that asked. What it returns is frozen.
func (ld *loader) runDependency(L *glua.LState, c *compiled) glua.LValue {
	key := c.source.src.Bundle + ":" + c.Path
	v, seen := ld.required[key]
	if seen && v == nil {
		L.RaiseError("require: %s of %s is still loading; files must not require each other", c.Path, c.source.src.Bundle)
	}
	if seen {
		return v
	}
	ld.required[key] = nil
	unit, env, files := ld.source, ld.env, ld.file
	env2, ok := ld.envs[c.source]
	if !ok {
		env2 = ld.newEnvironment(ld.st, c.source)
		ld.envs[c.source] = env2
	}
	ld.source, ld.env, ld.file = c.source, env2, []string{c.Path}
	fn := L.NewFunctionFromProto(c.Proto)
	fn.Env = env2
	L.Push(fn)
	L.Call(0, 1)
	v = ld.st.freeze(&frozenClass, L.Get(-1))
	L.Pop(1)
	if v == glua.LNil {
		v = glua.LTrue
	}
	ld.source, ld.env, ld.file = unit, env, files
	ld.required[key] = v
	return v
}

// freeze returns a value that its user cannot change: a table becomes an object
// that reads like one.
func (st *state) freeze(frozen *class, v glua.LValue) glua.LValue {
	t, ok := v.(*glua.LTable)
	if !ok {
		return v
	}
	return &glua.LUserData{Value: &object{class: frozen, v: t}, Metatable: st.metatable, Env: st.L.Env}
}

var frozenClass = class{name: "library", doc: "a table from a bundle that this one requires; read only",
	index: func(st *state, _ *glua.LState, o *object, key string) glua.LValue {
		return st.freeze(o.class, o.v.(*glua.LTable).RawGetString(key))
	},
	number: func(st *state, _ *glua.LState, o *object, n glua.LNumber) glua.LValue {
		return st.freeze(o.class, o.v.(*glua.LTable).RawGet(n))
	},
	assign: readOnly,
	pairs: func(st *state, o *object) glua.LValue {
		t := o.v.(*glua.LTable)
		out := st.L.CreateTable(length(st, t), 0)
		for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
			st.budget.chargeMemory(st.L, 64)
			out.RawSet(k, st.freeze(o.class, v))
		}
		return out
	},
}
