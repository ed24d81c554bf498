package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// cycle is a set of functions of which each calls each other, by way of others,
// and which stand in more than one file.
type cycle struct {
	functions []string // FILE:LINE NAME
	files     int
}

// listed is what go list tells of a package.
type listed struct {
	Dir, ImportPath, Export string
	GoFiles, CgoFiles       []string
	Standard, DepOnly       bool
	Error                   *struct{ Err string }
}

// findCycles type-checks each package of the module by itself; what it imports
// comes from the compiler's export data.
func findCycles(m *module) ([]cycle, error) {
	const fields = "-json=Dir,ImportPath,Export,GoFiles,CgoFiles,Standard,DepOnly,Error"
	cmd := exec.Command("go", "list", "-export", "-deps", fields, "./...")
	cmd.Dir = m.root
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("go list: %s", firstError(string(exit.Stderr)))
	} else if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	var packages []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if p.Error != nil {
			return nil, errors.New(p.Error.Err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly && !p.Standard {
			packages = append(packages, p)
		}
	}
	root, err := filepath.Abs(m.root)
	if err != nil {
		return nil, err
	}
	var cycles []cycle
	for _, p := range packages {
		if len(p.CgoFiles) > 0 {
			continue // its files are not what is compiled
		}
		found, err := packageCycles(p, exports, root)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.ImportPath, err)
		}
		cycles = append(cycles, found...)
	}
	slices.SortStableFunc(cycles, func(a, b cycle) int { return len(b.functions) - len(a.functions) })
	return cycles, nil
}

// firstError returns the first line that does not only name a package.
func firstError(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return "failed"
}

func packageCycles(p listed, exports map[string]string, root string) ([]cycle, error) {
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("%s was not compiled", path)
		}
		return os.Open(exports[path])
	})}
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	if _, err := config.Check(p.ImportPath, set, files, info); err != nil {
		return nil, err
	}
	calls := map[types.Object][]types.Object{}
	var order []types.Object
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			caller := info.Defs[fn.Name]
			order = append(order, caller)
			calls[caller] = callees(fn.Body, info)
		}
	}
	var out []cycle
	for _, component := range components(order, calls) {
		c := cycle{}
		in := map[string]bool{}
		for _, o := range component {
			at := set.Position(o.Pos())
			file, err := filepath.Rel(root, at.Filename)
			if err != nil {
				file = at.Filename
			}
			in[file] = true
			c.functions = append(c.functions, fmt.Sprintf("%s:%d %s", filepath.ToSlash(file), at.Line, o.Name()))
		}
		if c.files = len(in); c.files > 1 {
			slices.Sort(c.functions)
			out = append(out, c)
		}
	}
	return out, nil
}

// callees returns the functions that a body calls by name.
func callees(body ast.Node, info *types.Info) []types.Object {
	var out []types.Object
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		var name *ast.Ident
		switch fun := ast.Unparen(call.Fun).(type) {
		case *ast.Ident:
			name = fun
		case *ast.SelectorExpr:
			name = fun.Sel
		case *ast.IndexExpr: // of a generic function
			name, _ = fun.X.(*ast.Ident)
		}
		if name == nil {
			return true
		}
		if fn, ok := info.Uses[name].(*types.Func); ok {
			out = append(out, fn.Origin())
		}
		return true
	})
	return out
}

// components returns the strongly connected components with more than one
// function, as Tarjan finds them.
func components(order []types.Object, calls map[types.Object][]types.Object) [][]types.Object {
	var out [][]types.Object
	var stack []types.Object
	index, low, onStack := map[types.Object]int{}, map[types.Object]int{}, map[types.Object]bool{}
	var visit func(o types.Object)
	visit = func(o types.Object) {
		index[o] = len(index) + 1
		low[o] = index[o]
		stack = append(stack, o)
		onStack[o] = true
		for _, to := range calls[o] {
			if _, ours := calls[to]; !ours {
				continue
			}
			if index[to] == 0 {
				visit(to)
				low[o] = min(low[o], low[to])
			} else if onStack[to] {
				low[o] = min(low[o], index[to])
			}
		}
		if low[o] != index[o] {
			return
		}
		n := slices.Index(stack, o)
		component := slices.Clone(stack[n:])
		stack = stack[:n]
		for _, c := range component {
			onStack[c] = false
		}
		if len(component) > 1 {
			out = append(out, component)
		}
	}
	for _, o := range order {
		if index[o] == 0 {
			visit(o)
		}
	}
	return out
}
