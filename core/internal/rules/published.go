package rules

import (
	"fmt"
	"go/ast"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Published lists the names that others rely on, and how often each occurs (but
// for the log): fields of JSON and TOML, hooks, metrics, steps and keys of the log, commands
// and flags, kinds of records and key spaces of the store. Names in Go may change;
// these stay, because stores, configurations, programs and monitoring use them.
func Published(files []*File) []string {
	counts := map[string]int{}
	for _, f := range files {
		if f.Test || strings.HasPrefix(f.Package, "core/internal/") || f.Package == "core/store/storetest" || f.Package == "hooks/hookstest" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			for _, name := range publishedIn(n) {
				counts[name]++
			}
			return true
		})
	}
	var out []string
	for name, n := range counts {
		if !strings.HasPrefix(name, "log ") { // the same step may be logged at several places
			name = fmt.Sprintf("%s %d", name, n)
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func publishedIn(n ast.Node) []string {
	switch n := n.(type) {
	case *ast.Field:
		return tagNames(n)
	case *ast.BasicLit:
		if s := text(n); strings.HasPrefix(s, "carteiro_") && !strings.ContainsAny(s, " /") {
			return []string{"metric " + s}
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Use" && text(n.Value) != "" {
			return []string{"command " + strings.Fields(text(n.Value))[0]}
		}
	case *ast.ValueSpec:
		return constantNames(n)
	case *ast.CallExpr:
		return callNames(n)
	}
	return nil
}

// tagNames are the names that the tags of a field give it.
func tagNames(f *ast.Field) (out []string) {
	if f.Tag == nil {
		return nil
	}
	tag := reflect.StructTag(text(f.Tag))
	for _, kind := range []string{"json", "toml"} {
		if name, _, _ := strings.Cut(tag.Get(kind), ","); name != "" && name != "-" {
			out = append(out, kind+" "+name)
		}
	}
	return out
}

// constantNames are hooks, kinds of records and key spaces.
func constantNames(s *ast.ValueSpec) (out []string) {
	point, _ := s.Type.(*ast.Ident)
	for i, name := range s.Names {
		if i >= len(s.Values) || text(s.Values[i]) == "" {
			continue
		}
		value, lower := text(s.Values[i]), strings.ToLower(name.Name)
		switch {
		case point != nil && point.Name == "Point":
			out = append(out, "hook "+value)
		case strings.HasSuffix(lower, "space"):
			out = append(out, "space "+value)
		case strings.HasPrefix(name.Name, "kind") && point == nil:
			out = append(out, "record "+value)
		}
	}
	return out
}

// logCalls are the methods of loggers, with the place of their first key.
var logCalls = map[string]int{"Step": 3, "InfoContext": 2, "WarnContext": 2, "ErrorContext": 2, "Info": 1, "Warn": 1, "Error": 1}

// callNames are steps and keys of the log, and flags.
func callNames(c *ast.CallExpr) (out []string) {
	fn, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	if first, ok := logCalls[fn.Sel.Name]; ok && len(c.Args) >= first {
		if fn.Sel.Name == "Step" && text(c.Args[1]) != "" {
			out = append(out, "log "+text(c.Args[1]))
		}
		for i := first; i < len(c.Args)-1; i += 2 {
			if key := text(c.Args[i]); key != "" {
				out = append(out, "log key "+key)
			}
		}
		return out
	}
	if flags, ok := fn.X.(*ast.CallExpr); ok {
		if sel, ok := flags.Fun.(*ast.SelectorExpr); ok && strings.HasSuffix(sel.Sel.Name, "Flags") {
			for _, a := range c.Args[:min(len(c.Args), 2)] {
				if name := text(a); name != "" {
					return []string{"flag " + name}
				}
			}
		}
	}
	return nil
}

// text is the value of a literal string, or "".
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}
