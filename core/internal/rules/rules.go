// Package rules checks, on each run of the tests, the rules for all packages of
// the module: who may import whom, which package may use a dependency, how long
// files, functions and lines may be, that each package has a comment, that
// there are no init functions, and that core/store/KEYS.md is complete. It only
// reads source files; core/README.md gives the reasons.
package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Sizes in lines, columns and methods.
const (
	MaxFile     = 500 // not for tests
	MaxFunction = 80  // in tests without the lines of tables
	MaxColumn   = 140 // a tab counts as one
	MaxMethods  = 30  // of one type
)

// File is one parsed source file.
type File struct {
	Package string // folder, slashes, from the module's root
	Path    string // from the module's root
	Test    bool
	syntax  *ast.File
	set     *token.FileSet
	lines   int
	text    string
}

// Read parses every Go file below root, without testdata and what begins with
// a dot.
func Read(root string) ([]*File, error) {
	var out []*File
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parse(filepath.ToSlash(rel), p, string(text))
		out = append(out, f)
		return err
	})
	return out, err
}

// parse reads the text of one file.
func parse(rel, name, text string) (*File, error) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &File{
		Package: path.Dir(rel),
		Path:    rel,
		Test:    strings.HasSuffix(rel, "_test.go"),
		syntax:  syntax,
		set:     set,
		lines:   set.File(syntax.FileStart).LineCount(),
		text:    text,
	}, nil
}

func (f *File) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.Path, f.set.Position(n.Pos()).Line)
}

// Imports reports imports that the layers do not allow, and dependencies away
// from their home. What tests import of the module is their own affair.
func Imports(files []*File) []string {
	var out []string
	for _, f := range files {
		for _, spec := range f.syntax.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				out = append(out, fmt.Sprintf("%s: %v", f.at(spec), err))
				continue
			}
			if why := forbidden(f, name); why != "" {
				out = append(out, fmt.Sprintf("%s: %s imports %s: %s", f.at(spec), f.Package, name, why))
			}
		}
	}
	return out
}

func forbidden(f *File, name string) string {
	if own, ok := strings.CutPrefix(name, "carteiro/"); ok {
		if f.Test || inCommand(f.Package, own) {
			return ""
		}
		allowed, known := permissions(f.Package)
		switch {
		case !known:
			return "the package is in no layer; give it one in layers.go"
		case !slices.Contains(allowed, own):
			return "its layer does not allow it"
		}
		return ""
	}
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
		return "" // standard library
	}
	for _, h := range homes {
		if name != h.module && !strings.HasPrefix(name, h.module+"/") {
			continue
		}
		if slices.Contains(h.packages, f.Package) || slices.Contains(h.packages, "all") ||
			f.Test && (h.tests || slices.Contains(h.packages, f.Package+" tests")) {
			return ""
		}
		return "its home is " + strings.Join(h.packages, ", ")
	}
	return "the dependency has no home; give it one in layers.go and a reason in core/README.md"
}

// inCommand reports whether pkg is part of a command, which may import the
// module's other packages and its own internal ones.
func inCommand(pkg, imports string) bool {
	if !strings.HasPrefix(pkg, "cmd/") {
		return false
	}
	if !strings.HasPrefix(imports, "cmd/") {
		return true
	}
	command, _, _ := strings.Cut(pkg, "/internal/")
	return strings.HasPrefix(imports, command+"/internal/")
}

// Levels reports permissions that run upward or sideways.
func Levels(levels []level) []string {
	number := map[string]int{}
	for n, l := range levels {
		for p := range l.packages {
			number[p] = n
		}
	}
	var out []string
	for n, l := range levels {
		for p, allowed := range l.packages {
			for _, a := range allowed {
				if below, ok := number[a]; ok && below >= n {
					out = append(out, fmt.Sprintf("layers.go: %s may import %s, which is not below it", p, a))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// Unused reports permissions that no file uses: whoever took the first step
// would not notice that it is one.
func Unused(files []*File) []string {
	used, there := map[[2]string]bool{}, map[string]bool{}
	for _, f := range files {
		there[f.Package] = true
		for _, spec := range f.syntax.Imports {
			if own, ok := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "carteiro/"); ok && !f.Test {
				used[[2]string{f.Package, own}] = true
			}
		}
	}
	var out []string
	for p := range there {
		allowed, _ := permissions(p)
		for _, a := range allowed {
			if !used[[2]string{p, a}] {
				out = append(out, fmt.Sprintf("layers.go: no file of %s imports %s", p, a))
			}
		}
	}
	slices.Sort(out)
	return out
}

// Sizes reports files and functions that are too long.
func Sizes(files []*File) []string {
	var out []string
	for _, f := range files {
		if !f.Test && f.lines > MaxFile {
			out = append(out, fmt.Sprintf("%s:1: %d lines, at most %d", f.Path, f.lines, MaxFile))
		}
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			n := f.span(fn)
			if f.Test {
				n -= f.tables(fn)
			}
			if n > MaxFunction {
				out = append(out, fmt.Sprintf("%s: function %s has %d lines, at most %d", f.at(fn), fn.Name.Name, n, MaxFunction))
			}
		}
	}
	return out
}

// Columns reports lines that are too long.
func Columns(files []*File) []string {
	var out []string
	for _, f := range files {
		n := 0
		for line := range strings.Lines(f.text) {
			n++
			if have := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); have > MaxColumn {
				out = append(out, fmt.Sprintf("%s:%d: %d columns, at most %d", f.Path, n, have, MaxColumn))
			}
		}
	}
	return out
}

// Methods reports types with too many methods. Those of embedded types do not
// count.
func Methods(files []*File) []string {
	counts := map[string]int{}
	for _, f := range files {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && !f.Test {
				counts[f.Package+"."+receiver(fn.Recv.List[0].Type)]++
			}
		}
	}
	var out []string
	for name, n := range counts {
		if n > MaxMethods {
			out = append(out, fmt.Sprintf("%s has %d methods, at most %d", name, n, MaxMethods))
		}
	}
	slices.Sort(out)
	return out
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// span returns how many lines a node has.
func (f *File) span(n ast.Node) int {
	return f.set.Position(n.End()).Line - f.set.Position(n.Pos()).Line + 1
}

// tables returns how many lines of a function are within composite literals: the
// cases of a test are data.
func (f *File) tables(fn *ast.FuncDecl) int {
	lines := 0
	ast.Inspect(fn, func(n ast.Node) bool {
		if lit, ok := n.(*ast.CompositeLit); ok {
			lines += f.span(lit) - 1
			return false
		}
		return true
	})
	return lines
}

// Comments reports packages without a package comment, or with several.
func Comments(files []*File) []string {
	where := map[string][]string{}
	for _, f := range files {
		if f.Test {
			continue
		}
		if _, ok := where[f.Package]; !ok {
			where[f.Package] = nil
		}
		if doc := f.syntax.Doc.Text(); strings.HasPrefix(doc, "Package "+f.syntax.Name.Name+" ") ||
			f.syntax.Name.Name == "main" && strings.HasPrefix(doc, "Command "+path.Base(f.Package)+" ") {
			where[f.Package] = append(where[f.Package], f.Path)
		}
	}
	var out []string
	for p, files := range where {
		switch len(files) {
		case 0:
			out = append(out, p+": no file has a comment that begins with \"Package NAME\" or \"Command NAME\"")
		case 1:
		default:
			out = append(out, fmt.Sprintf("%s: package comments in %s", p, strings.Join(files, " and ")))
		}
	}
	slices.Sort(out)
	return out
}

// Inits reports init functions, and imports made only for what their init
// functions do. What only brings data along does not count.
func Inits(files []*File) []string {
	var out []string
	for _, f := range files {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				out = append(out, f.at(fn)+": an init function; do it where it is needed, or in main")
			}
		}
		for _, spec := range f.syntax.Imports {
			if spec.Name != nil && spec.Name.Name == "_" && spec.Path.Value != `"embed"` && spec.Path.Value != `"time/tzdata"` {
				out = append(out, fmt.Sprintf("%s: import of %s for its side effects", f.at(spec), spec.Path.Value))
			}
		}
	}
	return out
}

// vague are package names that say nothing about what is in them.
var vague = []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "base", "shared", "lib", "types"}

// Names reports packages with a name of that kind.
func Names(files []*File) []string {
	var out []string
	seen := map[string]bool{}
	for _, f := range files {
		if name := f.syntax.Name.Name; slices.Contains(vague, name) && !seen[f.Package] {
			seen[f.Package] = true
			out = append(out, fmt.Sprintf("%s: package %s; name it after the noun that it is about", f.Path, name))
		}
	}
	return out
}

// topLevel is everything the module's root may hold beside dotfiles.
var topLevel = []string{"LICENSE", "README.md", "cmd", "core", "go.mod", "go.sum", "hooks", "plugins", "scripts"}

// TopLevel reports names in the root that do not belong there.
func TopLevel(names []string) []string {
	var out []string
	for _, n := range names {
		if !strings.HasPrefix(n, ".") && !slices.Contains(topLevel, n) {
			out = append(out, n+": the root holds only "+strings.Join(topLevel, " ")+" and dotfiles")
		}
	}
	return out
}
