package lua

import (
	"fmt"
	"slices"
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// checkReadOnly finds changes to what a hook gives its handler to look at only.
// They raise an error when they run, so that a policy which never comes there
// works: it loads, and only a check tells.
func (r *loadCheck) checkReadOnly(spec hooks.Spec, handler *ast.FunctionExpr) (errs []error) {
	tell := func(line int, near, what string, c *class, may hooks.Changes) {
		errs = append(errs, r.file.Fault(line, 0, near, fmt.Sprintf("%s changes what %s only shows", what, spec.Point), hooksThatAllow(c, may)))
	}
	for _, call := range r.CallsIn(handler) {
		c := r.parameterClass(spec, handler, call.Receiver)
		if c == nil {
			continue
		}
		i := slices.IndexFunc(c.methods, func(f function) bool { return f.name == call.Method })
		if i >= 0 && c.methods[i].edits != 0 && spec.Changes&c.methods[i].edits == 0 && len(call.Args) >= c.methods[i].from {
			tell(call.Line(), call.Method, c.name+":"+call.Method, c, c.methods[i].edits)
		}
	}
	for _, target := range r.TargetsIn(handler) {
		c := r.parameterClass(spec, handler, target.Object)
		key, ok := target.Key.(*ast.StringExpr)
		if c == nil || !ok {
			continue
		}
		i := slices.IndexFunc(c.fields, func(f field) bool { return f.name == key.Value })
		if i >= 0 && c.fields[i].edits != 0 && spec.Changes&c.fields[i].edits == 0 {
			tell(target.Line(), "."+key.Value, c.name+"."+key.Value, c, c.fields[i].edits)
		}
	}
	return errs
}

// parameterClass returns what an expression is, where it is one of the handler's parameters.
func (r *loadCheck) parameterClass(spec hooks.Spec, handler *ast.FunctionExpr, e ast.Expr) *class {
	id, ok := e.(*ast.IdentExpr)
	if !ok {
		return nil
	}
	v := r.names.Uses[id]
	i := slices.Index(r.names.Declared[handler], v)
	if v == nil || v.Assigned || i < 0 || i >= len(spec.Args) {
		return nil
	}
	for _, c := range allClasses() {
		if c.name == spec.Args[i] {
			return c
		}
	}
	return nil
}

// hooksThatAllow says at which hooks that is allowed.
func hooksThatAllow(c *class, may hooks.Changes) string {
	var points []string
	for _, s := range hooks.Specs() {
		if s.Changes&may != 0 && slices.Contains(s.Args, c.name) {
			points = append(points, string(s.Point))
		}
	}
	return "it can be changed at " + strings.Join(points, ", ")
}
