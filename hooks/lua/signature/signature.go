// Package signature has the types of the Lua API: what each function takes and
// returns, what each field is, and which rights a bundle needs for it. They are
// written in signatures.txt; checks and the annotations for editors use them.
package signature

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"carteiro/hooks"
)

// signaturesText has the types of the whole Lua API, see its first lines.
//
//go:embed signatures.txt
var signaturesText string

// Kind is what a value may be: one of several alternatives.
type Kind []Alternative

// Alternative is a type by its name; of lists, tables and iterators also what
// is in them.
type Alternative struct {
	Name string      // "string", "msg", "[]", "{}", "fun"
	Of   Kind        // elements of a list, or what an iterator gives
	Keys []Parameter // of a table
	Open bool        // a table that may have other keys
}

// Parameter is one of a function's, or a key of a table.
type Parameter struct {
	Name     string
	Kind     Kind
	Optional bool
}

// Form is one way to call a function.
type Form struct {
	Params   []Parameter
	Variadic Kind // of what stands for "...", or nil
}

// Signature is what a function takes and returns, or what a field is.
type Signature struct {
	Forms   []Form
	Results []Kind
	Rights  []hooks.Right
	Field   Kind // of a field, else nil
}

// All returns the signatures of the API, by "name", "module.name", "class:method"
// and "class.field", and what is wrong with signatures.txt.
func All() (map[string]*Signature, error) { return readAll() }

var readAll = sync.OnceValues(func() (map[string]*Signature, error) {
	out := map[string]*Signature{}
	for n, line := range strings.Split(signaturesText, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		p := &signatureReader{text: line}
		name, s, err := p.read()
		if err != nil {
			return nil, fmt.Errorf("signatures.txt:%d: %w", n+1, err)
		}
		if had := out[name]; had != nil { // another form
			had.Forms = append(had.Forms, s.Forms...)
			continue
		}
		out[name] = s
	}
	return out, nil
})

// Of returns what is known of a name, or nil.
func Of(name string) *Signature {
	all, _ := All() // a test reads the errors
	return all[name]
}

// signatureReader reads one line.
type signatureReader struct {
	text string
	at   int
}

func (p *signatureReader) read() (string, *Signature, error) {
	s := &Signature{}
	end := strings.IndexAny(p.text, "( ")
	if end < 0 {
		return "", nil, fmt.Errorf("no type in %q", p.text)
	}
	name := strings.TrimSuffix(p.text[:end], ":")
	p.at = end
	if p.text[end] == ' ' {
		var err error
		if s.Field, err = p.kind(); err != nil {
			return name, nil, err
		}
		return name, s, p.needs(s)
	}
	p.take("(")
	var f Form
	for !p.take(")") {
		one, err := p.parameter()
		if err != nil {
			return name, nil, err
		}
		if one.Name == "..." {
			f.Variadic = one.Kind
		} else {
			f.Params = append(f.Params, one)
		}
		p.take(",")
	}
	s.Forms = []Form{f}
	if p.take("->") {
		for {
			k, err := p.kind()
			if err != nil {
				return name, nil, err
			}
			s.Results = append(s.Results, k)
			if !p.take(",") {
				break
			}
		}
	}
	return name, s, p.needs(s)
}

// needs reads the rights at the end of a line.
func (p *signatureReader) needs(s *Signature) error {
	if p.take("needs ") {
		for _, r := range strings.Fields(p.text[p.at:]) {
			s.Rights = append(s.Rights, hooks.Right(r))
		}
		p.at = len(p.text)
	}
	if p.at < len(p.text) {
		return fmt.Errorf("%q is not understood", p.text[p.at:])
	}
	return nil
}

func (p *signatureReader) take(word string) bool {
	p.at += len(p.text[p.at:]) - len(strings.TrimLeft(p.text[p.at:], " "))
	if !strings.HasPrefix(p.text[p.at:], word) {
		return false
	}
	p.at += len(word)
	return true
}

func (p *signatureReader) word() string {
	p.take("")
	n := strings.IndexFunc(p.text[p.at:], func(r rune) bool {
		return r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if n < 0 {
		n = len(p.text) - p.at
	}
	p.at += n
	return p.text[p.at-n : p.at]
}

func (p *signatureReader) parameter() (one Parameter, err error) {
	one.Name = p.word()
	one.Optional = p.take("?")
	if one.Name == "" || !p.take(":") {
		return one, fmt.Errorf("a parameter was expected at %q", p.text[p.at:])
	}
	one.Kind, err = p.kind()
	return one, err
}

func (p *signatureReader) kind() (Kind, error) {
	var out Kind
	for {
		a := Alternative{}
		switch {
		case p.take("{"):
			a.Name = "{}"
			for !p.take("}") {
				if p.take("...") {
					a.Open = true
					continue
				}
				key, err := p.parameter()
				if err != nil {
					return nil, err
				}
				a.Keys = append(a.Keys, key)
				p.take(",")
			}
		case p.take("fun():"):
			of, err := p.kind()
			if err != nil {
				return nil, err
			}
			a.Name, a.Of = "fun", of
		case p.take(`"`): // that text and no other
			text, _, _ := strings.Cut(p.text[p.at:], `"`)
			a.Name = `"` + text + `"`
			p.at += len(text) + 1
		default:
			if a.Name = p.word(); a.Name == "" {
				return nil, fmt.Errorf("a type was expected at %q", p.text[p.at:])
			}
		}
		for p.take("[]") {
			a = Alternative{Name: "[]", Of: Kind{a}}
		}
		out = append(out, a)
		if !p.take("|") {
			return out, nil
		}
	}
}

// luaTypes are the names that texts and numbers of a special form have for
// Lua.
var luaTypes = map[string]string{"pattern": "string", "re2": "string", "address": "string", "text": "string", "value": "any",
	"rate": "string", "enhanced4": "string", "enhanced5": "string",
	"code4": "number", "status": "number", "code5": "number", "duration": "string|number", "[]": "table", "{}": "table", "fun": "function"}

// LuaTypes returns the names of the Lua types and objects that a kind allows.
func (k Kind) LuaTypes() (out []string) {
	for _, a := range k {
		name := a.Name
		if t, ok := luaTypes[name]; ok {
			name = t
		}
		if name[0] == '"' {
			name = "string"
		}
		for one := range strings.SplitSeq(name, "|") {
			if !slices.Contains(out, one) {
				out = append(out, one)
			}
		}
	}
	return out
}

// Single returns the only alternative but nil, if there is no other.
func (k Kind) Single() (Alternative, bool) {
	var found Alternative
	n := 0
	for _, a := range k {
		if a.Name != "nil" {
			found, n = a, n+1
		}
	}
	return found, n == 1
}

// String returns how editors write it.
func (k Kind) String() string {
	var out []string
	for _, a := range k {
		one := a.Name
		switch one {
		case "[]":
			one = a.Of.String() + "[]"
			if len(a.Of) > 1 {
				one = "(" + a.Of.String() + ")[]"
			}
		case "{}":
			var keys []string
			for _, p := range a.Keys {
				mark := ""
				if p.Optional {
					mark = "?"
				}
				keys = append(keys, p.Name+mark+": "+p.Kind.String())
			}
			one = "{ " + strings.Join(keys, ", ") + " }"
		case "fun":
			one = "fun(): " + a.Of.String()
		default:
			if t, ok := luaTypes[one]; ok {
				one = t
			}
		}
		out = append(out, one)
	}
	return strings.Join(out, "|")
}

// Has reports whether the kind has an alternative of that name.
func (k Kind) Has(name string) bool {
	return slices.ContainsFunc(k, func(a Alternative) bool { return a.Name == name })
}

// LuaType returns the Lua type of an alternative, or its name if it has none.
func LuaType(name string) string {
	if t, ok := luaTypes[name]; ok {
		return t
	}
	return name
}
