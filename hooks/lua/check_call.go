package lua

import (
	"fmt"
	"slices"
	"strings"

	"carteiro/hooks/lua/signature"

	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// call checks a call: of a function of the API, of a method of a known object, or
// of anything else. It returns what is known of the results.
func (c *checker) call(e *ast.FuncCallExpr) []signature.Kind {
	if e.Func == nil {
		return c.methodCall(e)
	}
	name := ""
	switch f := e.Func.(type) {
	case *ast.IdentExpr:
		if c.isBuiltin(f) {
			name = f.Value
			if m := moduleNamed(name); m != nil {
				c.report(e.Line(), name, name+" is a module, not a function",
					"write "+name+"."+m.functions[0].name+"(...) or another of its functions")
			}
		} else {
			c.expr(f)
		}
	case *ast.AttrGetExpr:
		if results, done := c.dotCall(e, f); done {
			return results
		}
		key, ok1 := f.Key.(*ast.StringExpr)
		id, ok2 := f.Object.(*ast.IdentExpr)
		if ok1 && ok2 && c.isBuiltin(id) {
			name = id.Value + "." + key.Value
		}
		c.expr(f)
	default:
		c.expr(f)
	}
	c.exprs(e.Args)
	if name == "on" {
		c.checkOn(e)
		return nil
	}
	s := signature.Of(name)
	if s == nil {
		return nil
	}
	c.checkPlace(e, name)
	c.checkArguments(e, name, s, e.Args, 0)
	c.checkRights(e, name, s)
	if name == "unpack" || name == "select" || strings.HasPrefix(name, "string.") && s.Results[len(s.Results)-1].String() == "any" {
		return nil // as many as there are
	}
	return s.Results
}

// dotCall checks the call of a method that is written with a dot: its object then
// is the first argument.
func (c *checker) dotCall(e *ast.FuncCallExpr, f *ast.AttrGetExpr) (results []signature.Kind, done bool) {
	key, ok := f.Key.(*ast.StringExpr)
	cl := c.classOf(f.Object)
	if !ok || cl == nil {
		return nil, false
	}
	if cl.index == nil && cl.field(key.Value) != nil {
		c.expr(f)
		c.reportCalledField(e, cl, key.Value)
		c.exprs(e.Args)
		return nil, true
	}
	if cl.method(key.Value) == nil {
		return nil, false
	}
	if len(e.Args) == 0 {
		c.report(e.Line(), key.Value, cl.name+"."+key.Value+" is a method and is called with a colon",
			"write "+cl.name+":"+key.Value+"(...)")
		return nil, true
	}
	first := c.expr(e.Args[0])
	if a, known := first.Single(); known && a.Name != cl.name {
		c.report(e.Line(), key.Value, cl.name+"."+key.Value+" is a method and is called with a colon",
			"write "+cl.name+":"+key.Value+"(...)")
		return nil, true
	}
	c.exprs(e.Args[1:])
	if s := signature.Of(cl.name + ":" + key.Value); s != nil {
		for _, r := range s.Rights {
			if r != hooks.HeadersWrite {
				c.checkRight(e.Line(), key.Value, cl.name+":"+key.Value, r)
			}
		}
		return s.Results, true
	}
	return nil, true
}

// reportCalledField reports a field of plain data that is called.
func (c *checker) reportCalledField(e *ast.FuncCallExpr, cl *class, name string) {
	s := signature.Of(cl.name + "." + name)
	if s == nil {
		return
	}
	data := func(a signature.Alternative) bool {
		return a.Name != "any" && a.Name != "value" && a.Name != "function" && a.Name != "fun"
	}
	if len(s.Field) > 0 && !slices.ContainsFunc(s.Field, func(a signature.Alternative) bool { return !data(a) }) {
		c.report(e.Line(), name, cl.name+"."+name+" is a field, not a method", "write "+cl.name+"."+name)
	}
}

func (c *checker) methodCall(e *ast.FuncCallExpr) []signature.Kind {
	if id, ok := e.Receiver.(*ast.IdentExpr); ok {
		if o, ok := c.origins[c.names.Uses[id]]; ok && o.absent && !c.facts.valued[c.names.Uses[id]] {
			c.report(e.Line(), id.Value, fmt.Sprintf("%s is nil: %s has %s", id.Value, o.spec.Point, argumentList(o.spec)), "")
		}
		if c.isBuiltin(id) && moduleNamed(id.Value) != nil {
			c.report(e.Line(), e.Method, id.Value+"."+e.Method+" is called with a dot", "write "+id.Value+"."+e.Method+"(...)")
			return nil
		}
	}
	k := c.expr(e.Receiver)
	c.exprs(e.Args)
	a, ok := k.Single()
	if !ok {
		return nil
	}
	at := &ast.AttrGetExpr{Object: e.Receiver, Key: &ast.StringExpr{Value: e.Method}}
	at.SetLine(e.Line())
	at.SetLastLine(e.LastLine())
	switch a.Name {
	case "string":
		s := signature.Of("string." + e.Method)
		if s == nil {
			c.member(at)
			return nil
		}
		c.checkArguments(e, "string."+e.Method, s, append([]ast.Expr{e.Receiver}, e.Args...), 1)
		if s.Results[len(s.Results)-1].String() == "any" {
			return nil
		}
		return s.Results
	case "number", "boolean":
		c.member(at)
		return nil
	}
	cl := classNamed(a.Name)
	if cl == nil || cl.index != nil {
		return nil
	}
	if cl.field(e.Method) != nil {
		c.reportCalledField(e, cl, e.Method)
		return nil
	}
	if cl.method(e.Method) == nil {
		c.reportMissing(at, cl, e.Method)
		return nil
	}
	s := signature.Of(cl.name + ":" + e.Method)
	if s == nil {
		return nil
	}
	c.checkArguments(e, cl.name+":"+e.Method, s, e.Args, 0)
	c.checkRights(e, cl.name+":"+e.Method, s)
	return s.Results
}

// checkPlace reports what works only while files load.
func (c *checker) checkPlace(e *ast.FuncCallExpr, name string) {
	if c.handler != nil && slices.Contains([]string{"map.open", "require", "cache.memoize"}, name) {
		c.report(e.Line(), lastWord(name), name+" belongs at the top of the file, not inside a handler",
			"write local x = "+name+"(...) above on(...)")
	}
}

func lastWord(name string) string {
	return name[strings.LastIndexAny(name, ".:")+1:]
}

// checkArguments compares what a call is given with each form of the function.
func (c *checker) checkArguments(e *ast.FuncCallExpr, name string, s *signature.Signature, args []ast.Expr, self int) {
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
func (c *checker) checkForm(f signature.Form, name string, args []ast.Expr) (at int, why string) {
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
func (c *checker) mismatch(p signature.Parameter, e ast.Expr) string {
	if p.Kind.Has("any") || p.Kind.Has("value") {
		return ""
	}
	if t, ok := e.(*ast.TableExpr); ok {
		return c.mismatchTable(p, t)
	}
	c.quiet++
	k := c.expr(e)
	c.quiet--
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
func (c *checker) mismatchTable(p signature.Parameter, t *ast.TableExpr) string {
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

func (c *checker) mismatchKeys(p signature.Parameter, a signature.Alternative, t *ast.TableExpr) string {
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

// checkRights reports what a bundle has to declare for a call.
func (c *checker) checkRights(e *ast.FuncCallExpr, name string, s *signature.Signature) {
	if name == "redirect" { // told where verdicts are
		return
	}
	for _, r := range s.Rights {
		if r == hooks.HeadersWrite && !c.isForeignField(e) {
			continue
		}
		c.checkRight(e.Line(), lastWord(name), name, r)
	}
}

// isForeignField reports whether the first argument is certain to be the name of
// a header field that is not the bundle's own.
func (c *checker) isForeignField(e *ast.FuncCallExpr) bool {
	if len(e.Args) == 0 {
		return false
	}
	name, ok := e.Args[0].(*ast.StringExpr)
	own := hooks.OwnPrefix(c.source.src.Bundle)
	return ok && (len(name.Value) <= len(own) || !strings.EqualFold(name.Value[:len(own)], own))
}

func (c *checker) checkRight(line int, near, name string, r hooks.Right) {
	if !c.source.src.Grants.Has(r) {
		hint := "declare it under [capabilities] message"
		if r == hooks.HeadersWrite {
			hint += ", or begin the name with " + hooks.OwnPrefix(c.source.src.Bundle)
		}
		c.report(line, near, fmt.Sprintf("%s needs the right %q", name, string(r)), hint)
	}
}
