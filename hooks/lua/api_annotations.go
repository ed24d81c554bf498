package lua

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"

	"carteiro/hooks/lua/signature"

	"carteiro/hooks"
)

const annotationsHead = `---@meta
-- What Carteiro's policies may use, for editors that speak LuaLS. Written by
-- ` + "`carteiro scripts meta`" + `; the server does not read it.
`

// reserved are words that cannot be names in Lua.
var reserved = map[string]bool{
	"and":      true,
	"break":    true,
	"do":       true,
	"else":     true,
	"elseif":   true,
	"end":      true,
	"false":    true,
	"for":      true,
	"function": true,
	"if":       true,
	"in":       true,
	"local":    true,
	"nil":      true,
	"not":      true,
	"or":       true,
	"repeat":   true,
	"return":   true,
	"then":     true,
	"true":     true,
	"until":    true,
	"while":    true,
}

// testAnnotations describes what `require "carteiro.test"` gives.
//
//go:embed carteiro_test_annotations.lua
var testAnnotations []byte

// TestAnnotations returns the test library as Annotations has the rest. The caller
// must not change it.
func TestAnnotations() []byte { return testAnnotations }

// Annotations returns the API as a file of LuaLS annotations: valid Lua that does
// nothing. The caller owns the result.
func Annotations() []byte {
	var b bytes.Buffer
	b.WriteString(annotationsHead)
	b.WriteString("\n---what a handler returns; the functions that make one are those of its hook\n---@class verdict\n")
	for _, e := range API() {
		switch {
		case e.Kind == "function" && e.Name == "on":
			annotateOn(&b)
		case e.Kind == "function":
			annotate(&b, e.Name, e)
		case e.Kind == "module":
			fmt.Fprintf(&b, "\n---%s\n%s = {}\n", e.Doc, e.Name)
		case e.Kind == "object":
			fmt.Fprintf(&b, "\n---%s\n---@class %s\nlocal %s = {}\n", e.Doc, e.Name, e.Name)
		case strings.Contains(e.Signature, "("), strings.Contains(e.Signature, "{"):
			sep := "."
			if strings.HasPrefix(e.Signature, e.Owner+":") {
				sep = ":"
			}
			annotate(&b, e.Owner+sep+e.Name, e)
		default:
			kind := "any"
			if s := signature.Of(e.Owner + "." + e.Name); s != nil && s.Field != nil {
				kind = s.Field.String()
			}
			fmt.Fprintf(&b, "---%s\n%s.%s = nil ---@type %s\n", e.Doc, e.Owner, e.Name, kind)
		}
	}
	return b.Bytes()
}

// annotate writes one function with the types that signatures.txt has: its
// longest form, and the others as overloads.
func annotate(b *bytes.Buffer, name string, e Entry) {
	fmt.Fprintf(b, "\n---%s\n", e.Doc)
	s := signature.Of(name)
	if s == nil { // a test finds it
		fmt.Fprintf(b, "function %s(...) end\n", name)
		return
	}
	main := s.Forms[len(s.Forms)-1]
	for _, f := range s.Forms[:len(s.Forms)-1] {
		var params []string
		if owner, _, isMethod := strings.Cut(name, ":"); isMethod {
			params = append(params, "self: "+owner)
		}
		for _, p := range f.Params {
			params = append(params, annotationName(p)+": "+p.Kind.String())
		}
		fmt.Fprintf(b, "---@overload fun(%s)%s\n", strings.Join(params, ", "), annotatedResults(s, ": "))
	}
	var names []string
	for _, p := range main.Params {
		fmt.Fprintf(b, "---@param %s %s\n", annotationName(p), p.Kind)
		names = append(names, strings.TrimSuffix(annotationName(p), "?"))
	}
	if main.Variadic != nil {
		fmt.Fprintf(b, "---@param ... %s\n", main.Variadic)
		names = append(names, "...")
	}
	if len(s.Results) > 0 {
		fmt.Fprintf(b, "---@return%s\n", annotatedResults(s, " "))
	}
	fmt.Fprintf(b, "function %s(%s) end\n", name, strings.Join(names, ", "))
}

// annotationName returns a parameter's name as Lua can have it.
func annotationName(p signature.Parameter) string {
	name := p.Name
	if reserved[name] {
		name += "_"
	}
	if p.Optional {
		name += "?"
	}
	return name
}

// annotatedResults returns the results after a separator, or nothing.
func annotatedResults(s *signature.Signature, separator string) string {
	var kinds []string
	for _, k := range s.Results {
		kinds = append(kinds, k.String())
	}
	if kinds == nil {
		return ""
	}
	return separator + strings.Join(kinds, ", ")
}

// annotateOn writes on with an overload for each hook.
func annotateOn(b *bytes.Buffer) {
	b.WriteString("\n---registers a handler\n")
	for _, s := range hooks.Specs() {
		if s.Point == hooks.ReceiveAfter {
			continue
		}
		var params []string
		for _, a := range s.Args {
			params = append(params, a+": "+argumentKind(a).String())
		}
		fmt.Fprintf(b, "---@overload fun(hook: %q, handler: fun(%s))\n---@overload fun(hook: %q, options: table, handler: fun(%s))\n",
			s.Point, strings.Join(params, ", "), s.Point, strings.Join(params, ", "))
	}
	b.WriteString("---@param hook string\n---@param options table|function\n---@param handler? function\nfunction on(hook, options, " +
		"handler) end\n")
}
