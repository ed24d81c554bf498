package source

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"
)

// The interpreter reports what went wrong with a value, but not where the value
// came from: the code that it runs has no names any more. So where an error is
// shown or caught, the line of the text is looked at once more, and the
// variable, the field or the call is named that the value can have come from.

// sayings are what the interpreter says, with what stands for it.
var sayings = []struct {
	pattern *regexp.Regexp
	explain func(at exprLine, m []string) string
}{
	{regexp.MustCompile(`^attempt to index a non-table object\((\w+)\) with key '(.*)'$`), func(at exprLine, m []string) string {
		return describe("attempt to index", at.indexedNames(m[2]), m[1])
	}},
	{regexp.MustCompile(`^attempt to call a non-function object$`), func(at exprLine, _ []string) string {
		return describeCall(at.calledNames())
	}},
	{regexp.MustCompile(`^cannot perform (\w+) operation between (\w+) and (\w+)$`), func(at exprLine, m []string) string {
		left := m[2] != "number" && m[2] != "string"
		kind := m[3]
		if left {
			kind = m[2]
		}
		return describe("attempt to perform arithmetic on", at.operandNames(left), kind)
	}},
	{regexp.MustCompile(`^attempt to perform arithmetic on a (\w+) value$`), func(at exprLine, m []string) string {
		return describe("attempt to perform arithmetic on", append(at.operandNames(true), at.operandNames(false)...), m[1])
	}},
	{regexp.MustCompile(`^__unm undefined$`), func(at exprLine, _ []string) string {
		return describe("attempt to perform arithmetic on", at.negatedNames(), "")
	}},
	{regexp.MustCompile(`^attempt to get length of a (\w+) value$`), func(at exprLine, m []string) string {
		return describe("attempt to get length of", at.measuredNames(), m[1])
	}},
	{regexp.MustCompile(`^attempt to concatenate a (\w+) value \(operand (\d+)\)$`), func(at exprLine, m []string) string {
		n, _ := strconv.Atoi(m[2])
		return describe("attempt to concatenate", at.joinedNames(n), m[1])
	}},
	{regexp.MustCompile(`^for statement (init|limit|step) must be a number$`), func(_ exprLine, m []string) string {
		return "'for' " + strings.Replace(m[1], "init", "initial value", 1) + " must be a number"
	}},
}

// describe names a value where there is one name that it can have.
func describe(what string, names []string, kind string) string {
	one := ""
	for _, n := range names {
		if one != "" && n != one {
			one = ""
			break
		}
		one = n
	}
	switch {
	case one == "" && kind == "":
		return what + " a value of the wrong type"
	case one == "":
		return fmt.Sprintf("%s a %s value", what, kind)
	case kind == "":
		return what + " " + one
	}
	return fmt.Sprintf("%s %s (a %s value)", what, one, kind)
}

// describeCall is about for calls: the interpreter does not tell what the value was.
func describeCall(names []string) string {
	const what = "attempt to call "
	switch len(names) {
	case 0:
		return what + "a value that is not a function"
	case 1:
		return what + names[0] + ", which is not a function"
	}
	return what + "a value that is not a function, one of " + strings.Join(names, ", ")
}

// placed is how an error begins that has a place.
var placed = regexp.MustCompile(`^(.*?):(\d+):\s*`)

// CutPlace splits the text of an error that begins with its place; without one,
// file is "".
func CutPlace(text string) (file string, line int, rest string) {
	m := placed.FindStringSubmatch(text)
	if m == nil {
		return "", 0, text
	}
	line, _ = strconv.Atoi(m[2])
	return m[1], line, text[len(m[0]):]
}

// Explain rewrites the text of an error of the interpreter that begins with its
// place. find returns the file of a name, or nil; it is called only where the
// text needs it.
func Explain(text string, find func(name string) *File) string {
	name, line, said := CutPlace(text)
	if name == "" {
		return text
	}
	for _, saying := range sayings {
		found := saying.pattern.FindStringSubmatch(said)
		if found == nil {
			continue
		}
		var lines map[int][]ast.Expr
		if f := find(name); f != nil {
			f.once.Do(f.indexExpressions)
			lines = f.lines
		}
		return text[:len(text)-len(said)] + saying.explain(exprLine{lines, line}, found)
	}
	return text
}

// indexExpressions notes the expressions of the file by their lines, at its first error.
func (f *File) indexExpressions() {
	chunk, err := f.Parse()
	if err != nil {
		return
	}
	f.lines = map[int][]ast.Expr{}
	var look func(e ast.Expr) ast.Expr
	var walk func(list []ast.Stmt)
	look = func(e ast.Expr) ast.Expr {
		f.lines[e.Line()] = append(f.lines[e.Line()], e)
		if fn, ok := e.(*ast.FunctionExpr); ok {
			walk(fn.Stmts)
		} else {
			Children(e, look)
		}
		return e
	}
	walk = func(list []ast.Stmt) {
		for _, s := range list {
			if loop, ok := s.(*ast.NumberForStmt); ok { // as it was compiled
				loop.Init, loop.Limit = asNumber(loop.Init), asNumber(loop.Limit)
				if loop.Step != nil {
					loop.Step = asNumber(loop.Step)
				}
			}
			expressions(s, look)
			if def, ok := s.(*ast.FuncDefStmt); ok {
				walk(def.Func.Stmts)
			}
			for _, inner := range innerBlocks(s) {
				walk(inner)
			}
		}
	}
	walk(chunk)
}

// exprLine is a line with the expressions of its file.
type exprLine struct {
	lines map[int][]ast.Expr
	line  int
}

// names returns those of the values that pick takes from the expressions of the
// line.
func (p exprLine) names(pick func(e ast.Expr) []ast.Expr) []string {
	var out []string
	seen := map[string]bool{}
	for _, e := range p.lines[p.line] {
		for _, value := range pick(e) {
			if name := nameOf(value); name != "" && !seen[name] {
				seen[name] = true
				out = append(out, name)
			}
		}
	}
	return out
}

// nameOf names what a value comes from; "" where that is nothing with a name.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.IdentExpr:
		return "variable '" + e.Value + "'"
	case *ast.AttrGetExpr:
		if key, ok := e.Key.(*ast.StringExpr); ok {
			return "field '" + key.Value + "'"
		}
		return "an element of " + strings.TrimPrefix(nameOf(e.Object), "variable ")
	case *ast.FuncCallExpr:
		if e.Func == nil {
			return "the result of method '" + e.Method + "'"
		}
		if name := nameOf(e.Func); name != "" {
			return "the result of " + strings.TrimPrefix(strings.TrimPrefix(name, "variable "), "field ")
		}
	}
	return ""
}

func (p exprLine) indexedNames(key string) []string {
	computed := p.names(func(e ast.Expr) []ast.Expr {
		if get, ok := e.(*ast.AttrGetExpr); ok {
			if _, ok := get.Key.(*ast.StringExpr); !ok {
				return []ast.Expr{get.Object}
			}
		}
		return nil
	})
	named := p.names(func(e ast.Expr) []ast.Expr {
		switch e := e.(type) {
		case *ast.AttrGetExpr:
			if s, ok := e.Key.(*ast.StringExpr); ok && s.Value == key {
				return []ast.Expr{e.Object}
			}
		case *ast.FuncCallExpr:
			if e.Func == nil && e.Method == key {
				return []ast.Expr{e.Receiver}
			}
		}
		return nil
	})
	if len(named) == 0 {
		return computed
	}
	return named
}

func (p exprLine) calledNames() []string {
	var out []string
	for _, name := range p.names(func(e ast.Expr) []ast.Expr {
		if call, ok := e.(*ast.FuncCallExpr); ok {
			if call.Func != nil {
				return []ast.Expr{call.Func}
			}
			return []ast.Expr{call}
		}
		return nil
	}) {
		out = append(out, strings.TrimPrefix(name, "the result of "))
	}
	return out
}

func (p exprLine) operandNames(left bool) []string {
	return p.names(func(e ast.Expr) []ast.Expr {
		if a, ok := e.(*ast.ArithmeticOpExpr); ok && left {
			return []ast.Expr{a.Lhs}
		} else if ok {
			return []ast.Expr{a.Rhs}
		}
		return nil
	})
}

func (p exprLine) negatedNames() []string {
	return p.names(func(e ast.Expr) []ast.Expr {
		if minus, ok := e.(*ast.UnaryMinusOpExpr); ok {
			return []ast.Expr{minus.Expr}
		}
		return nil
	})
}

func (p exprLine) measuredNames() []string {
	return p.names(func(e ast.Expr) []ast.Expr {
		if length, ok := e.(*ast.UnaryLenOpExpr); ok {
			return []ast.Expr{length.Expr}
		}
		return nil
	})
}

// joinedNames returns the values that stand at a place in chains of "..".
func (p exprLine) joinedNames(n int) []string {
	return p.names(func(e ast.Expr) []ast.Expr {
		chain, ok := e.(*ast.StringConcatOpExpr)
		for i := 1; ok && i < n; i++ {
			next, more := chain.Rhs.(*ast.StringConcatOpExpr)
			if !more && i == n-1 {
				return []ast.Expr{chain.Rhs}
			}
			chain, ok = next, more
		}
		if ok {
			return []ast.Expr{chain.Lhs}
		}
		return nil
	})
}
