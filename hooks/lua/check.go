package lua

import (
	"fmt"
	"slices"
	"strings"

	"carteiro/hooks/lua/signature"

	"carteiro/hooks/lua/source"

	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// checker finds what is certain to fail when the code runs, from the text
// alone: it knows the classes of handlers' parameters and the signatures of
// the API. Such code raises an error only when it runs, so the policy
// loads; only checks refuse it.
//
// It reports nothing about values that it does not know: variables that are
// assigned again or asked for their type, and code that pcall watches.
type checker struct {
	source *loadedSource
	file   *source.File
	names  *source.Names
	facts  *facts

	kinds   map[*source.Variable]signature.Kind
	origins map[*source.Variable]origin
	handler *hooks.Spec // in whose handler the walk is, or nil
	quiet   int         // code whose errors are caught, in so many ways
	errs    []error
}

// origin is where a variable's kind comes from: a parameter of a handler.
type origin struct {
	spec   hooks.Spec
	index  int
	absent bool // the hook gives no such argument
}

// check returns the faults of a chunk. It changes nothing in it.
func (u *loadedSource) check(f *source.File, chunk []ast.Stmt) []error {
	c := &checker{
		source:  u,
		file:    f,
		names:   source.Resolve(f, chunk),
		kinds:   map[*source.Variable]signature.Kind{},
		origins: map[*source.Variable]origin{},
	}
	c.facts = gatherFacts(chunk, c.names, u.mayCatch(f.Path))
	c.stmts(chunk)
	return c.errs
}

// mayCatch reports whether a file other than that one may call under pcall what
// it is given.
func (u *loadedSource) mayCatch(path string) bool {
	if len(u.src.Requires) > 0 {
		return true
	}
	for name, text := range u.src.Files {
		if name != path && strings.HasSuffix(name, ".lua") && strings.Contains(string(text), "pcall") {
			return true
		}
	}
	return false
}

func (c *checker) report(line int, near, text, hint string) {
	if c.quiet == 0 {
		c.errs = append(c.errs, c.file.Fault(line, 0, near, text, hint))
	}
}

func (c *checker) stmts(list []ast.Stmt) {
	for _, s := range list {
		c.stmt(s)
	}
}

func (c *checker) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		for i, e := range s.Lhs {
			if target, ok := e.(*ast.AttrGetExpr); ok {
				var value ast.Expr
				if i < len(s.Rhs) {
					value = s.Rhs[i]
				}
				c.assign(target, value)
			}
		}
		c.exprs(s.Rhs)
	case *ast.LocalAssignStmt:
		c.local(s)
	case *ast.FuncCallStmt:
		c.expr(s.Expr)
	case *ast.DoBlockStmt:
		c.stmts(s.Stmts)
	case *ast.WhileStmt:
		c.expr(s.Condition)
		c.stmts(s.Stmts)
	case *ast.RepeatStmt:
		c.stmts(s.Stmts)
		c.expr(s.Condition)
	case *ast.IfStmt:
		c.expr(s.Condition)
		switch s.Condition.(type) {
		case *ast.FalseExpr, *ast.NilExpr: // switched off
		default:
			c.stmts(s.Then)
		}
		c.stmts(s.Else)
	case *ast.NumberForStmt:
		c.expr(s.Init)
		c.expr(s.Limit)
		if s.Step != nil {
			c.expr(s.Step)
		}
		for _, v := range c.names.Declared[s] {
			c.setKind(v, signature.Kind{{Name: "number"}})
		}
		c.stmts(s.Stmts)
	case *ast.GenericForStmt:
		c.loop(s)
	case *ast.FuncDefStmt:
		if s.Name.Func == nil {
			c.expr(s.Name.Receiver)
		}
		c.function(s.Func)
	case *ast.ReturnStmt:
		c.exprs(s.Exprs)
	}
}

// setKind notes what a variable is, where it stays so.
func (c *checker) setKind(v *source.Variable, k signature.Kind) {
	if v != nil && !v.Assigned && !c.facts.asked[v] && k != nil {
		c.kinds[v] = k
	}
}

func (c *checker) local(s *ast.LocalAssignStmt) {
	declared := c.names.Declared[s]
	for i, e := range s.Exprs {
		kinds := c.values(e)
		switch {
		case i < len(s.Exprs)-1:
			if i < len(declared) && len(kinds) > 0 {
				c.setKind(declared[i], kinds[0])
			}
		default: // the last one fills the variables that are left
			for n := i; n < len(declared) && n-i < len(kinds); n++ {
				c.setKind(declared[n], kinds[n-i])
			}
		}
	}
}

// loop knows what ipairs of a list and an iterator of ours give.
func (c *checker) loop(s *ast.GenericForStmt) {
	declared := c.names.Declared[s]
	var given signature.Kind
	at := 0
	if call, ok := s.Exprs[0].(*ast.FuncCallExpr); ok && len(s.Exprs) == 1 {
		if id, ok := call.Func.(*ast.IdentExpr); ok && c.isBuiltin(id) && id.Value == "ipairs" && len(call.Args) == 1 {
			if list, ok := c.expr(call.Args[0]).Single(); ok && list.Name == "fun" {
				c.report(call.Line(), "ipairs", "ipairs is for lists, but this is an iterator", "write for ... in without ipairs")
			} else if ok && list.Name == "[]" {
				given, at = list.Of, 1
				c.setKind(declared[0], signature.Kind{{Name: "number"}})
			}
		} else if kinds := c.values(call); len(kinds) > 0 {
			if it, ok := kinds[0].Single(); ok && it.Name == "fun" {
				given = it.Of
			} else if ok {
				c.reportNotIterable(s, it.Name)
			}
		}
	} else {
		k, ok := c.expr(s.Exprs[0]).Single()
		c.exprs(s.Exprs[1:])
		if ok && len(s.Exprs) == 1 {
			c.reportNotIterable(s, k.Name)
		}
	}
	if at < len(declared) {
		c.setKind(declared[at], given)
	}
	c.stmts(s.Stmts)
}

// reportNotIterable reports a loop over something that is not a function.
func (c *checker) reportNotIterable(s *ast.GenericForStmt, name string) {
	const text = "a for loop needs ipairs, pairs or an iterator such as msg:parts(), but this is "
	_, written := s.Exprs[0].(*ast.TableExpr)
	switch {
	case name == "function":
		c.reportUncalledMethod(s.Exprs[0])
	case name == "[]":
		c.report(s.Line(), "in", text+"a list", "write for i, value in ipairs(...) do")
	case written: // another one may have __call
		c.report(s.Line(), "in", text+"a table", "write for key, value in pairs(...) do")
	case slices.Contains([]string{"string", "number", "boolean", "nil"}, name):
		c.report(s.Line(), "in", text+"a "+name, "")
	case classNamed(name) != nil:
		c.report(s.Line(), "in", text+"the object "+name, "")
	}
}

// function walks over a function: a handler knows what its parameters are, and
// what is called under pcall may fail.
func (c *checker) function(f *ast.FunctionExpr) {
	handler := c.handler
	if spec, ok := c.facts.handlers[f]; ok {
		c.handler = &spec
		c.setParameterKinds(f, spec)
		c.checkReturns(f, spec)
	}
	if c.facts.watched[f] {
		c.quiet++
		defer func() { c.quiet-- }()
	}
	c.stmts(f.Stmts)
	c.handler = handler
}

// argumentKinds are the kinds of arguments that are not objects.
var argumentKinds = map[string]signature.Kind{"name": {{Name: "string"}}, "key": {{Name: "string"}}, "now": {{Name: "number"}},
	"domain": {{Name: "string"}, {Name: "nil"}}, "rcpts": {{Name: "[]", Of: signature.Kind{{Name: "rcpt"}}}}}

// argumentKind returns what an argument of a handler is.
func argumentKind(name string) signature.Kind {
	if k, ok := argumentKinds[name]; ok {
		return k
	}
	return signature.Kind{{Name: name}}
}

func (c *checker) setParameterKinds(f *ast.FunctionExpr, spec hooks.Spec) {
	for i, v := range c.names.Declared[f] {
		if v.Assigned || c.facts.asked[v] {
			continue
		}
		c.origins[v] = origin{spec: spec, index: i, absent: i >= len(spec.Args)}
		if i < len(spec.Args) {
			c.setKind(v, argumentKind(spec.Args[i]))
		}
	}
}

// checkReturns reports results of a handler that are not verdicts.
func (c *checker) checkReturns(f *ast.FunctionExpr, spec hooks.Spec) {
	for _, ret := range returnStatements(f.Stmts, nil) {
		if len(ret.Exprs) == 0 {
			continue
		}
		got := ""
		switch e := ret.Exprs[0].(type) {
		case *ast.StringExpr:
			got = fmt.Sprintf("%q", cut(e.Value))
		case *ast.NumberExpr:
			got = e.Value
		case *ast.TrueExpr:
			got = "true"
		case *ast.FalseExpr:
			got = "false"
		case *ast.TableExpr:
			got = "a table"
		case *ast.FunctionExpr:
			got = "a function"
		default:
			continue
		}
		c.report(ret.Line(), "return", "a handler returns a verdict or nothing, not a value such as "+got, "verdicts of "+
			string(spec.Point)+" are made by "+verdictList(spec))
	}
}

func (c *checker) exprs(list []ast.Expr) {
	for _, e := range list {
		c.expr(e)
	}
}

// expr walks over an expression and returns what it is, nil where that is not
// known.
func (c *checker) expr(e ast.Expr) signature.Kind {
	if kinds := c.values(e); len(kinds) > 0 {
		return kinds[0]
	}
	return nil
}

// values is expr for all values of an expression that may have several.
func (c *checker) values(e ast.Expr) []signature.Kind {
	one := func(name string) []signature.Kind { return []signature.Kind{{{Name: name}}} }
	switch e := e.(type) {
	case *ast.StringExpr:
		return one("string")
	case *ast.NumberExpr:
		return one("number")
	case *ast.TrueExpr, *ast.FalseExpr:
		return one("boolean")
	case *ast.NilExpr:
		return one("nil")
	case *ast.IdentExpr:
		if v := c.names.Uses[e]; v != nil {
			return []signature.Kind{c.kinds[v]}
		}
	case *ast.TableExpr:
		source.Children(e, func(x ast.Expr) ast.Expr { c.expr(x); return x })
		return one("table")
	case *ast.FunctionExpr:
		c.function(e)
		return one("function")
	case *ast.AttrGetExpr:
		return []signature.Kind{c.member(e)}
	case *ast.FuncCallExpr:
		results := c.call(e)
		if e.AdjustRet && len(results) > 1 {
			return results[:1]
		}
		return results
	case *ast.StringConcatOpExpr:
		c.reportUncalledMethod(e.Lhs)
		c.reportUncalledMethod(e.Rhs)
		c.expr(e.Lhs)
		c.expr(e.Rhs)
		return one("string")
	case *ast.RelationalOpExpr:
		c.reportUncalledMethod(e.Lhs)
		c.reportUncalledMethod(e.Rhs)
		c.expr(e.Lhs)
		c.expr(e.Rhs)
		return one("boolean")
	case *ast.UnaryNotOpExpr:
		c.expr(e.Expr)
		return one("boolean")
	case *ast.UnaryLenOpExpr:
		c.reportUncalledMethod(e.Expr)
		c.expr(e.Expr)
		return one("number")
	case nil:
	default:
		source.Children(e, func(x ast.Expr) ast.Expr { c.expr(x); return x })
	}
	return nil
}

// reportUncalledMethod reports a method that is written like a field where a value is
// wanted: msg.subject == "x" is never true.
func (c *checker) reportUncalledMethod(e ast.Expr) {
	get, ok := e.(*ast.AttrGetExpr)
	if !ok {
		return
	}
	key, ok := get.Key.(*ast.StringExpr)
	cl := c.classOf(get.Object)
	if ok && cl != nil && cl.method(key.Value) != nil {
		c.report(get.Line(), key.Value, cl.name+"."+key.Value+" is a method", "write "+cl.name+":"+key.Value+"()")
	}
}

// classOf returns the class of an object, where it is known. It reports nothing.
func (c *checker) classOf(e ast.Expr) *class {
	c.quiet++
	k := c.expr(e)
	c.quiet--
	if a, ok := k.Single(); ok {
		return classNamed(a.Name)
	}
	return nil
}

func classNamed(name string) *class {
	for _, c := range allClasses() {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (c *class) method(name string) *function {
	if i := slices.IndexFunc(c.methods, func(f function) bool { return f.name == name }); i >= 0 {
		return &c.methods[i]
	}
	return nil
}

func (c *class) field(name string) *field {
	if i := slices.IndexFunc(c.fields, func(f field) bool { return f.name == name }); i >= 0 {
		return &c.fields[i]
	}
	return nil
}

// isBuiltin reports whether a name is one of the API, and no local variable or
// global of the policy hides it.
func (c *checker) isBuiltin(id *ast.IdentExpr) bool {
	return c.names.Uses[id] == nil && builtins()[id.Value]
}

// member checks a member that is read and returns its kind.
func (c *checker) member(e *ast.AttrGetExpr) signature.Kind {
	key, named := e.Key.(*ast.StringExpr)
	if id, ok := e.Object.(*ast.IdentExpr); ok {
		c.reportHidden(e, id, key)
		if named && c.isBuiltin(id) && moduleNamed(id.Value) != nil {
			if s := signature.Of(id.Value + "." + key.Value); s != nil && s.Field != nil {
				return s.Field
			}
			return signature.Kind{{Name: "function"}}
		}
		if o, ok := c.origins[c.names.Uses[id]]; ok && o.absent && !c.facts.valued[c.names.Uses[id]] {
			c.report(e.Line(), id.Value, fmt.Sprintf("%s is nil: %s has %s", id.Value, o.spec.Point, argumentList(o.spec)), "")
			return nil
		}
	}
	k := c.expr(e.Object)
	a, ok := k.Single()
	if ok && a.Name == "function" {
		c.reportUncalledMethod(e.Object)
	}
	if !named {
		if at := c.expr(e.Key); ok && a.Name == "[]" && len(at) == 1 && at[0].Name == "number" {
			return append(signature.Kind{{Name: "nil"}}, a.Of...)
		}
		return nil
	}
	if !ok {
		return nil
	}
	switch a.Name {
	case "string":
		if !stringModule.has(key.Value) {
			c.report(e.Line(), key.Value, c.describe(e.Object, "a text")+" has no "+key.Value, c.hint(e.Object, key.Value))
		}
		return signature.Kind{{Name: "function"}}
	case "number", "boolean":
		c.report(e.Line(), key.Value, c.describe(e.Object, "a "+a.Name)+" has no "+key.Value, c.hint(e.Object, key.Value))
		return nil
	}
	cl := classNamed(a.Name)
	if cl == nil || cl.index != nil {
		return nil
	}
	if f := cl.field(key.Value); f != nil {
		if s := signature.Of(cl.name + "." + key.Value); s != nil {
			return s.Field
		}
		return nil
	}
	if cl.method(key.Value) == nil {
		c.reportMissing(e, cl, key.Value)
	}
	return signature.Kind{{Name: "function"}}
}

// describe names a value for people: what it is, and where it is a variable
// that one.
func (c *checker) describe(e ast.Expr, otherwise string) string {
	if id, ok := e.(*ast.IdentExpr); ok {
		return id.Value + " is " + otherwise + ", which"
	}
	return otherwise
}

// hint says which argument of the hook has the member, where the parameter at
// hand is another one than its user took it for.
func (c *checker) hint(e ast.Expr, member string) string {
	id, ok := e.(*ast.IdentExpr)
	if !ok {
		return ""
	}
	o, ok := c.origins[c.names.Uses[id]]
	if !ok || o.absent {
		return ""
	}
	for i, name := range o.spec.Args {
		if cl := classNamed(name); cl != nil && i != o.index && (cl.field(member) != nil || cl.method(member) != nil) {
			return fmt.Sprintf("the %s argument is %s; write function(%s)", ordinal(o.index), o.spec.Args[o.index],
				strings.Join(o.spec.Args[:max(i, o.index)+1], ", "))
		}
	}
	return ""
}

// reportMissing reports a member that a class does not have.
func (c *checker) reportMissing(e *ast.AttrGetExpr, cl *class, member string) {
	hint := c.hint(e.Object, member)
	if hint == "" {
		hint = strings.TrimPrefix(hooks.Suggestion(member, cl.memberNames()), "; ")
	}
	c.report(e.Line(), member, cl.name+"."+member+" does not exist", hint)
}
