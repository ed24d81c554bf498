package lua

import (
	"sort"
	"strings"
	"time"

	"carteiro/hooks/lua/signature"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// function is one function of the Lua API as declared: scripts, the check of
// unknown names and hooks/README.md all come from these declarations.
type function struct {
	name   string
	call   glua.LGFunction
	sig    string
	doc    string
	blocks bool // may wait for the network

	// What it changes, of which the hook has to allow any, when it has so
	// many arguments or more.
	edits hooks.Changes
	from  int

	// How its arguments that name something of this server are confined to the
	// domains for which a bundle is in force, by the names that they have in sig.
	bounds bounds
}

// module is a global with functions. Scripts cannot change it.
type module struct {
	name      string
	doc       string
	functions []function
	values    map[string]float64
}

// has reports whether the module has a member of that name.
func (m *module) has(name string) bool {
	for _, f := range m.functions {
		if f.name == name {
			return true
		}
	}
	_, ok := m.values[name]
	return ok
}

func (m *module) names() []string {
	var names []string
	for _, f := range m.functions {
		names = append(names, f.name)
	}
	for v := range m.values {
		names = append(names, v)
	}
	sort.Strings(names)
	return names
}

// class describes an object of the contract.
type class struct {
	name    string
	doc     string
	fields  []field
	methods []function
	pairs   func(*state, *object) glua.LValue                             // nil: cannot be iterated
	index   func(*state, *glua.LState, *object, string) glua.LValue       // instead of fields
	assign  func(*state, *glua.LState, *object, glua.LValue, glua.LValue) // instead of fields
	number  func(*state, *glua.LState, *object, glua.LNumber) glua.LValue // list elements
}

// field is one readable, perhaps writable attribute.
type field struct {
	name string
	get  func(*state, *glua.LState, *object) glua.LValue
	set  func(*state, *glua.LState, *object, glua.LValue) // nil: read only
	doc  string

	edits hooks.Changes // what set changes; the hook has to allow it
	bound bound         // how its value is confined, as the arguments of functions are
}

// textField returns a field that is a text.
func textField(name, doc string, value func(o *object) string) field {
	return field{name: name, doc: doc, get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return str(value(o)) }}
}

// optionalField returns a field that is a text, or nil instead of an empty one.
func optionalField(name, doc string, value func(o *object) string) field {
	return field{name: name, doc: doc, get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return optional(value(o)) }}
}

// boolField returns a field that is true or false.
func boolField(name, doc string, value func(o *object) bool) field {
	return field{name: name, doc: doc, get: func(_ *state, _ *glua.LState, o *object) glua.LValue { return glua.LBool(value(o)) }}
}

// numberField returns a field that is a number.
func numberField(name, doc string, value func(o *object) float64) field {
	return field{name: name, doc: doc, get: func(st *state, _ *glua.LState, o *object) glua.LValue { return st.number(value(o)) }}
}

// timeField returns a field that is a time in Unix seconds, or nil instead of a zero
// time.
func timeField(name, doc string, value func(o *object) time.Time) field {
	return field{name: name, doc: doc, get: func(st *state, _ *glua.LState, o *object) glua.LValue { return seconds(st, value(o)) }}
}

// metaField returns the field meta.
func metaField(doc string, value func(o *object) *metaTable) field {
	return field{name: "meta", doc: doc, get: func(st *state, _ *glua.LState, o *object) glua.LValue {
		return st.newObject(&metaClass,
			value(o))
	}}
}

// Entry documents one name of the Lua API.
type Entry struct {
	Kind      string // "function", "module" or "object"
	Owner     string // of a member: the module or object
	Name      string
	Signature string
	Doc       string
	Writable  bool
	Rights    []hooks.Right // what a bundle has to declare for it
}

// API lists the Lua API in the order of the documentation: plain functions,
// verdicts, modules, objects, each followed by its members.
func API() []Entry {
	var out []Entry
	for _, list := range [][]function{verdictFunctions, baseFunctions, hookFunctions} {
		for _, f := range list {
			out = append(out, Entry{Kind: "function", Name: f.name, Signature: f.sig, Doc: f.doc})
		}
	}
	for _, m := range allModules() {
		out = append(out, Entry{Kind: "module", Name: m.name, Doc: m.doc})
		for _, f := range m.functions {
			out = append(out, Entry{Owner: m.name, Name: f.name, Signature: m.name + "." + f.sig, Doc: f.doc})
		}
		for _, v := range sortedKeys(m.values) {
			out = append(out, Entry{Owner: m.name, Name: v, Signature: m.name + "." + v, Doc: "constant"})
		}
	}
	for _, c := range allClasses() {
		out = append(out, Entry{Kind: "object", Name: c.name, Doc: c.doc})
		for _, f := range c.fields {
			out = append(out, Entry{Owner: c.name, Name: f.name, Signature: c.name + "." + f.name, Doc: f.doc, Writable: f.set != nil})
		}
		for _, f := range c.methods {
			out = append(out, Entry{Owner: c.name, Name: f.name, Signature: c.name + ":" + f.sig, Doc: f.doc})
		}
	}
	for i := range out {
		e := &out[i]
		name := e.Name
		switch {
		case e.Kind != "" && e.Kind != "function":
			continue
		case strings.HasPrefix(e.Signature, e.Owner+":"):
			name = e.Owner + ":" + name
		case e.Owner != "":
			name = e.Owner + "." + name
		}
		if s := signature.Of(name); s != nil {
			e.Rights = s.Rights
		}
	}
	return out
}

// allModules returns the modules in the order of the documentation.
func allModules() []*module {
	return []*module{
		&addrModule, &mailModule, &accountModule, &serverModule, &listModule,
		&kvModule, &rateModule, &cacheModule, &mapModule,
		&dnsModule, &httpModule, &milterModule, &cryptModule, &spamModule, &secretsModule,
		&reModule, &jsonModule, &tomlModule, &base64Module, &hexModule, &hashModule, &uuidModule,
		&timeModule, &metricsModule, &logModule,
		&stringModule, &tableModule, &mathModule,
	}
}

// allClasses returns the objects in the order of the documentation.
func allClasses() []*class {
	return []*class{
		&sessionClass, &tlsClass, &identityClass, &credClass,
		&txClass, &paramsClass, &msgClass, &partClass, &rcptClass,
		&groupClass, &attemptClass, &resultClass, &boxClass, &dsnClass,
		&eventClass, &reqClass, &commandClass,
		&metaClass, &configClass, &dataClass, &frozenClass, &mapClass, &regexClass, &regexSetClass,
	}
}
