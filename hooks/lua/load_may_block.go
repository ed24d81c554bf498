package lua

import (
	"slices"

	"carteiro/hooks/lua/source"

	glua "github.com/yuin/gopher-lua"
)

// findBlocking finds out whether a handler may wait for the network.
func (h *handler) findBlocking(st *state) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = h.file.EngineFault(h.info.Line, "searched for what may block", p)
		}
	}()
	runTrip("searched", h.file.Name)
	h.info.MayBlock = st.mayBlock(st.handlers[h.number])
	return nil
}

// mayBlock follows everything a handler can reach: its code, its upvalues and
// the globals it names.
func (st *state) mayBlock(fn *glua.LFunction) bool {
	seen := map[any]bool{}
	var visit func(v glua.LValue, depth int) bool
	var code func(p *glua.FunctionProto, env *glua.LTable, depth int) bool
	code = func(p *glua.FunctionProto, env *glua.LTable, depth int) bool {
		for _, inst := range p.Code {
			if int(inst>>26) == glua.OP_GETGLOBAL && visit(env.RawGetString(source.Constant(p, int(inst&0x3ffff))), depth+1) {
				return true
			}
			// msg:auth() asks the DNS; which object it is called on is not known here.
			if k := int(inst>>9) & 0x1ff; int(inst>>26) == glua.OP_SELF && k >= 256 && source.Constant(p, k-256) == "auth" {
				return true
			}
		}
		for _, inner := range p.FunctionPrototypes {
			if code(inner, env, depth+1) {
				return true
			}
		}
		return false
	}
	visit = func(v glua.LValue, depth int) bool {
		switch v := v.(type) {
		case *glua.LUserData:
			if o, ok := v.Value.(*object); ok && o.class == &frozenClass {
				return visit(o.v.(*glua.LTable), depth+1)
			}
			m, ok := v.Value.(*module)
			return ok && slices.ContainsFunc(m.functions, func(f function) bool { return f.blocks })
		case *glua.LFunction:
			if seen[v] {
				return false
			}
			seen[v] = true
			for _, up := range v.Upvalues {
				if up != nil && visit(up.Value(), depth+1) {
					return true
				}
			}
			if inner, ok := st.memoized[v]; ok && visit(inner, depth+1) {
				return true
			}
			if v.IsG {
				return st.blocking[v]
			}
			return code(v.Proto, v.Env, depth)
		case *glua.LTable:
			if seen[v] {
				return false
			}
			seen[v] = true
			for k, x := v.Next(glua.LNil); k != glua.LNil; k, x = v.Next(k) {
				if visit(x, depth+1) {
					return true
				}
			}
		}
		return false
	}
	return visit(fn, 0)
}
