package lua

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// concatChunk bounds the arguments of one call that ".." becomes.
const concatChunk = 40

// rewriter walks over a syntax tree once: it turns ".." and table
// constructors into calls that pay for what they make, and notes what can be
// told about verdicts without running anything.
type rewriter struct {
	file    *file
	locals  map[string]bool // every name that is local somewhere in the file
	names   *names
	calls   []*ast.FuncCallExpr
	targets []*ast.AttrGetExpr           // that are assigned to
	lone    []*ast.FuncCallExpr          // calls whose result nobody takes
	within  map[*ast.FunctionExpr]inside // what is in a function
}

// inside are ranges of calls and targets.
type inside struct{ calls, targets [2]int }

// rewrite changes chunk in place and returns faults about verdicts.
func (f *file) rewrite(chunk []ast.Stmt, n *names) []error {
	r := &rewriter{file: f, names: n, locals: map[string]bool{}, within: map[*ast.FunctionExpr]inside{}}
	r.stmts(chunk)
	var errs []error
	for _, c := range r.lone {
		if name := r.verdict(c); name != "" {
			errs = append(errs, f.fault(c.Line(), 0, name, name+"(...) makes a verdict that nobody returns", "write return "+name+"(...)"))
		}
	}
	for _, c := range r.calls {
		errs = append(errs, r.check(c)...)
		if err := r.literal(c); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// verdict is the name of the verdict function that c calls, or "".
func (r *rewriter) verdict(c *ast.FuncCallExpr) string {
	id, ok := c.Func.(*ast.IdentExpr)
	if !ok || r.locals[id.Value] {
		return ""
	}
	if _, ok := verdictActions[id.Value]; !ok {
		return ""
	}
	return id.Value
}

// check looks at on("hook", ..., function) for verdicts the hook has not.
func (r *rewriter) check(c *ast.FuncCallExpr) []error {
	id, ok := c.Func.(*ast.IdentExpr)
	if !ok || id.Value != "on" || r.locals["on"] || len(c.Args) < 2 {
		return nil
	}
	name, ok1 := c.Args[0].(*ast.StringExpr)
	body, ok2 := c.Args[len(c.Args)-1].(*ast.FunctionExpr)
	if !ok1 || !ok2 {
		return nil
	}
	spec, ok := hooks.Named(name.Value)
	if !ok {
		return []error{r.file.unknownHook(c.Line(), name.Value)}
	}
	if name.Value == string(hooks.ReceiveData) && r.option(c, "async") {
		spec, _ = hooks.Lookup(hooks.ReceiveAsync)
	}
	errs := append(r.unknownOptions(c), r.encrypts(spec, body)...)
	if r.file.unit.strict {
		errs = append(errs, r.misplaced(spec, body)...)
	}
	for _, ret := range returns(body.Stmts, nil) {
		if len(ret.Exprs) == 0 {
			continue
		}
		call, ok := ret.Exprs[0].(*ast.FuncCallExpr)
		if !ok {
			continue
		}
		verdict := r.verdict(call)
		if verdict == "" || spec.Allows(verdictActions[verdict]) {
			continue
		}
		errs = append(errs, r.file.fault(ret.Line(), 0, verdict,
			fmt.Sprintf("%s is not a verdict of %s", verdict, spec.Point), "it allows "+verdictList(spec)))
	}
	return errs
}

// options are the fields of on("hook", { key = value }, function).
func options(c *ast.FuncCallExpr) []*ast.Field {
	if len(c.Args) != 3 {
		return nil
	}
	call, ok := c.Args[1].(*ast.FuncCallExpr) // what a table constructor has become
	if !ok || len(call.Args) == 0 {
		return nil
	}
	table, ok := call.Args[0].(*ast.TableExpr)
	if !ok {
		return nil
	}
	return table.Fields
}

// option reports whether an option is written as true.
func (r *rewriter) option(c *ast.FuncCallExpr, name string) bool {
	for _, field := range options(c) {
		key, ok := field.Key.(*ast.StringExpr)
		if _, yes := field.Value.(*ast.TrueExpr); ok && yes && key.Value == name {
			return true
		}
	}
	return false
}

// unknownOptions looks at the keys of on("hook", { key = ... }, function);
// their values are judged when the file runs.
func (r *rewriter) unknownOptions(c *ast.FuncCallExpr) []error {
	var errs []error
	for _, field := range options(c) {
		if key, ok := field.Key.(*ast.StringExpr); ok && !slices.Contains(hooks.Options(), key.Value) {
			text, hint := unknownOption(key.Value)
			errs = append(errs, r.file.fault(key.Line(), 0, key.Value, "on: "+text, hint))
		}
	}
	return errs
}

func verdictList(s hooks.Spec) string {
	if len(s.Verdicts) == 0 {
		return "none"
	}
	out := ""
	for i, v := range s.Verdicts {
		if i > 0 {
			out += ", "
		}
		out += v.String()
	}
	return out
}

// returns collects the return statements of a function, not of those in it.
func returns(list []ast.Stmt, out []*ast.ReturnStmt) []*ast.ReturnStmt {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ReturnStmt:
			out = append(out, s)
		case *ast.DoBlockStmt:
			out = returns(s.Stmts, out)
		case *ast.WhileStmt:
			out = returns(s.Stmts, out)
		case *ast.RepeatStmt:
			out = returns(s.Stmts, out)
		case *ast.IfStmt:
			out = returns(s.Else, returns(s.Then, out))
		case *ast.NumberForStmt:
			out = returns(s.Stmts, out)
		case *ast.GenericForStmt:
			out = returns(s.Stmts, out)
		}
	}
	return out
}

func (r *rewriter) stmts(list []ast.Stmt) {
	for i, s := range list {
		r.stmt(s)
		if a, ok := s.(*ast.AssignStmt); ok && len(a.Lhs) > 1 {
			list[i] = atOnce(a)
		}
	}
}

// atOnce has a, t[i] = t[i], a compute everything before it assigns, and the
// last variable first, as the reference implementation does: for local
// variables the compiler does neither. It becomes
//
//	do local o, k = t, i; local x, y = t[i], a; o[k] = y; a = x end
func atOnce(a *ast.AssignStmt) ast.Stmt {
	t := &temporaries{at: a}
	targets := make([]ast.Expr, len(a.Lhs))
	for i, e := range a.Lhs {
		targets[i] = e
		if field, ok := e.(*ast.AttrGetExpr); ok {
			kept := &ast.AttrGetExpr{Object: t.keep(field.Object), Key: field.Key}
			if !constantKey(field.Key) {
				kept.Key = t.keep(field.Key)
			}
			place(kept, field)
			targets[i] = kept
		}
	}
	var body []ast.Stmt
	if len(t.exprs) > 0 {
		body = append(body, &ast.LocalAssignStmt{Names: t.names, Exprs: t.exprs})
	}
	v := &temporaries{at: a, from: len(t.names)}
	values := make([]ast.Expr, len(targets))
	for i := range targets {
		values[i] = v.name()
	}
	body = append(body, &ast.LocalAssignStmt{Names: v.names, Exprs: a.Rhs})
	for i := len(targets) - 1; i >= 0; i-- {
		body = append(body, &ast.AssignStmt{Lhs: targets[i : i+1], Rhs: values[i : i+1]})
	}
	block := &ast.DoBlockStmt{Stmts: body}
	for _, s := range append(body, block) {
		place(s, a)
	}
	return block
}

func constantKey(e ast.Expr) bool {
	switch e.(type) {
	case *ast.StringExpr, *ast.NumberExpr:
		return true
	}
	return false
}

// temporaries are local variables that no script can name.
type temporaries struct {
	at    ast.PositionHolder
	from  int
	names []string
	exprs []ast.Expr
}

func (t *temporaries) name() ast.Expr {
	id := &ast.IdentExpr{Value: assignName + strconv.Itoa(t.from+len(t.names))}
	place(id, t.at)
	t.names = append(t.names, id.Value)
	return id
}

func (t *temporaries) keep(e ast.Expr) ast.Expr {
	t.exprs = append(t.exprs, single(e))
	return t.name()
}

func place(s, at ast.PositionHolder) {
	s.SetLine(at.Line())
	s.SetLastLine(at.LastLine())
}

func (r *rewriter) local(names ...string) {
	for _, n := range names {
		r.locals[n] = true
	}
}

func (r *rewriter) stmt(s ast.Stmt) {
	r.file.at = s.Line()
	switch s := s.(type) {
	case *ast.AssignStmt:
		for _, e := range s.Lhs {
			if target, ok := e.(*ast.AttrGetExpr); ok {
				r.targets = append(r.targets, target)
			}
		}
		r.exprs(s.Lhs)
		r.exprs(s.Rhs)
	case *ast.LocalAssignStmt:
		r.local(s.Names...)
		r.exprs(s.Exprs)
	case *ast.FuncCallStmt:
		if c, ok := s.Expr.(*ast.FuncCallExpr); ok && c.Func != nil {
			r.lone = append(r.lone, c)
		}
		s.Expr = r.expr(s.Expr)
	case *ast.DoBlockStmt:
		r.stmts(s.Stmts)
	case *ast.WhileStmt:
		s.Condition = r.expr(s.Condition)
		r.stmts(s.Stmts)
	case *ast.RepeatStmt:
		r.stmts(s.Stmts)
		s.Condition = r.expr(s.Condition)
	case *ast.IfStmt:
		s.Condition = r.expr(s.Condition)
		r.stmts(s.Then)
		r.stmts(s.Else)
	case *ast.NumberForStmt:
		r.local(s.Name)
		s.Init, s.Limit = r.expr(s.Init), r.expr(s.Limit)
		if s.Step != nil {
			s.Step = r.expr(s.Step)
		}
		r.stmts(s.Stmts)
	case *ast.GenericForStmt:
		r.local(s.Names...)
		r.exprs(s.Exprs)
		r.stmts(s.Stmts)
	case *ast.FuncDefStmt:
		r.function(s.Func)
	case *ast.ReturnStmt:
		r.exprs(s.Exprs)
	}
}

func (r *rewriter) function(f *ast.FunctionExpr) {
	if f.ParList != nil {
		r.local(f.ParList.Names...)
	}
	r.stmts(f.Stmts)
}

func (r *rewriter) exprs(list []ast.Expr) {
	for i, e := range list {
		list[i] = r.expr(e)
	}
}

func (r *rewriter) expr(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.AttrGetExpr:
		e.Object, e.Key = r.expr(e.Object), r.expr(e.Key)
	case *ast.TableExpr:
		return r.table(e)
	case *ast.FuncCallExpr:
		if e.Func != nil {
			e.Func = r.expr(e.Func)
		} else {
			e.Receiver = r.expr(e.Receiver)
		}
		r.calls = append(r.calls, e)
		r.exprs(e.Args)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = r.expr(e.Lhs), r.expr(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = r.expr(e.Lhs), r.expr(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = r.expr(e.Lhs), r.expr(e.Rhs)
	case *ast.StringConcatOpExpr:
		return r.concat(e)
	case *ast.UnaryMinusOpExpr:
		e.Expr = r.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = r.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		return invoke(lengthName, e, single(r.expr(e.Expr)))
	case *ast.FunctionExpr:
		calls, targets := len(r.calls), len(r.targets)
		r.function(e)
		r.within[e] = inside{[2]int{calls, len(r.calls)}, [2]int{targets, len(r.targets)}}
	}
	return e
}

// concat turns a..b..c into one call; ".." is right associative.
func (r *rewriter) concat(e *ast.StringConcatOpExpr) ast.Expr {
	var operands []ast.Expr
	var at ast.Expr = e
	for {
		c, ok := at.(*ast.StringConcatOpExpr)
		if !ok {
			operands = append(operands, single(r.expr(at)))
			break
		}
		operands = append(operands, single(r.expr(c.Lhs)))
		at = c.Rhs
	}
	for len(operands) > concatChunk {
		cut := len(operands) - concatChunk + 1
		tail := invoke(concatName, e, operands[cut:]...)
		operands = append(operands[:cut:cut], tail)
	}
	return invoke(concatName, e, operands...)
}

// single makes sure that an operand gives exactly one value.
func single(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		e.AdjustRet = true
	case *ast.Comma3Expr:
		e.AdjustRet = true
	}
	return e
}

func invoke(name string, at ast.PositionHolder, args ...ast.Expr) ast.Expr {
	id := &ast.IdentExpr{Value: name}
	call := &ast.FuncCallExpr{Func: id, Args: args, AdjustRet: true}
	place(id, at)
	place(call, at)
	return call
}
