package lua

import (
	"fmt"
	"slices"
	"strings"

	"carteiro/hooks/lua/signature"

	"github.com/yuin/gopher-lua/ast"
)

// fixed are the classes to which nothing can be assigned.
var fixed = []string{identityClass.name, configClass.name, dataClass.name, frozenClass.name}

// assign is a member that is assigned to.
func (c *checker) assign(e *ast.AttrGetExpr, value ast.Expr) {
	key, named := e.Key.(*ast.StringExpr)
	k := c.expr(e.Object)
	a, ok := k.Single()
	if !named {
		c.expr(e.Key)
	}
	cl := classNamed(a.Name)
	if id, isName := e.Object.(*ast.IdentExpr); isName && c.isBuiltin(id) {
		if id.Value == "config" {
			cl, ok = &configClass, true
		} else if m := moduleNamed(id.Value); m != nil && named {
			c.report(e.Line(), key.Value, id.Value+" is read only", "")
			return
		}
	}
	if !ok || cl == nil || !named {
		return
	}
	switch f := cl.field(key.Value); {
	case slices.Contains(fixed, cl.name):
		c.report(e.Line(), key.Value, cl.name+" is read only", "")
	case cl.assign != nil:
	case f == nil && cl.method(key.Value) == nil:
		c.reportMissing(e, cl, key.Value)
	case f == nil || f.set == nil:
		c.report(e.Line(), key.Value, cl.name+"."+key.Value+" cannot be assigned", assignable(cl))
	default:
		s := signature.Of(cl.name + "." + key.Value)
		if s == nil {
			return
		}
		for _, r := range s.Rights {
			c.checkRight(e.Line(), key.Value, cl.name+"."+key.Value, r)
		}
		if value != nil {
			if text := c.mismatch(signature.Parameter{Name: cl.name + "." + key.Value, Kind: s.Field}, value); text != "" {
				c.report(e.Line(), key.Value, text, "")
			}
		}
	}
}

// assignable names the fields of a class that can be assigned.
func assignable(cl *class) string {
	var can []string
	for _, f := range cl.fields {
		if f.set != nil {
			can = append(can, cl.name+"."+f.name)
		}
		if f.name == "meta" {
			can = append(can, "the keys of "+cl.name+".meta")
		}
	}
	if len(can) == 0 {
		return ""
	}
	return "these can be assigned: " + strings.Join(can, ", ")
}

// reportHidden reports a local variable that has the name of a module and is used
// as if it were that.
func (c *checker) reportHidden(e *ast.AttrGetExpr, id *ast.IdentExpr, key *ast.StringExpr) {
	v := c.names.Uses[id]
	if v == nil || key == nil {
		return
	}
	m := moduleNamed(id.Value)
	if m == nil || !m.has(key.Value) {
		return
	}
	a, ok := c.kinds[v].Single()
	if !ok {
		return
	}
	switch {
	case a.Name == "string" && !stringModule.has(key.Value), a.Name == "number", a.Name == "boolean",
		a.Name == "table" && !c.facts.fills(v, key.Value):
	default:
		if cl := classNamed(a.Name); cl == nil || cl.index != nil || cl.field(key.Value) != nil || cl.method(key.Value) != nil {
			return
		}
	}
	c.report(e.Line(), key.Value, fmt.Sprintf("%s.%s does not exist here: the local %s hides the module %s", id.Value, key.Value,
		id.Value, id.Value),
		"give the local another name")
	delete(c.kinds, v) // told once
}
