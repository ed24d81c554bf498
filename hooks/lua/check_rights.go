package lua

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"carteiro/hooks/lua/signature"
	"carteiro/hooks/lua/source"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// requireBundleRight raises unless the bundle has a right of its manifest.
func (u *loadedSource) requireBundleRight(L *glua.LState, r hooks.BundleRight, what string) {
	if !u.src.Grants.HasRight(r) {
		L.RaiseError("%s: %s does not have the right %q (capabilities.rights)", what, u.bundleName(), string(r))
	}
}

// secretOf returns a field of cred that bundles see with a right alone.
func secretOf(get func(*hooks.Cred) string) func(*state, *glua.LState, *object) glua.LValue {
	return func(st *state, _ *glua.LState, o *object) glua.LValue {
		if !st.source.src.Grants.HasRight(hooks.RightPasswords) {
			return glua.LNil
		}
		return optional(get(o.v.(*hooks.Cred)))
	}
}

// credentials are the header fields with which a browser says who it is.
var credentials = []string{"authorization", "cookie", "proxy-authorization"}

func reqHeaders(st *state, L *glua.LState, o *object) glua.LValue {
	all := st.source.src.Grants.HasRight(hooks.RightCredentials)
	return reqTable(func(r *hooks.Request) map[string]string {
		if all {
			return r.Headers
		}
		shown := make(map[string]string, len(r.Headers))
		for name, v := range r.Headers {
			if !slices.Contains(credentials, strings.ToLower(name)) {
				shown[name] = v
			}
		}
		return shown
	})(st, L, o)
}

// checkHiddenFields finds reads of what the bundle is not shown, as far as the text
// alone tells: cred.password in a handler of receive.auth, and
// req.headers.cookie of a parameter. Such a read gives nil and fails nothing,
// so that a bundle which can do without loads; only `bundle lint` tells.
func (c *compiled) checkHiddenFields(chunk []ast.Stmt, n *source.Names) (errs []error) {
	g := c.source.src.Grants
	creds, parameters := map[*source.Variable]bool{}, map[*source.Variable]bool{}
	headers := map[*source.Variable]bool{}
	var reads []*ast.AttrGetExpr
	var locals []*ast.LocalAssignStmt
	walk(reflect.ValueOf(chunk), func(node any) {
		switch e := node.(type) {
		case *ast.AttrGetExpr:
			reads = append(reads, e)
		case *ast.LocalAssignStmt:
			locals = append(locals, e)
		case *ast.FunctionExpr:
			for _, v := range n.Declared[e] {
				parameters[v] = true
			}
		case *ast.FuncCallExpr:
			if v := credParameter(e, n); v != nil {
				creds[v] = true
			}
		}
	})
	ofHeaders := func(e *ast.AttrGetExpr) bool {
		id, ok1 := e.Object.(*ast.IdentExpr)
		name, ok2 := e.Key.(*ast.StringExpr)
		return ok1 && ok2 && name.Value == "headers" && parameters[n.Uses[id]] && g.HasHook(hooks.WebRequest)
	}
	for _, s := range locals { // other names for the same
		for i, v := range n.Declared[s] {
			if i >= len(s.Exprs) || v == nil || v.Assigned {
				continue
			}
			switch e := s.Exprs[i].(type) {
			case *ast.IdentExpr:
				creds[v], headers[v] = creds[n.Uses[e]], headers[n.Uses[e]]
			case *ast.AttrGetExpr:
				headers[v] = ofHeaders(e)
			}
		}
	}
	for _, e := range reads {
		key, ok := e.Key.(*ast.StringExpr)
		if !ok {
			continue
		}
		right, what := hooks.BundleRight(""), ""
		switch object := e.Object.(type) {
		case *ast.IdentExpr:
			switch v := n.Uses[object]; {
			case v == nil:
			case creds[v] && (key.Value == "password" || key.Value == "token"):
				right, what = hooks.RightPasswords, "cred."+key.Value
			case headers[v] && slices.Contains(credentials, key.Value):
				right, what = hooks.RightCredentials, "req.headers."+key.Value
			}
		case *ast.AttrGetExpr:
			if ofHeaders(object) && slices.Contains(credentials, key.Value) {
				right, what = hooks.RightCredentials, "req.headers."+key.Value
			}
		}
		if right != "" && !g.HasRight(right) {
			errs = append(errs, c.Fault(e.Line(), 0, key.Value, what+" is nil: this bundle does not have the right "+string(right),
				declareRight(right)))
		}
	}
	return errs
}

func declareRight(r hooks.BundleRight) string {
	return `declare rights = ["` + string(r) + `"] under [capabilities]`
}

// credParameter returns the parameter cred of on("receive.auth", ..., function), or nil.
func credParameter(c *ast.FuncCallExpr, n *source.Names) *source.Variable {
	id, ok := c.Func.(*ast.IdentExpr)
	if !ok || id.Value != "on" || n.Uses[id] != nil || len(c.Args) < 2 {
		return nil
	}
	name, ok1 := c.Args[0].(*ast.StringExpr)
	handler, ok2 := c.Args[len(c.Args)-1].(*ast.FunctionExpr)
	if !ok1 || !ok2 || name.Value != string(hooks.ReceiveAuth) || len(n.Declared[handler]) < 2 {
		return nil
	}
	return n.Declared[handler][1]
}

// walk calls f with each node of a syntax tree.
func walk(v reflect.Value, f func(node any)) {
	switch v.Kind() {
	case reflect.Interface:
		walk(v.Elem(), f)
	case reflect.Pointer:
		if !v.IsNil() {
			f(v.Interface())
			walk(v.Elem(), f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				walk(v.Field(i), f)
			}
		}
	}
}

// checkRights reports what a bundle has to declare for a call.
func (f *findings) checkRights(e *ast.FuncCallExpr, name string, s *signature.Signature) {
	if name == "redirect" { // told where verdicts are
		return
	}
	for _, r := range s.Rights {
		if r == hooks.HeadersWrite && !f.isForeignField(e) {
			continue
		}
		f.checkRight(e.Line(), lastWord(name), name, r)
	}
}

// isForeignField reports whether the first argument is certain to be the name of
// a header field that is not the bundle's own.
func (f *findings) isForeignField(e *ast.FuncCallExpr) bool {
	if len(e.Args) == 0 {
		return false
	}
	name, ok := e.Args[0].(*ast.StringExpr)
	own := hooks.OwnPrefix(f.source.src.Bundle)
	return ok && (len(name.Value) <= len(own) || !strings.EqualFold(name.Value[:len(own)], own))
}

func (f *findings) checkRight(line int, near, name string, r hooks.Right) {
	if !f.source.src.Grants.Has(r) {
		hint := "declare it under [capabilities] message"
		if r == hooks.HeadersWrite {
			hint += ", or begin the name with " + hooks.OwnPrefix(f.source.src.Bundle)
		}
		f.report(line, near, fmt.Sprintf("%s needs the right %q", name, string(r)), hint)
	}
}
