package source

import (
	"github.com/yuin/gopher-lua/ast"
)

// When an error is caught, the interpreter cuts every open closure off from
// the local variables that it shares with the functions around it, also from
// those of functions that go on: after a pcall that failed, an assignment on
// one side is not seen on the other. So a local variable that is both used by
// an inner function and assigned again is kept in a table of one element,
// which both sides hold. Others keep their value, and are left as they are.

// Variable is one local variable.
type Variable struct {
	depth    int  // of functions around it
	captured bool // used by an inner function
	Assigned bool // not only where it is declared
	named    bool // anywhere
}

func (v *Variable) needsBox() bool { return v.captured && v.Assigned }

// Names knows which variable each name of a chunk means.
type Names struct {
	file     *File
	scopes   []map[string]*Variable
	depth    int
	Uses     map[*ast.IdentExpr]*Variable
	Declared map[any][]*Variable // by the statement or function that declares them
	unread   map[int]uint64      // parameters that a function never names, by bit, and by the line where it begins
}

func Resolve(f *File, chunk []ast.Stmt) *Names {
	r := &Names{file: f, Uses: map[*ast.IdentExpr]*Variable{}, Declared: map[any][]*Variable{}, unread: map[int]uint64{}}
	r.block(chunk)
	return r
}

// box rewrites the chunk so that shared variables that change are boxed.
func (r *Names) box(chunk []ast.Stmt) []ast.Stmt {
	for _, v := range r.Uses {
		if v.needsBox() {
			return (&boxer{r}).block(chunk)
		}
	}
	return chunk
}

func (r *Names) open()  { r.scopes = append(r.scopes, map[string]*Variable{}) }
func (r *Names) close() { r.scopes = r.scopes[:len(r.scopes)-1] }

func (r *Names) declare(by any, names ...string) {
	for _, n := range names {
		v := &Variable{depth: r.depth}
		r.scopes[len(r.scopes)-1][n] = v
		r.Declared[by] = append(r.Declared[by], v)
	}
}

func (r *Names) block(list []ast.Stmt) {
	r.open()
	r.stmts(list)
	r.close()
}

func (r *Names) stmts(list []ast.Stmt) {
	for _, s := range list {
		r.stmt(s)
	}
}

func (r *Names) stmt(s ast.Stmt) {
	r.file.at = s.Line()
	switch s := s.(type) {
	case *ast.AssignStmt:
		r.exprs(s.Rhs)
		for _, e := range s.Lhs {
			r.target(e)
		}
	case *ast.LocalAssignStmt:
		if isLocalFunction(s) { // it sees itself
			r.declare(s, s.Names...)
			r.exprs(s.Exprs)
			return
		}
		r.exprs(s.Exprs)
		r.declare(s, s.Names...)
	case *ast.FuncCallStmt:
		r.expr(s.Expr)
	case *ast.DoBlockStmt:
		r.block(s.Stmts)
	case *ast.WhileStmt:
		r.expr(s.Condition)
		r.block(s.Stmts)
	case *ast.RepeatStmt:
		r.open()
		r.stmts(s.Stmts)
		r.expr(s.Condition)
		r.close()
	case *ast.IfStmt:
		r.expr(s.Condition)
		r.block(s.Then)
		r.block(s.Else)
	case *ast.NumberForStmt:
		r.expr(s.Init)
		r.expr(s.Limit)
		if s.Step != nil {
			r.expr(s.Step)
		}
		r.open()
		r.declare(s, s.Name)
		r.block(s.Stmts)
		r.close()
	case *ast.GenericForStmt:
		r.exprs(s.Exprs)
		r.open()
		r.declare(s, s.Names...)
		r.block(s.Stmts)
		r.close()
	case *ast.FuncDefStmt:
		if s.Name.Func != nil {
			r.target(s.Name.Func)
		} else {
			r.expr(s.Name.Receiver)
		}
		r.function(s.Func, s.Name.Func == nil)
	case *ast.ReturnStmt:
		r.exprs(s.Exprs)
	}
}

func isLocalFunction(s *ast.LocalAssignStmt) bool {
	if len(s.Names) != 1 || len(s.Exprs) != 1 {
		return false
	}
	_, ok := s.Exprs[0].(*ast.FunctionExpr)
	return ok
}

// target is an expression that is assigned to.
func (r *Names) target(e ast.Expr) {
	r.expr(e)
	if id, ok := e.(*ast.IdentExpr); ok && r.Uses[id] != nil {
		r.Uses[id].Assigned = true
	}
}

func (r *Names) function(f *ast.FunctionExpr, method bool) {
	r.depth++
	r.open()
	if method {
		r.declare(nil, "self")
	}
	if f.ParList != nil {
		r.declare(f, f.ParList.Names...)
	}
	r.block(f.Stmts)
	r.close()
	r.depth--
	var unread uint64
	for i, v := range r.Declared[f] {
		if !v.named && !method {
			unread |= 1 << i
		}
	}
	if other, ok := r.unread[f.Line()]; ok { // two functions in a line
		unread &= other
	}
	r.unread[f.Line()] = unread
}

func (r *Names) exprs(list []ast.Expr) {
	for _, e := range list {
		r.expr(e)
	}
}

func (r *Names) expr(e ast.Expr) {
	switch e := e.(type) {
	case *ast.IdentExpr:
		for i := len(r.scopes) - 1; i >= 0; i-- {
			if v := r.scopes[i][e.Value]; v != nil {
				r.Uses[e], v.named = v, true
				v.captured = v.captured || v.depth < r.depth
				return
			}
		}
	case *ast.FunctionExpr:
		r.function(e, false)
	default:
		Children(e, func(c ast.Expr) ast.Expr { r.expr(c); return c })
	}
}

// Children replaces the expressions inside of one that is not a function.
func Children(e ast.Expr, f func(ast.Expr) ast.Expr) {
	switch e := e.(type) {
	case *ast.AttrGetExpr:
		e.Object, e.Key = f(e.Object), f(e.Key)
	case *ast.TableExpr:
		for _, field := range e.Fields {
			if field.Key != nil {
				field.Key = f(field.Key)
			}
			field.Value = f(field.Value)
		}
	case *ast.FuncCallExpr:
		if e.Func != nil {
			e.Func = f(e.Func)
		} else {
			e.Receiver = f(e.Receiver)
		}
		for i, a := range e.Args {
			e.Args[i] = f(a)
		}
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = f(e.Lhs), f(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = f(e.Lhs), f(e.Rhs)
	case *ast.StringConcatOpExpr:
		e.Lhs, e.Rhs = f(e.Lhs), f(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = f(e.Lhs), f(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		e.Expr = f(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = f(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = f(e.Expr)
	}
}

// boxer puts the boxes in.
type boxer struct{ *Names }

func (b *boxer) block(list []ast.Stmt) []ast.Stmt {
	out := make([]ast.Stmt, 0, len(list))
	for _, s := range list {
		out = append(out, b.stmt(s)...)
	}
	return out
}

// box returns a statement that puts a variable's value into a box of its name:
// local x = { x }.
func box(name string, at ast.PositionHolder) ast.Stmt {
	id := &ast.IdentExpr{Value: name}
	t := &ast.TableExpr{Fields: []*ast.Field{{Value: id}}}
	s := &ast.LocalAssignStmt{Names: []string{name}, Exprs: []ast.Expr{t}}
	for _, n := range []ast.PositionHolder{id, t, s} {
		copyPosition(n, at)
	}
	return s
}

// newBoxes returns those for the variables that by declares.
func (b *boxer) newBoxes(by any, names []string, at ast.PositionHolder) (out []ast.Stmt) {
	for i, v := range b.Declared[by] {
		if v.needsBox() {
			out = append(out, box(names[i], at))
		}
	}
	return out
}

func (b *boxer) stmt(s ast.Stmt) []ast.Stmt {
	switch s := s.(type) {
	case *ast.AssignStmt:
		b.list(s.Lhs)
		b.list(s.Rhs)
	case *ast.LocalAssignStmt:
		if vars := b.Declared[s]; isLocalFunction(s) && vars[0].needsBox() {
			// local f; then f = function ... end, which sees the box
			nothing := &ast.LocalAssignStmt{Names: s.Names, Exprs: []ast.Expr{&ast.NilExpr{}}}
			copyPosition(nothing, s)
			set := &ast.AssignStmt{Lhs: []ast.Expr{boxElement(s.Names[0], s)}, Rhs: s.Exprs}
			copyPosition(set, s)
			b.list(s.Exprs)
			return []ast.Stmt{nothing, box(s.Names[0], s), set}
		}
		b.list(s.Exprs)
		return append([]ast.Stmt{s}, b.newBoxes(s, s.Names, s)...)
	case *ast.FuncCallStmt:
		s.Expr = b.expr(s.Expr)
	case *ast.DoBlockStmt:
		s.Stmts = b.block(s.Stmts)
	case *ast.WhileStmt:
		s.Condition, s.Stmts = b.expr(s.Condition), b.block(s.Stmts)
	case *ast.RepeatStmt:
		s.Stmts, s.Condition = b.block(s.Stmts), b.expr(s.Condition)
	case *ast.IfStmt:
		s.Condition, s.Then, s.Else = b.expr(s.Condition), b.block(s.Then), b.block(s.Else)
	case *ast.NumberForStmt:
		s.Init, s.Limit = b.expr(s.Init), b.expr(s.Limit)
		if s.Step != nil {
			s.Step = b.expr(s.Step)
		}
		s.Stmts = append(b.newBoxes(s, []string{s.Name}, s), b.block(s.Stmts)...)
	case *ast.GenericForStmt:
		b.list(s.Exprs)
		s.Stmts = append(b.newBoxes(s, s.Names, s), b.block(s.Stmts)...)
	case *ast.FuncDefStmt:
		return b.definition(s)
	case *ast.ReturnStmt:
		b.list(s.Exprs)
	}
	return []ast.Stmt{s}
}

func (b *boxer) definition(s *ast.FuncDefStmt) []ast.Stmt {
	b.function(s.Func)
	if s.Name.Func == nil {
		s.Name.Receiver = b.expr(s.Name.Receiver)
		return []ast.Stmt{s}
	}
	if id, ok := s.Name.Func.(*ast.IdentExpr); ok && b.Uses[id] != nil && b.Uses[id].needsBox() {
		set := &ast.AssignStmt{Lhs: []ast.Expr{b.expr(id)}, Rhs: []ast.Expr{s.Func}}
		copyPosition(set, s)
		return []ast.Stmt{set}
	}
	s.Name.Func = b.expr(s.Name.Func)
	return []ast.Stmt{s}
}

func (b *boxer) function(f *ast.FunctionExpr) {
	body := b.block(f.Stmts)
	if f.ParList != nil {
		body = append(b.newBoxes(f, f.ParList.Names, f), body...)
	}
	f.Stmts = body
}

func (b *boxer) list(list []ast.Expr) {
	for i, e := range list {
		list[i] = b.expr(e)
	}
}

func (b *boxer) expr(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.IdentExpr:
		if v := b.Uses[e]; v != nil && v.needsBox() {
			return boxElement(e.Value, e)
		}
		return e
	case *ast.FunctionExpr:
		b.function(e)
		return e
	}
	Children(e, b.expr)
	return e
}

// boxElement returns what a box holds.
func boxElement(name string, at ast.PositionHolder) ast.Expr {
	id, key := &ast.IdentExpr{Value: name}, &ast.NumberExpr{Value: "1"}
	get := &ast.AttrGetExpr{Object: id, Key: key}
	for _, n := range []ast.PositionHolder{id, key, get} {
		copyPosition(n, at)
	}
	return get
}
