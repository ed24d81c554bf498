package lua

import (
	"fmt"
	"slices"
	"strings"

	"carteiro/hooks/lua/signature"

	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// valueChecker judges the values that functions, fields and hooks of the API are given.
// It asks the walk what a value is, which reports nothing.
type valueChecker struct {
	*findings
	kindOf func(e ast.Expr) signature.Kind
}

func lastWord(name string) string {
	return name[strings.LastIndexAny(name, ".:")+1:]
}

// checkArguments compares what a call is given with each form of the function.
func (c valueChecker) checkArguments(e *ast.FuncCallExpr, name string, s *signature.Signature, args []ast.Expr) {
	best, text := -1, ""
	for _, f := range s.Forms {
		if tooShort(f, args) && !tooShort(s.Forms[len(s.Forms)-1], args) {
			continue // another form was meant
		}
		at, why := c.checkForm(f, name, args)
		if why == "" {
			text = ""
			break
		}
		// The form with as many parameters is the one that was meant.
		if len(f.Params) == len(args) {
			at += 100
		}
		if at > best {
			best, text = at, why
		}
	}
	if text != "" {
		c.report(e.Line(), lastWord(name), text, "it is called as "+usageOf(name))
		return
	}
	c.checkConstants(e, name, s, args)
}

// tooShort reports whether a form has fewer parameters than there are arguments.
func tooShort(f signature.Form, args []ast.Expr) bool {
	return f.Variadic == nil && len(f.Params) < len(args)
}

// checkForm returns what is wrong with the arguments for one form, and which of them.
func (c valueChecker) checkForm(f signature.Form, name string, args []ast.Expr) (at int, why string) {
	known := len(args)
	if n := len(args); n > 0 && hasSeveralValues(args[n-1]) {
		known-- // how many values there are is not known
	}
	for i, p := range f.Params {
		switch {
		case i < known:
			p.Name = name + ": " + p.Name
			if why := c.mismatch(p, args[i]); why != "" {
				return i, why
			}
		case known < len(args): // what several values give
			return 0, ""
		case !p.Optional && !p.Kind.Has("any"): // a nil has to be written
			return i, name + " needs " + p.Name
		}
	}
	for i := len(f.Params); i < known; i++ {
		if f.Variadic != nil {
			if why := c.mismatch(signature.Parameter{Name: name + ": argument " + fmt.Sprint(i+1), Kind: f.Variadic}, args[i]); why != "" {
				return i, why
			}
		}
	}
	return 0, ""
}

func hasSeveralValues(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		return !e.AdjustRet
	case *ast.Comma3Expr:
		return !e.AdjustRet
	}
	return false
}

// mismatch says why a value is nothing for a parameter, or "".
func (c valueChecker) mismatch(p signature.Parameter, e ast.Expr) string {
	if p.Kind.Has("any") || p.Kind.Has("value") {
		return ""
	}
	if t, ok := e.(*ast.TableExpr); ok {
		return c.mismatchTable(p, t)
	}
	k := c.kindOf(e)
	if k == nil || k.Has("any") {
		return ""
	}
	if _, isNil := e.(*ast.NilExpr); isNil && (p.Optional || p.Kind.Has("nil")) {
		return ""
	}
	for _, a := range k {
		if a.Name == "nil" && len(k) > 1 {
			continue // it may be another value
		}
		if accepts(p.Kind, a.Name) {
			return c.mismatchConstant(p, e)
		}
	}
	if n, ok := e.(*ast.NumberExpr); ok && p.Kind.Has("text") {
		return fmt.Sprintf("%s must be a string, got %s", p.Name, n.Value)
	}
	a, _ := k.Single()
	if a.Name == "" {
		a.Name = "nil"
	}
	return fmt.Sprintf("%s must be %s, got %s", p.Name, inWords(p.Kind), inWords(signature.Kind{a}))
}

// accepts reports whether Lua's type or an object may stand for a parameter:
// numbers do for texts, as in Lua, and texts may for numbers.
func accepts(k signature.Kind, name string) bool {
	name = signature.LuaType(name)
	for _, want := range k.LuaTypes() {
		if want == name || want == "string" && name == "number" && !k.Has("text") || want == "number" && name == "string" ||
			want == "table" && classNamed(name) != nil || want == "function" && name == "table" {
			return true
		}
	}
	return false
}

// inWords returns a kind in words.
func inWords(k signature.Kind) string {
	var out []string
	for _, a := range k {
		word := a.Name
		switch word {
		case "nil":
			if len(k) > 1 {
				continue
			}
		case "[]":
			word = "a list"
		case "{}", "table":
			word = "a table"
		case "string", "text", "address", "pattern", "re2", "rate", "enhanced4", "enhanced5":
			word = "a string"
		case "number", "status", "code4", "code5":
			word = "a number"
		case "duration":
			word = `a duration such as "5m"`
		case "function", "fun":
			word = "a function"
		case "boolean":
			word = "true or false"
		default:
			if word[0] != '"' {
				word = "a " + word
			}
		}
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return strings.Join(out, " or ")
}

// mismatchTable compares a table that is written out with what a function takes.
func (c valueChecker) mismatchTable(p signature.Parameter, t *ast.TableExpr) string {
	for _, a := range p.Kind {
		switch a.Name {
		case "table", "function":
			return ""
		case "[]":
			for _, f := range t.Fields {
				if f.Key == nil {
					if why := c.mismatch(signature.Parameter{Name: p.Name, Kind: a.Of}, f.Value); why != "" {
						return why
					}
				}
			}
			return ""
		case "{}":
			return c.mismatchKeys(p, a, t)
		}
	}
	return fmt.Sprintf("%s must be %s, got a table", p.Name, inWords(p.Kind))
}

func (c valueChecker) mismatchKeys(p signature.Parameter, a signature.Alternative, t *ast.TableExpr) string {
	var known []string
	for _, k := range a.Keys {
		known = append(known, k.Name)
	}
	for _, f := range t.Fields {
		key, ok := f.Key.(*ast.StringExpr)
		if !ok {
			continue
		}
		i := slices.Index(known, key.Value)
		if i < 0 {
			return fmt.Sprintf("%s has no %s%s", p.Name, key.Value, hooks.Suggestion(key.Value, known))
		}
		one := a.Keys[i]
		one.Name = p.Name + "." + one.Name
		if why := c.mismatch(one, f.Value); why != "" {
			return why
		}
	}
	return ""
}

// usageOf returns how a function is called.
func usageOf(name string) string {
	for _, e := range API() {
		if e.Kind == "function" && e.Name == name || e.Kind == "" && strings.HasPrefix(e.Signature, name) &&
			len(e.Signature) > len(name) && strings.ContainsRune("({", rune(e.Signature[len(name)])) {
			return e.Signature
		}
	}
	return name + "(...)"
}
