package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// who is the bundle whose code runs, as errors name it.
func (u *unit) who() string { return u.source.Bundle + "@" + u.source.Version }

// demand raises unless the bundle that runs has the right.
func (st *state) demand(L *glua.LState, r hooks.Right, what string) {
	if u := st.source; !u.source.Grants.Has(r) {
		L.RaiseError("%s: %s has no %q among its message rights", what, u.who(), string(r))
	}
}

// demandOf is demand for a method of the message. It makes no text unless it
// raises: most calls of a handler come by here.
func (st *state) demandOf(L *glua.LState, r hooks.Right, method string) {
	if !st.source.source.Grants.Has(r) {
		st.demand(L, r, "msg:"+method)
	}
}

// demandField raises unless the bundle that runs may write fields of that
// name: its own, or any with the right to.
func (st *state) demandField(L *glua.LState, name, what string) {
	u := st.source
	if u.source.Grants.Has(hooks.HeadersWrite) {
		return
	}
	if own := hooks.OwnPrefix(u.source.Bundle); len(name) <= len(own) || !strings.EqualFold(name[:len(own)], own) {
		L.RaiseError("%s: %s: %s has no %q among its message rights, and its own fields begin with %s", what, name, u.who(),
			string(hooks.HeadersWrite), own)
	}
}

// guarded is a function of a module as bundles call it: one that got the
// module from elsewhere, as from a bundle that it requires, is refused too.
func (st *state) guarded(m *module, f glua.LGFunction) glua.LGFunction {
	if _, needs := hooks.Module(m.name); !needs {
		return f
	}
	return func(L *glua.LState) int {
		if u := st.source; u != nil && !u.source.Grants.HasModule(m.name) {
			L.RaiseError("module %s is not granted to %s (capabilities.modules)", m.name, u.who())
		}
		return f(L)
	}
}

// ours tells the domains for which the source may have settings and kv of
// their own.
func (s *set) ours(src *hooks.Source) func(string) bool {
	if len(src.Domains) > 0 {
		return func(d string) bool { return oneOf(d, src.Domains...) }
	}
	return func(d string) bool { return s.engine.Local(d) && !oneOf(d, src.Except...) }
}

// space is the kv namespace at hand: of scripts their source's, of a bundle
// one for each domain and one for the server as a whole.
func (c *call) space() string {
	if c.domain == "" {
		return c.unit.space
	}
	return c.unit.space + "/" + c.domain
}

// settings are those of the domain at hand.
func (u *unit) settings(c *call) map[string]any {
	if c != nil {
		if own, ok := u.source.DomainConfig[c.domain]; ok {
			return own
		}
	}
	return u.source.Config
}

var configClass = class{
	name: "config",
	doc:  "this bundle's settings for the domain at hand, read only; while files load, those of the server as a whole",
	index: func(st *state, L *glua.LState, o *object, key string) glua.LValue {
		return st.lift(L, o.v.(*unit).settings(st.call)[key])
	},
	assign: readOnly,
	pairs: func(st *state, o *object) glua.LValue {
		settings := o.v.(*unit).settings(st.call)
		if settings == nil {
			settings = map[string]any{}
		}
		return st.lift(st.L, settings)
	},
}

var secretsModule = module{
	name: "secrets",
	doc:  "texts that stand outside of the scripts, in files or the environment, as the configuration says",
	functions: []function{
		{
			name: "get",
			call: secretsGet,
			sig:  "get(name)",
			doc:  "the secret that the manifest declares by that name; it is read again after a reload",
		},
	},
}

// secretsGet reads a secret once for a generation, when it is first asked
// for: a generation that was good starts even when a secret's file is gone.
func secretsGet(L *glua.LState) int {
	const what = "secrets.get"
	st := stateOf(L)
	c := st.running(L, what)
	name := stringArgument(L, 1, what, "name")
	var ref hooks.Secret
	ok := false
	if g := c.unit.source.Grants; g != nil {
		ref, ok = g.Secrets[name]
	}
	if !ok {
		if c.unit.source.Grants == nil {
			L.RaiseError("%s: secrets are for bundles; a script's text is as secret as its file", what)
		}
		L.RaiseError("%s: %s has no secret %q (capabilities.secrets)", what, c.unit.who(), name)
	}
	s := st.set
	s.secretMu.Lock()
	defer s.secretMu.Unlock()
	text, ok := s.secrets[ref]
	if !ok {
		var err error
		if text, err = ref.Read(); err != nil {
			st.set.engine.Log.ErrorContext(st.budget.ctx, "secret cannot be read", "bundle", c.unit.who(), "secret", name, "err", err)
			L.RaiseError("%s: the secret %q cannot be read", what, name)
		}
		s.secrets[ref] = text
	}
	L.Push(st.budget.str(L, text))
	return 1
}
