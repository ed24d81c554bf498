package lua

import (
	"fmt"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// checkOn looks at the options of on("hook", { key = value }, handler) as loading
// does, but at each of them, so that one check tells all that is wrong.
func (c valueChecker) checkOn(e *ast.FuncCallExpr) {
	if len(e.Args) < 2 || c.handler != nil {
		return
	}
	name, ok := e.Args[0].(*ast.StringExpr)
	if !ok {
		return
	}
	spec, ok := hooks.SpecNamed(name.Value)
	if !ok {
		return // reported by loadCheck
	}
	src := c.source.src
	if !src.Grants.HasHook(spec.Point) {
		c.report(e.Line(), name.Value, name.Value+" is not among the hooks that this bundle declares", "add it to hooks in bundle.toml")
	}
	known := true // whether all options are
	var given []string
	if len(e.Args) == 3 {
		t, ok := e.Args[1].(*ast.TableExpr)
		if !ok {
			known = false
			if k, sure := c.kindOf(e.Args[1]).Single(); sure && k.Name != "table" {
				c.report(e.Line(), "on", "on: options must be a table, got "+k.Name, "")
			}
		} else {
			given, known = c.checkOptions(e, spec, t)
		}
	}
	if missing := neededOption(spec.Point); known && missing != "" && !slices.Contains(given, missing) {
		c.report(e.Line(), "on", "on: "+string(spec.Point)+" needs the option "+missing, neededExample(spec.Point))
	}
}

// checkOptions reports what is wrong with each option, and returns their names; all
// is false where there are others.
func (c valueChecker) checkOptions(e *ast.FuncCallExpr, spec hooks.Spec, t *ast.TableExpr) (given []string, all bool) {
	trial := c.source.trialState()
	src := c.source.src
	all = true
	for _, f := range t.Fields {
		key, ok := f.Key.(*ast.StringExpr)
		if !ok {
			all = all && f.Key == nil
			if f.Key == nil {
				c.report(e.Line(), "on", "on: unknown option 1", "options are written as names: { order = 5 }")
			}
			continue
		}
		given = append(given, key.Value)
		if !slices.Contains(hooks.Options(), key.Value) {
			continue // reported by loadCheck
		}
		value := trial.constantValue(f.Value)
		if value == nil || value == glua.LNil {
			continue
		}
		one := trial.st.L.NewTable()
		one.RawSetString(key.Value, value)
		h := &handler{source: c.source, spec: spec, info: hooks.Info{Point: spec.Point, Bundle: src.Bundle, Tier: src.Tier}}
		if text, hint := h.options(one, false); text != "" {
			c.report(f.Value.Line(), key.Value, "on: "+text, hint)
		}
	}
	return given, all
}

// neededOption returns the option without which a hook has no sense, or "".
func neededOption(p hooks.Point) string {
	switch p {
	case hooks.TimerTick:
		return "every"
	case hooks.WebRequest:
		return "path"
	case hooks.AdminCommand:
		return "command"
	}
	return ""
}

func neededExample(p hooks.Point) string {
	switch p {
	case hooks.TimerTick:
		return `write on("timer.tick", { every = "1h" }, function(now) ... end)`
	case hooks.WebRequest:
		return `write on("web.request", { path = "/x" }, function(req) ... end)`
	}
	return `write on("admin.command", { command = "list" }, function(cmd) ... end)`
}

func ordinal(i int) string {
	return [...]string{"first", "second", "third", "fourth", "fifth"}[min(i, 4)]
}

func argumentList(s hooks.Spec) string {
	return map[bool]string{true: "one argument, ", false: fmt.Sprintf("%d arguments, ",
		len(s.Args))}[len(s.Args) == 1] + strings.Join(s.Args, ", ")
}
