package lua

import "carteiro/hooks/lua/source"

// SignatureKeys are the names that signatures.txt has, and what is wrong with
// it.
func SignatureKeys() (map[string]bool, error) {
	all, err := signatures()
	keys := map[string]bool{}
	for name := range all {
		keys[name] = true
	}
	return keys, err
}

// Parameter is one of a function's, for tests.
type Parameter struct {
	Name     string
	Kind     string   // the first alternative
	Plain    []string // Lua's types and objects
	Optional bool
	Keys     []Parameter // of a table
}

// Forms are the parameters of a function's forms.
func Forms(name string) (out [][]Parameter) {
	for _, f := range signatureOf(name).forms {
		var one []Parameter
		for _, p := range f.params {
			one = append(one, exported(p))
		}
		if f.variadic != nil {
			one = append(one, exported(parameter{name: "...", kind: f.variadic, optional: true}))
		}
		out = append(out, one)
	}
	return out
}

func exported(p parameter) Parameter {
	out := Parameter{Name: p.name, Kind: p.kind[0].name, Plain: p.kind.luaTypes(), Optional: p.optional}
	for _, k := range p.kind[0].keys {
		out.Keys = append(out.Keys, exported(k))
	}
	return out
}

// FieldKind is what a field is, as Lua's types and objects.
func FieldKind(name string) []string { return signatureOf(name).field.luaTypes() }

// Rights are what a function needs.
func Rights(name string) (out []string) {
	for _, r := range signatureOf(name).rights {
		out = append(out, string(r))
	}
	return out
}

// Check is what a check finds in a text beside what loading does.
func Check(text string, bundle bool) ([]error, error) {
	u := &loadedSource{strict: true}
	f := &source.File{Path: "a.lua", Name: "a.lua", Text: text}
	if bundle {
		u.src.Bundle = "acme/x"
	}
	chunk, err := f.Parse()
	if err != nil {
		return nil, err
	}
	return u.check(f, chunk), nil
}
