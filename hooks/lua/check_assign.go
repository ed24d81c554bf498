package lua

import (
	"slices"
	"strings"

	"carteiro/hooks/lua/signature"

	"github.com/yuin/gopher-lua/ast"
)

// fixed are the classes to which nothing can be assigned.
var fixed = []string{identityClass.name, configClass.name, dataClass.name, frozenClass.name}

// checkAssignment judges what is assigned to a member of an object of a class.
func (c valueChecker) checkAssignment(e *ast.AttrGetExpr, cl *class, key string, value ast.Expr) {
	switch f := cl.field(key); {
	case slices.Contains(fixed, cl.name):
		c.report(e.Line(), key, cl.name+" is read only", "")
	case cl.assign != nil:
	case f == nil && cl.method(key) == nil:
		c.reportMissing(e, cl, key)
	case f == nil || f.set == nil:
		c.report(e.Line(), key, cl.name+"."+key+" cannot be assigned", assignable(cl))
	default:
		s := signature.Of(cl.name + "." + key)
		if s == nil {
			return
		}
		for _, r := range s.Rights {
			c.checkRight(e.Line(), key, cl.name+"."+key, r)
		}
		if value != nil {
			if text := c.mismatch(signature.Parameter{Name: cl.name + "." + key, Kind: s.Field}, value); text != "" {
				c.report(e.Line(), key, text, "")
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
