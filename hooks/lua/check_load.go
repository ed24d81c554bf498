package lua

import (
	"fmt"
	"slices"

	"carteiro/hooks/lua/source"

	"github.com/yuin/gopher-lua/ast"

	"carteiro/core/message/crypt"
	"carteiro/hooks"
)

// loadCheck finds what cannot work in the text of a file, whenever the file is
// loaded: verdicts that a hook does not have, and what a bundle has no right to.
type loadCheck struct {
	*source.Nodes
	source *loadedSource
	file   *source.File
	names  *source.Names
}

// checkCalls looks at the calls of a file, which was rewritten.
func (c *compiled) checkCalls(nodes *source.Nodes, n *source.Names) []error {
	r := &loadCheck{Nodes: nodes, source: c.source, file: &c.File, names: n}
	var errs []error
	for _, c := range r.Statements {
		if name := r.verdict(c); name != "" {
			errs = append(errs, r.file.Fault(c.Line(), 0, name, name+"(...) makes a verdict, but the handler does not return it",
				"write return "+name+"(...)"))
		}
	}
	for _, c := range r.Calls {
		errs = append(errs, r.checkOn(c)...)
		if err := r.checkGrant(c); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// verdict returns the name of the verdict function that c calls, or "".
func (r *loadCheck) verdict(c *ast.FuncCallExpr) string {
	id, ok := c.Func.(*ast.IdentExpr)
	if !ok || r.Locals[id.Value] {
		return ""
	}
	if _, ok := verdictActions[id.Value]; !ok {
		return ""
	}
	return id.Value
}

// checkOn looks at on("hook", ..., function) for verdicts the hook does not have.
func (r *loadCheck) checkOn(c *ast.FuncCallExpr) []error {
	id, ok := c.Func.(*ast.IdentExpr)
	if !ok || id.Value != "on" || r.Locals["on"] || len(c.Args) < 2 {
		return nil
	}
	name, ok1 := c.Args[0].(*ast.StringExpr)
	body, ok2 := c.Args[len(c.Args)-1].(*ast.FunctionExpr)
	if !ok1 || !ok2 {
		return nil
	}
	spec, ok := hooks.SpecNamed(name.Value)
	if !ok {
		return []error{unknownHook(r.file, c.Line(), name.Value)}
	}
	if name.Value == string(hooks.ReceiveData) && r.hasOption(c, "async") {
		spec, _ = hooks.SpecOf(hooks.ReceiveAfter)
	}
	errs := append(r.unknownOptions(c), r.checkEncryption(spec, body)...)
	if r.source.strict {
		errs = append(errs, r.checkReadOnly(spec, body)...)
	}
	for _, ret := range returnStatements(body.Stmts, nil) {
		if len(ret.Exprs) == 0 {
			continue
		}
		call, ok := ret.Exprs[0].(*ast.FuncCallExpr)
		if !ok {
			continue
		}
		verdict := r.verdict(call)
		if verdict == "" || spec.Allows(verdictActions[verdict]) {
			continue
		}
		errs = append(errs, r.file.Fault(ret.Line(), 0, verdict,
			fmt.Sprintf("%s is not a verdict of %s", verdict, spec.Point), "it allows "+verdictList(spec)))
	}
	return errs
}

// optionFields returns the fields of on("hook", { key = value }, function).
func optionFields(c *ast.FuncCallExpr) []*ast.Field {
	if len(c.Args) != 3 {
		return nil
	}
	call, ok := c.Args[1].(*ast.FuncCallExpr) // what a table constructor has become
	if !ok || len(call.Args) == 0 {
		return nil
	}
	table, ok := call.Args[0].(*ast.TableExpr)
	if !ok {
		return nil
	}
	return table.Fields
}

// hasOption reports whether an option is written as true.
func (r *loadCheck) hasOption(c *ast.FuncCallExpr, name string) bool {
	for _, field := range optionFields(c) {
		key, ok := field.Key.(*ast.StringExpr)
		if _, yes := field.Value.(*ast.TrueExpr); ok && yes && key.Value == name {
			return true
		}
	}
	return false
}

// unknownOptions looks at the keys of on("hook", { key = ... }, function);
// their values are judged when the file runs.
func (r *loadCheck) unknownOptions(c *ast.FuncCallExpr) []error {
	var errs []error
	for _, field := range optionFields(c) {
		if key, ok := field.Key.(*ast.StringExpr); ok && !slices.Contains(hooks.Options(), key.Value) {
			text, hint := unknownOption(key.Value)
			errs = append(errs, r.file.Fault(key.Line(), 0, key.Value, "on: "+text, hint))
		}
	}
	return errs
}

func verdictList(s hooks.Spec) string {
	if len(s.Verdicts) == 0 {
		return "none"
	}
	out := ""
	for i, v := range s.Verdicts {
		if i > 0 {
			out += ", "
		}
		out += v.String()
	}
	return out
}

// returnStatements collects the return statements of a function, not of those in it.
func returnStatements(list []ast.Stmt, out []*ast.ReturnStmt) []*ast.ReturnStmt {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ReturnStmt:
			out = append(out, s)
		case *ast.DoBlockStmt:
			out = returnStatements(s.Stmts, out)
		case *ast.WhileStmt:
			out = returnStatements(s.Stmts, out)
		case *ast.RepeatStmt:
			out = returnStatements(s.Stmts, out)
		case *ast.IfStmt:
			out = returnStatements(s.Else, returnStatements(s.Then, out))
		case *ast.NumberForStmt:
			out = returnStatements(s.Stmts, out)
		case *ast.GenericForStmt:
			out = returnStatements(s.Stmts, out)
		}
	}
	return out
}

// checkEncryption finds calls of crypt.openpgp and crypt.smime in a handler of a hook
// where no message can be changed, or where only one of its own can.
func (r *loadCheck) checkEncryption(spec hooks.Spec, handler *ast.FunctionExpr) (errs []error) {
	if spec.Changes&hooks.ChangeMessage != 0 {
		return nil
	}
	for _, c := range r.CallsIn(handler) {
		fn, ok := c.Func.(*ast.AttrGetExpr)
		if !ok || len(c.Args) == 0 {
			continue
		}
		object, ok1 := fn.Object.(*ast.IdentExpr)
		member, ok2 := fn.Key.(*ast.StringExpr)
		if !ok1 || !ok2 || object.Value != "crypt" || r.Locals["crypt"] || member.Value != crypt.OpenPGP && member.Value != crypt.SMIME {
			continue
		}
		what := "crypt." + member.Value
		msg, plain := c.Args[0].(*ast.IdentExpr)
		switch {
		case spec.Point != hooks.QueueExpand:
			errs = append(errs, r.file.Fault(c.Line(), 0, what, what+": the message cannot be changed at "+string(spec.Point),
				"it can at receive.data, and a fork at queue.expand"))
		case plain && len(handler.ParList.Names) > 0 && msg.Value == handler.ParList.Names[0]:
			errs = append(errs, r.file.Fault(c.Line(), 0, what, what+": the current message cannot be changed at queue.expand",
				"change rcpt:fork() or rcpt:variant()"))
		}
	}
	return errs
}

// checkGrant finds calls that need a grant which the source has not, as far as
// the text alone tells.
func (r *loadCheck) checkGrant(c *ast.FuncCallExpr) error {
	g := r.source.src.Grants
	if g == nil {
		return nil
	}
	switch fn := c.Func.(type) {
	case *ast.IdentExpr:
		if fn.Value == "redirect" && !r.Locals["redirect"] && !g.Has(hooks.RecipientsAdd) {
			return r.file.Fault(c.Line(), 0, "redirect", `redirect needs the right "recipients:add"`, "declare it under [capabilities] message")
		}
	case *ast.AttrGetExpr:
		object, ok1 := fn.Object.(*ast.IdentExpr)
		member, ok2 := fn.Key.(*ast.StringExpr)
		if !ok1 || !ok2 || r.Locals[object.Value] {
			return nil
		}
		switch object.Value + "." + member.Value {
		case "mail.submit", "mail.forward":
			if !g.MaySubmit() {
				return r.file.Fault(c.Line(), 0, "."+member.Value, object.Value+"."+member.Value+" is not granted to this bundle",
					`declare a rate such as submit = "10/min" under [capabilities]`)
			}
		case "account.grant", "account.revoke":
			if !g.HasRight(hooks.RightGrants) {
				return r.file.Fault(c.Line(), 0, "."+member.Value, object.Value+"."+member.Value+" is not granted to this bundle",
					declareRight(hooks.RightGrants))
			}
		case "secrets.get":
			if len(c.Args) != 1 {
				return nil
			}
			if name, ok := c.Args[0].(*ast.StringExpr); ok {
				if _, ok := g.Secrets[name.Value]; !ok {
					return r.file.Fault(c.Line(), 0, name.Value, "the secret "+name.Value+" is not granted to this bundle",
						"declare it under [capabilities] secrets")
				}
			}
		}
	}
	return nil
}
