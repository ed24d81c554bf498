package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// bundleName returns the bundle whose code runs, as errors name it.
func (u *loadedSource) bundleName() string { return u.src.Bundle + "@" + u.src.Version }

// requireRight raises unless the bundle has the right.
func (u *loadedSource) requireRight(L *glua.LState, r hooks.Right, what string) {
	if !u.src.Grants.Has(r) {
		L.RaiseError("%s: %s has no %q among its message rights", what, u.bundleName(), string(r))
	}
}

// requireMessageRight is requireRight for a method of the message. It makes no text unless it
// raises: most calls of a handler come by here.
func (u *loadedSource) requireMessageRight(L *glua.LState, r hooks.Right, method string) {
	if !u.src.Grants.Has(r) {
		u.requireRight(L, r, "msg:"+method)
	}
}

// requireFieldRight raises unless the bundle may write fields of that name: its own,
// or any with the right to.
func (u *loadedSource) requireFieldRight(L *glua.LState, name, what string) {
	if u.src.Grants.Has(hooks.HeadersWrite) {
		return
	}
	if own := hooks.OwnPrefix(u.src.Bundle); len(name) <= len(own) || !strings.EqualFold(name[:len(own)], own) {
		L.RaiseError("%s: %s: %s has no %q among its message rights, and its own fields begin with %s", what, name, u.bundleName(),
			string(hooks.HeadersWrite), own)
	}
}

// withModuleGrant returns a function of a module as bundles call it: one that got the
// module from elsewhere, as from a bundle that it requires, is refused too.
func withModuleGrant(m *module, f glua.LGFunction) glua.LGFunction {
	if _, needs := hooks.Module(m.name); !needs {
		return f
	}
	return func(L *glua.LState) int {
		if u := stateOf(L).source; u != nil && !u.src.Grants.HasModule(m.name) {
			L.RaiseError("module %s is not granted to %s (capabilities.modules)", m.name, u.bundleName())
		}
		return f(L)
	}
}

// ownDomains tells the domains for which the source may have settings and kv of
// their own.
func (s *generation) ownDomains(src *hooks.Source) func(string) bool {
	if len(src.Domains) > 0 {
		return func(d string) bool { return oneOf(d, src.Domains...) }
	}
	return func(d string) bool { return s.engine.Local(d) && !oneOf(d, src.Except...) }
}

// space returns the kv namespace at hand: of scripts their source's, of a bundle
// one for each domain and one for the server as a whole.
func (c *call) space() string {
	if c.domain == "" {
		return c.source.space
	}
	return c.source.space + "/" + c.domain
}

// settings returns those of the current domain.
func (u *loadedSource) settings(c *call) map[string]any {
	if c != nil {
		if own, ok := u.src.DomainConfig[c.domain]; ok {
			return own
		}
	}
	return u.src.Config
}

var configClass = class{
	name: "config",
	doc:  "this bundle's settings for the current domain, read only; while files load, the settings for the server as a whole",
	index: func(st *state, L *glua.LState, o *object, key string) glua.LValue {
		return st.toLua(L, o.v.(*loadedSource).settings(st.call)[key])
	},
	assign: readOnly,
	pairs: func(st *state, o *object) glua.LValue {
		settings := o.v.(*loadedSource).settings(st.call)
		if settings == nil {
			settings = map[string]any{}
		}
		return st.toLua(st.L, settings)
	},
}

var secretsModule = module{
	name: "secrets",
	doc:  "secret texts from files or the environment, as the configuration says",
	functions: []function{
		{
			name: "get",
			call: secretsGet,
			sig:  "get(name)",
			doc:  "the secret that the manifest declares under that name; it is read again after a reload",
		},
	},
}

// secretsGet reads a secret once for a generation, when it is first asked
// for: a generation that was good starts even when a secret's file is gone.
func secretsGet(L *glua.LState) int {
	const what = "secrets.get"
	st := stateOf(L)
	c := st.currentCall(L, what)
	name := stringArgument(L, 1, what, "name")
	var ref hooks.Secret
	ok := false
	if g := c.source.src.Grants; g != nil {
		ref, ok = g.Secrets[name]
	}
	if !ok {
		if c.source.src.Grants == nil {
			L.RaiseError("%s: only bundles have secrets; write it in the script, whose file has to be private", what)
		}
		L.RaiseError("%s: %s has no secret %q (capabilities.secrets)", what, c.source.bundleName(), name)
	}
	s := st.generation
	s.secretMu.Lock()
	defer s.secretMu.Unlock()
	text, ok := s.secrets[ref]
	if !ok {
		var err error
		if text, err = ref.Read(); err != nil {
			st.generation.engine.Log.ErrorContext(st.budget.ctx, "secret cannot be read", "bundle", c.source.bundleName(), "secret", name,
				"err", err)
			L.RaiseError("%s: the secret %q cannot be read", what, name)
		}
		s.secrets[ref] = text
	}
	L.Push(st.budget.newString(L, text))
	return 1
}
