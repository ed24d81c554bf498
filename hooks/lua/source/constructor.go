package source

import (
	"strconv"

	"github.com/yuin/gopher-lua/ast"
)

// flush is after how many fields without a key the compiler writes them.
const flush = 50

// ChunkFields is how many fields of a long constructor are compiled together.
// The compiler's time grows with the square of the number of constants in a
// function, and it loses fields after 511 times flush.
const ChunkFields = 2000

// tableCall turns {...} into a call that pays for its size. A last field with
// many values is given as a negative count, to be measured.
func tableCall(e *ast.TableExpr) ast.Expr {
	positional, keyed, mixed := 0, 0, false
	for _, f := range e.Fields {
		if f.Key != nil {
			keyed++
			mixed = mixed || positional >= flush
		} else {
			positional++
		}
	}
	n := len(e.Fields)
	last := n > 0 && e.Fields[n-1].Key == nil && hasManyValues(e.Fields[n-1].Value)
	if last {
		positional--
	}
	var more []ast.Expr
	switch {
	case keyed == 0 && positional > ChunkFields:
		return joinParts(e)
	case mixed || last && positional > 0 && positional%flush == 0:
		more = withKeys(e, positional, last)
	case last:
		n = -n
	}
	args := append([]ast.Expr{e, numberExpr(n, e), numberExpr(positional, e)}, more...)
	if len(more) == 0 {
		args = args[:2]
	}
	return newCall(TableName, e, args...)
}

func numberExpr(n int, at ast.PositionHolder) ast.Expr {
	number := &ast.NumberExpr{Value: strconv.Itoa(n)}
	copyPosition(number, at)
	return number
}

// withKeys gives the fields without a key the keys that they stand for: the
// compiler writes them again for each field with a key that follows fifty, and
// what follows fifty and is a call in the place of the first. It cuts off a
// last field with many values and returns it.
func withKeys(e *ast.TableExpr, positional int, last bool) (more []ast.Expr) {
	if last {
		n := len(e.Fields) - 1
		more, e.Fields = []ast.Expr{e.Fields[n].Value}, e.Fields[:n]
	}
	i := 0
	for _, f := range e.Fields {
		if f.Key == nil {
			i++
			f.Key = numberExpr(i, e)
			f.Value = oneValue(f.Value)
		}
	}
	return more
}

// joinParts makes a long list of parts; one that is all constants is compiled as
// a function of its own. A last field with many values follows the parts.
func joinParts(e *ast.TableExpr) ast.Expr {
	n := len(e.Fields)
	var more []ast.Expr
	if last := e.Fields[n-1].Value; hasManyValues(last) {
		n--
		more = []ast.Expr{last}
	}
	var parts []ast.Expr
	for from := 0; from < n; from += ChunkFields {
		part := &ast.TableExpr{Fields: e.Fields[from:min(from+ChunkFields, n)]}
		copyPosition(part, part.Fields[0].Value)
		parts = append(parts, asFunctionCall(part))
	}
	args := append([]ast.Expr{numberExpr(n, e), numberExpr(len(parts), e)}, parts...)
	return newCall(JoinName, e, append(args, more...)...)
}

// asFunctionCall returns a table of constants as (function() return {...} end)().
func asFunctionCall(part *ast.TableExpr) ast.Expr {
	for _, f := range part.Fields {
		if !isConstant(f.Value) {
			return part
		}
	}
	back := &ast.ReturnStmt{Exprs: []ast.Expr{part}}
	fn := &ast.FunctionExpr{ParList: &ast.ParList{}, Stmts: []ast.Stmt{back}}
	call := &ast.FuncCallExpr{Func: fn, AdjustRet: true}
	for _, n := range []ast.PositionHolder{back, fn, call} {
		copyPosition(n, part)
	}
	return call
}
