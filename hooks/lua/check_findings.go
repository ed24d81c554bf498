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

// findings are what a check knows of a file, and the faults that it found there. Their
// methods do not walk.
type findings struct {
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

func (f *findings) report(line int, near, text, hint string) {
	if f.quiet == 0 {
		f.errs = append(f.errs, f.file.Fault(line, 0, near, text, hint))
	}
}

// setKind notes what a variable is, where it stays so.
func (f *findings) setKind(v *source.Variable, k signature.Kind) {
	if v != nil && !v.Assigned && !f.facts.asked[v] && k != nil {
		f.kinds[v] = k
	}
}

// isBuiltin reports whether a name is one of the API, and no local variable or
// global of the policy hides it.
func (f *findings) isBuiltin(id *ast.IdentExpr) bool {
	return f.names.Uses[id] == nil && builtins()[id.Value]
}

// reportAbsent reports a parameter for which the hook gives nothing, and returns
// whether a name is one.
func (f *findings) reportAbsent(line int, id *ast.IdentExpr) (absent bool) {
	v := f.names.Uses[id]
	o, ok := f.origins[v]
	if !ok || !o.absent || f.facts.valued[v] {
		return false
	}
	f.report(line, id.Value, fmt.Sprintf("%s is nil: %s has %s", id.Value, o.spec.Point, argumentList(o.spec)), "")
	return true
}

// reportNotIterable reports a loop over something that is not a function.
func (f *findings) reportNotIterable(s *ast.GenericForStmt, name string) {
	const text = "a for loop needs ipairs, pairs or an iterator such as msg:parts(), but this is "
	_, written := s.Exprs[0].(*ast.TableExpr)
	switch {
	case name == "[]":
		f.report(s.Line(), "in", text+"a list", "write for i, value in ipairs(...) do")
	case written: // another one may have __call
		f.report(s.Line(), "in", text+"a table", "write for key, value in pairs(...) do")
	case slices.Contains([]string{"string", "number", "boolean", "nil"}, name):
		f.report(s.Line(), "in", text+"a "+name, "")
	case classNamed(name) != nil:
		f.report(s.Line(), "in", text+"the object "+name, "")
	}
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

func (f *findings) setParameterKinds(fn *ast.FunctionExpr, spec hooks.Spec) {
	for i, v := range f.names.Declared[fn] {
		if v.Assigned || f.facts.asked[v] {
			continue
		}
		f.origins[v] = origin{spec: spec, index: i, absent: i >= len(spec.Args)}
		if i < len(spec.Args) {
			f.setKind(v, argumentKind(spec.Args[i]))
		}
	}
}

// checkReturns reports results of a handler that are not verdicts.
func (f *findings) checkReturns(fn *ast.FunctionExpr, spec hooks.Spec) {
	for _, ret := range returnStatements(fn.Stmts, nil) {
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
		f.report(ret.Line(), "return", "a handler returns a verdict or nothing, not a value such as "+got, "verdicts of "+
			string(spec.Point)+" are made by "+verdictList(spec))
	}
}

// describe names a value for people: what it is, and where it is a variable
// that one.
func (f *findings) describe(e ast.Expr, otherwise string) string {
	if id, ok := e.(*ast.IdentExpr); ok {
		return id.Value + " is " + otherwise + ", which"
	}
	return otherwise
}

// hint says which argument of the hook has the member, where the parameter at
// hand is another one than its user took it for.
func (f *findings) hint(e ast.Expr, member string) string {
	id, ok := e.(*ast.IdentExpr)
	if !ok {
		return ""
	}
	o, ok := f.origins[f.names.Uses[id]]
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
func (f *findings) reportMissing(e *ast.AttrGetExpr, cl *class, member string) {
	hint := f.hint(e.Object, member)
	if hint == "" {
		hint = strings.TrimPrefix(hooks.Suggestion(member, cl.memberNames()), "; ")
	}
	f.report(e.Line(), member, cl.name+"."+member+" does not exist", hint)
}

// reportCalledField reports a field of plain data that is called.
func (f *findings) reportCalledField(e *ast.FuncCallExpr, cl *class, name string) {
	s := signature.Of(cl.name + "." + name)
	if s == nil {
		return
	}
	data := func(a signature.Alternative) bool {
		return a.Name != "any" && a.Name != "value" && a.Name != "function" && a.Name != "fun"
	}
	if len(s.Field) > 0 && !slices.ContainsFunc(s.Field, func(a signature.Alternative) bool { return !data(a) }) {
		f.report(e.Line(), name, cl.name+"."+name+" is a field, not a method", "write "+cl.name+"."+name)
	}
}

// checkPlace reports what works only while files load.
func (f *findings) checkPlace(e *ast.FuncCallExpr, name string) {
	if f.handler != nil && slices.Contains([]string{"map.open", "require", "cache.memoize"}, name) {
		f.report(e.Line(), lastWord(name), name+" belongs at the top of the file, not inside a handler",
			"write local x = "+name+"(...) above on(...)")
	}
}

// reportHidden reports a local variable that has the name of a module and is used
// as if it were that.
func (f *findings) reportHidden(e *ast.AttrGetExpr, id *ast.IdentExpr, key *ast.StringExpr) {
	v := f.names.Uses[id]
	if v == nil || key == nil {
		return
	}
	m := moduleNamed(id.Value)
	if m == nil || !m.has(key.Value) {
		return
	}
	a, ok := f.kinds[v].Single()
	if !ok {
		return
	}
	switch {
	case a.Name == "string" && !stringModule.has(key.Value), a.Name == "number", a.Name == "boolean",
		a.Name == "table" && !f.facts.fills(v, key.Value):
	default:
		if cl := classNamed(a.Name); cl == nil || cl.index != nil || cl.field(key.Value) != nil || cl.method(key.Value) != nil {
			return
		}
	}
	f.report(e.Line(), key.Value, fmt.Sprintf("%s.%s does not exist here: the local %s hides the module %s", id.Value, key.Value,
		id.Value, id.Value),
		"give the local another name")
	delete(f.kinds, v) // told once
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
