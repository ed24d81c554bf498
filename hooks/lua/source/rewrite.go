package source

import (
	"strconv"

	"github.com/yuin/gopher-lua/ast"
)

// Names that the rewritten source calls; no script can spell them.
const (
	ConcatName = "(concat)"
	TableName  = "(table)"
	JoinName   = "(join)"
	LengthName = "(length)"
	assignName = "(value)" // and a number
)

// concatChunk bounds the arguments of one call that ".." becomes.
const concatChunk = 40

// Nodes are what a rewriting came by on its way.
type Nodes struct {
	Locals     map[string]bool     // every name that is local somewhere in the file
	Calls      []*ast.FuncCallExpr // each after those inside of it
	Statements []*ast.FuncCallExpr // calls whose result nobody takes

	targets []*ast.AttrGetExpr             // that are assigned to
	within  map[*ast.FunctionExpr]nodeSpan // what is in a function
}

// nodeSpan has ranges of calls and targets.
type nodeSpan struct{ calls, targets [2]int }

// CallsIn returns the calls in a function.
func (n *Nodes) CallsIn(f *ast.FunctionExpr) []*ast.FuncCallExpr {
	r := n.within[f].calls
	return n.Calls[r[0]:r[1]]
}

// TargetsIn returns the fields that a function assigns to.
func (n *Nodes) TargetsIn(f *ast.FunctionExpr) []*ast.AttrGetExpr {
	r := n.within[f].targets
	return n.targets[r[0]:r[1]]
}

// rewriter walks over a syntax tree once: it turns "..", "#" and table
// constructors into calls that pay for what they make.
type rewriter struct {
	Nodes
	file *File
}

// rewrite changes chunk in place.
func (f *File) rewrite(chunk []ast.Stmt) *Nodes {
	r := &rewriter{file: f, Nodes: Nodes{Locals: map[string]bool{}, within: map[*ast.FunctionExpr]nodeSpan{}}}
	r.stmts(chunk)
	return &r.Nodes
}

func (r *rewriter) stmts(list []ast.Stmt) {
	for i, s := range list {
		r.stmt(s)
		if a, ok := s.(*ast.AssignStmt); ok && len(a.Lhs) > 1 {
			list[i] = expandAssignment(a)
		}
	}
}

// expandAssignment has a, t[i] = t[i], a compute everything before it assigns, and the
// last variable first, as the reference implementation does: for local
// variables the compiler does neither. It becomes
//
//	do local o, k = t, i; local x, y = t[i], a; o[k] = y; a = x end
func expandAssignment(a *ast.AssignStmt) ast.Stmt {
	t := &temporaries{at: a}
	targets := make([]ast.Expr, len(a.Lhs))
	for i, e := range a.Lhs {
		targets[i] = e
		if field, ok := e.(*ast.AttrGetExpr); ok {
			kept := &ast.AttrGetExpr{Object: t.add(field.Object), Key: field.Key}
			if !constantKey(field.Key) {
				kept.Key = t.add(field.Key)
			}
			copyPosition(kept, field)
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
		copyPosition(s, a)
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
	copyPosition(id, t.at)
	t.names = append(t.names, id.Value)
	return id
}

func (t *temporaries) add(e ast.Expr) ast.Expr {
	t.exprs = append(t.exprs, oneValue(e))
	return t.name()
}

func copyPosition(s, at ast.PositionHolder) {
	s.SetLine(at.Line())
	s.SetLastLine(at.LastLine())
}

func (r *rewriter) local(names ...string) {
	for _, n := range names {
		r.Locals[n] = true
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
			r.Statements = append(r.Statements, c)
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
		for _, f := range e.Fields {
			if f.Key != nil {
				f.Key = r.expr(f.Key)
			}
			f.Value = r.expr(f.Value)
		}
		return tableCall(e)
	case *ast.FuncCallExpr:
		if e.Func != nil {
			e.Func = r.expr(e.Func)
		} else {
			e.Receiver = r.expr(e.Receiver)
		}
		r.Calls = append(r.Calls, e)
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
		return newCall(LengthName, e, oneValue(r.expr(e.Expr)))
	case *ast.FunctionExpr:
		calls, targets := len(r.Calls), len(r.targets)
		r.function(e)
		r.within[e] = nodeSpan{[2]int{calls, len(r.Calls)}, [2]int{targets, len(r.targets)}}
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
			operands = append(operands, oneValue(r.expr(at)))
			break
		}
		operands = append(operands, oneValue(r.expr(c.Lhs)))
		at = c.Rhs
	}
	for len(operands) > concatChunk {
		cut := len(operands) - concatChunk + 1
		tail := newCall(ConcatName, e, operands[cut:]...)
		operands = append(operands[:cut:cut], tail)
	}
	return newCall(ConcatName, e, operands...)
}

// oneValue makes sure that an operand gives exactly one value.
func oneValue(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		e.AdjustRet = true
	case *ast.Comma3Expr:
		e.AdjustRet = true
	}
	return e
}

func newCall(name string, at ast.PositionHolder, args ...ast.Expr) ast.Expr {
	id := &ast.IdentExpr{Value: name}
	call := &ast.FuncCallExpr{Func: id, Args: args, AdjustRet: true}
	copyPosition(id, at)
	copyPosition(call, at)
	return call
}
