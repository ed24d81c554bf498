package lua

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

// kind is what a value may be: one of several alternatives.
type kind []alternative

// alternative is a type by its name; of lists, tables and iterators also what
// is in them.
type alternative struct {
	name string      // "string", "msg", "[]", "{}", "fun"
	of   kind        // elements of a list, or what an iterator gives
	keys []parameter // of a table
	open bool        // a table that may have other keys
}

// parameter is one of a function's, or a key of a table.
type parameter struct {
	name     string
	kind     kind
	optional bool
}

// form is one way to call a function.
type form struct {
	params   []parameter
	variadic kind // of what stands for "...", or nil
}

// signature is what a function takes and returns, or what a field is.
type signature struct {
	forms   []form
	results []kind
	rights  []hooks.Right
	field   kind // of a field, else nil
}

// signatures are those of the API, by "name", "module.name", "class:method"
// and "class.field".
var signatures = sync.OnceValues(func() (map[string]*signature, error) {
	out := map[string]*signature{}
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
			had.forms = append(had.forms, s.forms...)
			continue
		}
		out[name] = s
	}
	return out, nil
})

// signatureOf returns what is known of a name, or nil.
func signatureOf(name string) *signature {
	all, _ := signatures() // a test reads the errors
	return all[name]
}

// signatureReader reads one line.
type signatureReader struct {
	text string
	at   int
}

func (p *signatureReader) read() (string, *signature, error) {
	s := &signature{}
	end := strings.IndexAny(p.text, "( ")
	if end < 0 {
		return "", nil, fmt.Errorf("no type in %q", p.text)
	}
	name := strings.TrimSuffix(p.text[:end], ":")
	p.at = end
	if p.text[end] == ' ' {
		var err error
		if s.field, err = p.kind(); err != nil {
			return name, nil, err
		}
		return name, s, p.needs(s)
	}
	p.take("(")
	var f form
	for !p.take(")") {
		one, err := p.parameter()
		if err != nil {
			return name, nil, err
		}
		if one.name == "..." {
			f.variadic = one.kind
		} else {
			f.params = append(f.params, one)
		}
		p.take(",")
	}
	s.forms = []form{f}
	if p.take("->") {
		for {
			k, err := p.kind()
			if err != nil {
				return name, nil, err
			}
			s.results = append(s.results, k)
			if !p.take(",") {
				break
			}
		}
	}
	return name, s, p.needs(s)
}

// needs reads the rights at the end of a line.
func (p *signatureReader) needs(s *signature) error {
	if p.take("needs ") {
		for _, r := range strings.Fields(p.text[p.at:]) {
			s.rights = append(s.rights, hooks.Right(r))
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

func (p *signatureReader) parameter() (one parameter, err error) {
	one.name = p.word()
	one.optional = p.take("?")
	if one.name == "" || !p.take(":") {
		return one, fmt.Errorf("a parameter was expected at %q", p.text[p.at:])
	}
	one.kind, err = p.kind()
	return one, err
}

func (p *signatureReader) kind() (kind, error) {
	var out kind
	for {
		a := alternative{}
		switch {
		case p.take("{"):
			a.name = "{}"
			for !p.take("}") {
				if p.take("...") {
					a.open = true
					continue
				}
				key, err := p.parameter()
				if err != nil {
					return nil, err
				}
				a.keys = append(a.keys, key)
				p.take(",")
			}
		case p.take("fun():"):
			of, err := p.kind()
			if err != nil {
				return nil, err
			}
			a.name, a.of = "fun", of
		case p.take(`"`): // that text and no other
			text, _, _ := strings.Cut(p.text[p.at:], `"`)
			a.name = `"` + text + `"`
			p.at += len(text) + 1
		default:
			if a.name = p.word(); a.name == "" {
				return nil, fmt.Errorf("a type was expected at %q", p.text[p.at:])
			}
		}
		for p.take("[]") {
			a = alternative{name: "[]", of: kind{a}}
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

// luaTypes returns the names of the Lua types and objects that a kind allows.
func (k kind) luaTypes() (out []string) {
	for _, a := range k {
		name := a.name
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

// single returns the only alternative but nil, if there is no other.
func (k kind) single() (alternative, bool) {
	var found alternative
	n := 0
	for _, a := range k {
		if a.name != "nil" {
			found, n = a, n+1
		}
	}
	return found, n == 1
}

// String returns how editors write it.
func (k kind) String() string {
	var out []string
	for _, a := range k {
		one := a.name
		switch one {
		case "[]":
			one = a.of.String() + "[]"
			if len(a.of) > 1 {
				one = "(" + a.of.String() + ")[]"
			}
		case "{}":
			var keys []string
			for _, p := range a.keys {
				mark := ""
				if p.optional {
					mark = "?"
				}
				keys = append(keys, p.name+mark+": "+p.kind.String())
			}
			one = "{ " + strings.Join(keys, ", ") + " }"
		case "fun":
			one = "fun(): " + a.of.String()
		default:
			if t, ok := luaTypes[one]; ok {
				one = t
			}
		}
		out = append(out, one)
	}
	return strings.Join(out, "|")
}
