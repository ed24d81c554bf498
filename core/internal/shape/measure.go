package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// From where on something counts as large.
const (
	longFile     = 350
	longFunction = 60
	hugeFunction = 100
	manyParams   = 5
	deepNesting  = 4
	wideLine     = 140
)

// How much is listed below the table.
const (
	shownTypes  = 3
	shownCycles = 10
)

// named is a figure with the place that it belongs to.
type named struct {
	name string
	n    int
}

// largeType is a type with its methods.
type largeType struct {
	name    string // with the folder
	methods []string
	files   map[string]bool
}

// share is so many of all.
type share struct{ n, all int }

func (s *share) count(counts bool) {
	s.all++
	if counts {
		s.n++
	}
}

// shape is everything that is measured.
type shape struct {
	module                          string
	productLines, testLines         int
	testFiles                       int
	files, functions                []named // with their lines
	packages                        map[string]int
	documentedPackages              share
	edges, chain                    int
	params, nesting                 share
	wide                            int
	widest                          named
	commentLines                    int
	exported, unexported            share
	types                           []*largeType
	fuzz, bench, subtests, parallel int
	goStatements, variables         int
	todo                            int
	cycles                          []cycle
	cyclesErr                       error
}

// measure reads off everything that the syntax tells.
func measure(m *module) *shape {
	s := &shape{module: m.path, packages: map[string]int{}}
	comments := map[string]bool{}
	types := map[string]*largeType{}
	imports := map[string]map[string]bool{}
	for _, f := range m.files {
		if f.test {
			s.testLines += f.lines
			s.testFiles++
			s.tests(f)
			continue
		}
		s.productLines += f.lines
		s.files = append(s.files, named{f.path, f.lines})
		s.packages[f.folder] += f.lines
		comments[f.folder] = comments[f.folder] || f.syntax.Doc != nil
		if imports[f.folder] == nil {
			imports[f.folder] = map[string]bool{}
		}
		for _, spec := range f.syntax.Imports {
			if folder, ok := m.own(spec); ok {
				imports[f.folder][folder] = true
			}
		}
		s.columns(f)
		s.comments(m, f)
		for _, d := range f.syntax.Decls {
			s.declaration(m, f, d, types)
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				s.goStatements++
			}
			return true
		})
	}
	for _, documented := range comments {
		s.documentedPackages.count(documented)
	}
	for _, to := range imports {
		s.edges += len(to)
	}
	s.chain = longestChain(imports)
	s.types = slices.SortedFunc(maps.Values(types), func(a, b *largeType) int {
		if n := len(b.methods) - len(a.methods); n != 0 {
			return n
		}
		return strings.Compare(a.name, b.name)
	})
	return s
}

// longestChain returns how many packages the longest path of imports has.
func longestChain(imports map[string]map[string]bool) int {
	known := map[string]int{}
	var depth func(folder string) int
	depth = func(folder string) int {
		if n, ok := known[folder]; ok {
			return n
		}
		longest := 0
		for to := range imports[folder] {
			longest = max(longest, depth(to))
		}
		known[folder] = longest + 1
		return longest + 1
	}
	longest := 0
	for folder := range imports {
		longest = max(longest, depth(folder))
	}
	return longest
}

// tests counts what a file of tests has.
func (s *shape) tests(f *source) {
	for _, d := range f.syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
			switch {
			case strings.HasPrefix(fn.Name.Name, "Fuzz"):
				s.fuzz++
			case strings.HasPrefix(fn.Name.Name, "Benchmark"):
				s.bench++
			}
		}
	}
	s.subtests += bytes.Count(f.text, []byte("t.Run(")) + bytes.Count(f.text, []byte("b.Run("))
	s.parallel += bytes.Count(f.text, []byte("t.Parallel("))
}

// columns counts wide lines.
func (s *shape) columns(f *source) {
	n := 0
	for line := range bytes.Lines(f.text) {
		n++
		line = bytes.TrimRight(line, "\r\n")
		width := utf8.RuneCount(line)
		if width > wideLine {
			s.wide++
		}
		if width > s.widest.n {
			s.widest = named{fmt.Sprintf("%s:%d", f.path, n), width}
		}
	}
}

// comments counts lines with a comment, and notes of what is still to do.
func (s *shape) comments(m *module, f *source) {
	commented := map[int]bool{}
	for _, group := range f.syntax.Comments {
		for _, c := range group.List {
			for word := range strings.FieldsFuncSeq(c.Text, func(r rune) bool { return r < 'A' || r > 'Z' }) {
				if word == "TODO" || word == "FIXME" || word == "XXX" {
					s.todo++
				}
			}
			for n := m.lineOf(c.Pos()); n <= m.lineOf(c.End()); n++ {
				commented[n] = true
			}
		}
	}
	s.commentLines += len(commented)
}

// declaration counts a declaration at the top of a file.
func (s *shape) declaration(m *module, f *source, d ast.Decl, types map[string]*largeType) {
	document := func(name string, counts bool) {
		if ast.IsExported(name) {
			s.exported.count(counts)
		} else if name != "_" && name != "main" {
			s.unexported.count(counts)
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		document(d.Name.Name, d.Doc != nil)
		if d.Recv != nil && len(d.Recv.List) == 1 {
			name := f.folder + "." + receiver(d.Recv.List[0].Type)
			if types[name] == nil {
				types[name] = &largeType{name: name, files: map[string]bool{}}
			}
			types[name].methods = append(types[name].methods, d.Name.Name)
			types[name].files[f.path] = true
		}
		if d.Body == nil {
			return
		}
		s.functions = append(s.functions, named{fmt.Sprintf("%s:%d %s", f.path, m.lineOf(d.Pos()), d.Name.Name), m.span(d)})
		s.params.count(d.Type.Params.NumFields() > manyParams)
		s.nesting.count(nesting(d.Body) >= deepNesting)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				document(spec.Name.Name, d.Doc != nil || spec.Doc != nil || spec.Comment != nil)
			case *ast.ValueSpec:
				for _, name := range spec.Names {
					document(name.Name, d.Doc != nil || spec.Doc != nil || spec.Comment != nil)
					if d.Tok == token.VAR && name.Name != "_" {
						s.variables++
					}
				}
			}
		}
	}
}

// receiver returns the name of a method's type.
func receiver(e ast.Expr) string {
	for {
		switch t := e.(type) {
		case *ast.StarExpr:
			e = t.X
		case *ast.ParenExpr:
			e = t.X
		case *ast.IndexExpr:
			e = t.X
		case *ast.IndexListExpr:
			e = t.X
		case *ast.Ident:
			return t.Name
		default:
			return "?"
		}
	}
}

// nesting returns how deep statements with blocks stand within each other. An "else
// if" is as deep as its if, and a function literal adds nothing.
func nesting(body ast.Node) int {
	deepest := 0
	var walk func(n ast.Node, depth int)
	walk = func(n ast.Node, depth int) {
		deepest = max(deepest, depth)
		ast.Inspect(n, func(c ast.Node) bool {
			if c == n {
				return true
			}
			switch c := c.(type) {
			case *ast.IfStmt:
				next := depth + 1
				if i, ok := n.(*ast.IfStmt); ok && i.Else == c {
					next = depth
				}
				walk(c, next)
				return false
			case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
				walk(c, depth+1)
				return false
			}
			return true
		})
	}
	walk(body, 0)
	return deepest
}
