package lua

import (
	"carteiro/hooks/lua/signature"
	"carteiro/hooks/lua/source"
)

// SignatureKeys are the names that signatures.txt has, and what is wrong with
// it.
func SignatureKeys() (map[string]bool, error) {
	all, err := signature.All()
	keys := map[string]bool{}
	for name := range all {
		keys[name] = true
	}
	return keys, err
}

// ParameterForTest is one of a function's, for tests.
type ParameterForTest struct {
	Name     string
	Kind     string   // the first alternative
	Plain    []string // Lua's types and objects
	Optional bool
	Keys     []ParameterForTest // of a table
}

// Forms are the parameters of a function's forms.
func Forms(name string) (out [][]ParameterForTest) {
	for _, f := range signature.Of(name).Forms {
		var one []ParameterForTest
		for _, p := range f.Params {
			one = append(one, parameterForTest(p))
		}
		if f.Variadic != nil {
			one = append(one, parameterForTest(signature.Parameter{Name: "...", Kind: f.Variadic, Optional: true}))
		}
		out = append(out, one)
	}
	return out
}

func parameterForTest(p signature.Parameter) ParameterForTest {
	out := ParameterForTest{Name: p.Name, Kind: p.Kind[0].Name, Plain: p.Kind.LuaTypes(), Optional: p.Optional}
	for _, k := range p.Kind[0].Keys {
		out.Keys = append(out.Keys, parameterForTest(k))
	}
	return out
}

// FieldKind is what a field is, as Lua's types and objects.
func FieldKind(name string) []string { return signature.Of(name).Field.LuaTypes() }

// Rights are what a function needs.
func Rights(name string) (out []string) {
	for _, r := range signature.Of(name).Rights {
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
