package lua

import (
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
// It walks over the chunk; findings and valueChecker judge what it comes to.
//
// It reports nothing about values that it does not know: variables that are
// assigned again or asked for their type, and code that pcall watches.
type checker struct {
	*findings
	values valueChecker
}

// check returns the faults of a chunk. It changes nothing in it.
func (u *loadedSource) check(f *source.File, chunk []ast.Stmt) []error {
	c := &checker{findings: &findings{
		source:  u,
		file:    f,
		names:   source.Resolve(f, chunk),
		kinds:   map[*source.Variable]signature.Kind{},
		origins: map[*source.Variable]origin{},
	}}
	c.values = valueChecker{c.findings, c.kindOf}
	c.facts = gatherFacts(chunk, c.names, u.mayCatch(f.Path))
	c.stmts(chunk)
	return c.errs
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

func (c *checker) local(s *ast.LocalAssignStmt) {
	declared := c.names.Declared[s]
	for i, e := range s.Exprs {
		kinds := c.allKinds(e)
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
		} else if kinds := c.allKinds(call); len(kinds) > 0 {
			if it, ok := kinds[0].Single(); ok && it.Name == "fun" {
				given = it.Of
			} else if ok {
				c.reportLoopOver(s, it.Name)
			}
		}
	} else {
		k, ok := c.expr(s.Exprs[0]).Single()
		c.exprs(s.Exprs[1:])
		if ok && len(s.Exprs) == 1 {
			c.reportLoopOver(s, k.Name)
		}
	}
	if at < len(declared) {
		c.setKind(declared[at], given)
	}
	c.stmts(s.Stmts)
}

// reportLoopOver reports a loop over something that is not a function, or over a
// method that is not called.
func (c *checker) reportLoopOver(s *ast.GenericForStmt, name string) {
	if name == "function" {
		c.reportUncalledMethod(s.Exprs[0])
	} else {
		c.reportNotIterable(s, name)
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

func (c *checker) exprs(list []ast.Expr) {
	for _, e := range list {
		c.expr(e)
	}
}

// expr walks over an expression and returns what it is, nil where that is not
// known.
func (c *checker) expr(e ast.Expr) signature.Kind {
	if kinds := c.allKinds(e); len(kinds) > 0 {
		return kinds[0]
	}
	return nil
}

// allKinds is expr for all values of an expression that may have several.
func (c *checker) allKinds(e ast.Expr) []signature.Kind {
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
	if a, ok := c.kindOf(e).Single(); ok {
		return classNamed(a.Name)
	}
	return nil
}

// kindOf is expr that reports nothing.
func (c *checker) kindOf(e ast.Expr) signature.Kind {
	c.quiet++
	defer func() { c.quiet-- }()
	return c.expr(e)
}

// assign is a member that is assigned to.
func (c *checker) assign(e *ast.AttrGetExpr, value ast.Expr) {
	key, named := e.Key.(*ast.StringExpr)
	k := c.expr(e.Object)
	a, ok := k.Single()
	if !named {
		c.expr(e.Key)
	}
	cl := classNamed(a.Name)
	if id, isName := e.Object.(*ast.IdentExpr); isName && c.isBuiltin(id) {
		if id.Value == "config" {
			cl, ok = &configClass, true
		} else if m := moduleNamed(id.Value); m != nil && named {
			c.report(e.Line(), key.Value, id.Value+" is read only", "")
			return
		}
	}
	if ok && cl != nil && named {
		c.values.checkAssignment(e, cl, key.Value, value)
	}
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
		if c.reportAbsent(e.Line(), id) {
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
		c.values.checkOn(e)
		return nil
	}
	s := signature.Of(name)
	if s == nil {
		return nil
	}
	c.checkPlace(e, name)
	c.values.checkArguments(e, name, s, e.Args)
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

func (c *checker) methodCall(e *ast.FuncCallExpr) []signature.Kind {
	if id, ok := e.Receiver.(*ast.IdentExpr); ok {
		c.reportAbsent(e.Line(), id)
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
		c.values.checkArguments(e, "string."+e.Method, s, append([]ast.Expr{e.Receiver}, e.Args...))
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
	c.values.checkArguments(e, cl.name+":"+e.Method, s, e.Args)
	c.checkRights(e, cl.name+":"+e.Method, s)
	return s.Results
}
