package source

import (
	"strconv"

	"github.com/yuin/gopher-lua/ast"
)

// noop returns a statement of one instruction that changes nothing.
func noop(at ast.PositionHolder) ast.Stmt {
	none := &ast.NilExpr{}
	local := &ast.LocalAssignStmt{Names: []string{"(nothing)"}, Exprs: []ast.Expr{none}}
	block := &ast.DoBlockStmt{Stmts: []ast.Stmt{local}}
	for _, n := range []ast.PositionHolder{none, local, block} {
		copyPosition(n, at)
	}
	return block
}

// loopBody returns the body of a loop, with an instruction before a first jump.
func loopBody(loop ast.PositionHolder, body []ast.Stmt) []ast.Stmt {
	if faultL2 || !startsWithJump(body) {
		return body
	}
	return append([]ast.Stmt{noop(loop)}, body...)
}

// startsWithJump reports whether the first instruction of statements may be a
// jump, or may be missing.
func startsWithJump(list []ast.Stmt) bool {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.LabelStmt:
			continue
		case *ast.DoBlockStmt:
			return startsWithJump(s.Stmts)
		case *ast.RepeatStmt:
			return startsWithJump(s.Stmts)
		case *ast.WhileStmt:
			return startsWithConstant(s.Condition)
		case *ast.IfStmt:
			return startsWithConstant(s.Condition)
		case *ast.BreakStmt:
			return true
		case *ast.LocalAssignStmt:
			return len(s.Exprs) > 0 && startsWithFoldedExpr(s.Exprs[0])
		case *ast.AssignStmt:
			return startsWithFoldedExpr(s.Lhs[0]) || startsWithFoldedExpr(s.Rhs[0])
		case *ast.ReturnStmt:
			return len(s.Exprs) > 0 && startsWithFoldedExpr(s.Exprs[0])
		case *ast.FuncCallStmt:
			return startsWithFoldedExpr(s.Expr)
		case *ast.NumberForStmt:
			return startsWithFoldedExpr(s.Init)
		case *ast.GenericForStmt:
			return startsWithFoldedExpr(s.Exprs[0])
		}
		return false
	}
	return true
}

// startsWithConstant reports whether a condition begins with a constant, for which
// there is a jump or no code at all.
func startsWithConstant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.LogicalOpExpr:
		return startsWithConstant(e.Lhs)
	case *ast.UnaryNotOpExpr:
		return startsWithConstant(e.Expr)
	}
	return isConstant(e) || startsWithFoldedExpr(e)
}

// startsWithFoldedExpr reports whether the code of a value begins with that of a
// logical expression which begins with a constant.
func startsWithFoldedExpr(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.LogicalOpExpr:
		return startsWithConstant(e.Lhs)
	case *ast.RelationalOpExpr:
		return startsWithFoldedExpr(e.Lhs) || mayHaveNoCode(e.Lhs) && startsWithFoldedExpr(e.Rhs)
	case *ast.ArithmeticOpExpr:
		return startsWithFoldedExpr(e.Lhs) || mayHaveNoCode(e.Lhs) && startsWithFoldedExpr(e.Rhs)
	case *ast.AttrGetExpr:
		return startsWithFoldedExpr(e.Object) || startsWithFoldedExpr(e.Key)
	case *ast.FuncCallExpr:
		if e.Func != nil {
			return startsWithFoldedExpr(e.Func)
		}
		return startsWithFoldedExpr(e.Receiver)
	case *ast.UnaryMinusOpExpr:
		return startsWithFoldedExpr(e.Expr)
	case *ast.UnaryNotOpExpr:
		return startsWithFoldedExpr(e.Expr)
	}
	return false
}

// mayHaveNoCode reports whether an operand may be read where it is, so that the code
// begins with that of the next operand: a local variable, a constant, or arithmetic
// with constants.
func mayHaveNoCode(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.IdentExpr:
		return true
	case *ast.ArithmeticOpExpr:
		return isConstantNumber(e)
	case *ast.UnaryMinusOpExpr:
		return isConstantNumber(e)
	}
	return isConstant(e)
}

// isConstantNumber reports whether the compiler computes an expression.
func isConstantNumber(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.NumberExpr:
		return true
	case *ast.ArithmeticOpExpr:
		return isConstantNumber(e.Lhs) && isConstantNumber(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		return isConstantNumber(e.Expr)
	}
	return false
}

func isConstant(e ast.Expr) bool {
	switch e.(type) {
	case *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr, *ast.NumberExpr, *ast.StringExpr:
		return true
	}
	return false
}

func isTrue(e ast.Expr) bool {
	switch e.(type) {
	case *ast.FalseExpr, *ast.NilExpr:
		return false
	}
	return true
}

// fold computes what an expression has of constants at its beginning.
func fold(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.LogicalOpExpr:
		e.Lhs = fold(e.Lhs)
		if !isConstant(e.Lhs) {
			return e
		}
		if isTrue(e.Lhs) == (e.Operator == "and") {
			return oneValue(fold(e.Rhs))
		}
		return e.Lhs
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = fold(e.Lhs), fold(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = fold(e.Lhs), fold(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		e.Expr = fold(e.Expr)
	case *ast.AttrGetExpr:
		e.Object, e.Key = fold(e.Object), fold(e.Key)
	case *ast.FuncCallExpr:
		if e.Func != nil {
			e.Func = fold(e.Func)
		} else {
			e.Receiver = fold(e.Receiver)
		}
	case *ast.UnaryNotOpExpr:
		e.Expr = fold(e.Expr)
		if !isConstant(e.Expr) {
			return e
		}
		var out ast.Expr = &ast.TrueExpr{}
		if isTrue(e.Expr) {
			out = &ast.FalseExpr{}
		}
		copyPosition(out, e)
		return out
	}
	return e
}

// leaveByGoto has a loop left by goto where functions are made in it: that closes
// what they hold, which break does for the loop's own block alone:
//
//	do while c do ... goto out ... end ::out:: end
func (r *repairer) leaveByGoto(loop ast.Stmt, body []ast.Stmt, finish func() ast.Stmt) ast.Stmt {
	label := "(break)" + strconv.Itoa(r.labels)
	if !makesFunctions(body) || !replaceBreaks(body, label) {
		return finish()
	}
	r.labels++
	end := &ast.LabelStmt{Name: label}
	block := &ast.DoBlockStmt{}
	copyPosition(end, loop)
	copyPosition(block, loop)
	block.Stmts = []ast.Stmt{finish(), end}
	return block
}

// replaceBreaks turns each break of a loop's body into a goto, and reports whether there
// was one.
func replaceBreaks(list []ast.Stmt, label string) (found bool) {
	for i, s := range list {
		switch s := s.(type) {
		case *ast.BreakStmt:
			out := &ast.GotoStmt{Label: label}
			copyPosition(out, s)
			list[i], found = out, true
		case *ast.DoBlockStmt:
			found = replaceBreaks(s.Stmts, label) || found
		case *ast.IfStmt:
			found = replaceBreaks(s.Then, label) || found
			found = replaceBreaks(s.Else, label) || found
		}
	}
	return found
}

// makesFunctions reports whether statements make functions.
func makesFunctions(list []ast.Stmt) bool {
	found := false
	var look func(e ast.Expr) ast.Expr
	look = func(e ast.Expr) ast.Expr {
		if _, ok := e.(*ast.FunctionExpr); ok {
			found = true
		} else if !found {
			Children(e, look)
		}
		return e
	}
	for _, s := range list {
		if _, ok := s.(*ast.FuncDefStmt); ok || found {
			return true
		}
		expressions(s, look)
		for _, inner := range innerBlocks(s) {
			found = found || makesFunctions(inner)
		}
	}
	return found
}

// innerBlocks returns the statements inside of one that is not a function.
func innerBlocks(s ast.Stmt) [][]ast.Stmt {
	switch s := s.(type) {
	case *ast.DoBlockStmt:
		return [][]ast.Stmt{s.Stmts}
	case *ast.WhileStmt:
		return [][]ast.Stmt{s.Stmts}
	case *ast.RepeatStmt:
		return [][]ast.Stmt{s.Stmts}
	case *ast.IfStmt:
		return [][]ast.Stmt{s.Then, s.Else}
	case *ast.NumberForStmt:
		return [][]ast.Stmt{s.Stmts}
	case *ast.GenericForStmt:
		return [][]ast.Stmt{s.Stmts}
	}
	return nil
}

// expressions replaces the expressions of a statement, not those of statements
// inside of it.
func expressions(s ast.Stmt, f func(ast.Expr) ast.Expr) {
	list := func(exprs []ast.Expr) {
		for i, e := range exprs {
			exprs[i] = f(e)
		}
	}
	switch s := s.(type) {
	case *ast.AssignStmt:
		list(s.Lhs)
		list(s.Rhs)
	case *ast.LocalAssignStmt:
		list(s.Exprs)
	case *ast.FuncCallStmt:
		s.Expr = f(s.Expr)
	case *ast.WhileStmt:
		s.Condition = f(s.Condition)
	case *ast.RepeatStmt:
		s.Condition = f(s.Condition)
	case *ast.IfStmt:
		s.Condition = f(s.Condition)
	case *ast.NumberForStmt:
		s.Init, s.Limit = f(s.Init), f(s.Limit)
		if s.Step != nil {
			s.Step = f(s.Step)
		}
	case *ast.GenericForStmt:
		list(s.Exprs)
	case *ast.ReturnStmt:
		list(s.Exprs)
	case *ast.FuncDefStmt:
		if s.Name.Func != nil {
			s.Name.Func = f(s.Name.Func)
		} else {
			s.Name.Receiver = f(s.Name.Receiver)
		}
	}
}
