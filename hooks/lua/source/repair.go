package source

import (
	"strconv"

	"github.com/yuin/gopher-lua/ast"
)

// The compiler of gopher-lua translates some statements wrongly. The repair
// writes those in another way before it sees them. What it must not see:
//
//   - x = E, where x is a local variable and E a call, "..." or a logical
//     expression: what is computed in the register of x drops the registers
//     above it, or is not moved there (assignment).
//   - a jump as the first instruction of a loop or after a label: a jump back
//     to it is led on to a place that is none (loop, labels).
//   - a generic for with fewer than three values, or fewer names than values:
//     registers are read that nothing was written to (genericFor).
//   - break out of a block whose variables a function holds: it goes on to
//     share a register that others use later (breaks).
//   - a constant as the object of an assignment: it is taken for a register
//     (assignment).
//   - constructors that have fields with names after fifty without: those are
//     written twice (tableCall).
//
// Each has its test in TestCompiled, and the comparison with the reference
// implementation finds each where it comes back.

// These faults come back with a build tag of the same name, so that the tests
// can be seen to find them.
var faultL1, faultL2, faultL3 bool

// maxCode is how many instructions a function may have: a jump reaches no
// farther, and the compiler does not always tell.
const maxCode = 1<<17 - 1

// maxOuter is how many variables of others a function may use.
const maxOuter = 255

// repairer walks over a chunk that was rewritten already.
type repairer struct {
	labels int // made so far
}

func repair(chunk []ast.Stmt) []ast.Stmt { return (&repairer{}).block(chunk) }

func (r *repairer) block(list []ast.Stmt) []ast.Stmt {
	for i, s := range list {
		list[i] = r.stmt(s)
	}
	return r.afterLabels(list)
}

// afterLabels puts an instruction after labels that a jump would follow.
func (r *repairer) afterLabels(list []ast.Stmt) []ast.Stmt {
	for i := len(list) - 2; i >= 0 && !faultL2; i-- {
		if _, ok := list[i].(*ast.LabelStmt); !ok || !startsWithJump(list[i+1:]) {
			continue
		}
		if _, ok := list[i+1].(*ast.LabelStmt); ok {
			continue
		}
		list = append(list[:i+1:i+1], append([]ast.Stmt{noop(list[i])}, list[i+1:]...)...)
	}
	return list
}

func (r *repairer) stmt(s ast.Stmt) ast.Stmt {
	expressions(s, r.expr)
	switch s := s.(type) {
	case *ast.AssignStmt:
		return r.assignment(s)
	case *ast.DoBlockStmt:
		s.Stmts = r.block(s.Stmts)
	case *ast.IfStmt:
		s.Then, s.Else = r.block(s.Then), r.block(s.Else)
	case *ast.FuncDefStmt:
		s.Func.Stmts = r.block(s.Func.Stmts)
	case *ast.WhileStmt:
		s.Stmts = r.block(s.Stmts)
		return r.leaveByGoto(s, s.Stmts, func() ast.Stmt { return r.while(s) })
	case *ast.RepeatStmt:
		s.Stmts = r.block(s.Stmts)
		return r.leaveByGoto(s, s.Stmts, func() ast.Stmt { s.Stmts = loopBody(s, s.Stmts); return s })
	case *ast.NumberForStmt:
		s.Init, s.Limit = asNumber(s.Init), asNumber(s.Limit)
		if s.Step != nil {
			s.Step = asNumber(s.Step)
		}
		s.Stmts = r.block(s.Stmts)
		return r.leaveByGoto(s, s.Stmts, func() ast.Stmt { return s })
	case *ast.GenericForStmt:
		s.Stmts = r.block(s.Stmts)
		genericFor(s)
		return r.leaveByGoto(s, s.Stmts, func() ast.Stmt { s.Stmts = loopBody(s, s.Stmts); return s })
	}
	return s
}

// expr repairs the functions inside of an expression.
func (r *repairer) expr(e ast.Expr) ast.Expr {
	if f, ok := e.(*ast.FunctionExpr); ok {
		f.Stmts = r.block(f.Stmts)
		return f
	}
	Children(e, r.expr)
	return e
}

// assignment computes into a register of its own, and moves then:
//
//	do local v = E; x = v end
func (r *repairer) assignment(s *ast.AssignStmt) ast.Stmt {
	if len(s.Lhs) != 1 || len(s.Rhs) != 1 {
		return s
	}
	t := &temporaries{at: s}
	switch target := s.Lhs[0].(type) {
	case *ast.IdentExpr:
		if faultL1 || !computedElsewhere(s.Rhs[0]) {
			return s
		}
		s.Rhs[0] = t.add(s.Rhs[0])
	case *ast.AttrGetExpr:
		switch target.Object.(type) {
		case *ast.IdentExpr, *ast.AttrGetExpr, *ast.FuncCallExpr:
			return s
		}
		target.Object = t.add(target.Object)
	}
	first := &ast.LocalAssignStmt{Names: t.names, Exprs: t.exprs}
	block := &ast.DoBlockStmt{Stmts: []ast.Stmt{first, s}}
	copyPosition(first, s)
	copyPosition(block, s)
	return block
}

// computedElsewhere reports whether a value cannot be computed where a local
// variable is.
func computedElsewhere(e ast.Expr) bool {
	switch e.(type) {
	case *ast.LogicalOpExpr, *ast.FuncCallExpr, *ast.Comma3Expr:
		return true
	}
	return false
}

// asNumber has a text that is a number become one, as Lua does for the values
// of a numeric for: e - 0.
func asNumber(e ast.Expr) ast.Expr {
	switch e.(type) {
	case *ast.NumberExpr, *ast.ArithmeticOpExpr, *ast.UnaryMinusOpExpr, *ast.NilExpr, *ast.TrueExpr, *ast.FalseExpr, *ast.FunctionExpr:
		return e
	}
	zero := &ast.NumberExpr{Value: "0"}
	minus := &ast.ArithmeticOpExpr{Operator: "-", Lhs: oneValue(e), Rhs: zero}
	copyPosition(zero, e)
	copyPosition(minus, e)
	return minus
}

// genericFor gives the loop three values, and a name for each where the last
// one is a call with several.
func genericFor(s *ast.GenericForStmt) {
	if faultL3 {
		return
	}
	last := s.Exprs[len(s.Exprs)-1]
	if hasManyValues(last) {
		for i := len(s.Names); i < len(s.Exprs); i++ {
			s.Names = append(s.Names, "(unused)"+strconv.Itoa(i))
		}
		return
	}
	for len(s.Exprs) < 3 {
		none := &ast.NilExpr{}
		copyPosition(none, s)
		s.Exprs = append(s.Exprs, none)
	}
}

// hasManyValues reports whether an expression gives as many values as it has.
func hasManyValues(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		return !e.AdjustRet
	case *ast.Comma3Expr:
		return !e.AdjustRet
	}
	return false
}

// while returns the loop so that its first instruction does not jump.
func (r *repairer) while(s *ast.WhileStmt) ast.Stmt {
	if faultL2 || !startsWithConstant(s.Condition) {
		return s
	}
	s.Condition = fold(s.Condition)
	switch s.Condition.(type) {
	case *ast.FalseExpr, *ast.NilExpr: // if false then while true do ... end end
		never := &ast.IfStmt{Condition: s.Condition, Then: []ast.Stmt{s}}
		yes := &ast.TrueExpr{}
		copyPosition(never, s)
		copyPosition(yes, s)
		s.Condition = yes
		s.Stmts = loopBody(s, s.Stmts)
		return never
	}
	if isConstant(s.Condition) {
		s.Stmts = loopBody(s, s.Stmts)
	}
	return s
}
