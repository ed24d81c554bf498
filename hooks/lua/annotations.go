package lua

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"carteiro/hooks"
)

const annotationsHead = `---@meta
-- What Carteiro's policies may use, for editors that speak LuaLS. Written by
-- ` + "`carteiro scripts meta`" + `; the server does not read it.
`

// reserved are words that cannot be names in Lua.
var reserved = map[string]bool{"and": true, "break": true, "do": true, "else": true, "elseif": true, "end": true, "false": true, "for": true, "function": true,
	"if": true, "in": true, "local": true, "nil": true, "not": true, "or": true, "repeat": true, "return": true, "then": true, "true": true, "until": true, "while": true}

// Annotations is the API as a file of LuaLS annotations: valid Lua that does
// nothing. The caller owns the result.
func Annotations() []byte {
	var b bytes.Buffer
	b.WriteString(annotationsHead)
	owners := map[string]string{}
	for _, e := range API() {
		switch {
		case e.Kind == "function" && e.Name == "on":
			annotateOn(&b)
		case e.Kind == "function":
			annotate(&b, e.Name, e)
		case e.Kind == "module":
			owners[e.Name] = "module"
			fmt.Fprintf(&b, "\n---%s\n%s = {}\n", e.Doc, e.Name)
		case e.Kind == "object":
			owners[e.Name] = "object"
			fmt.Fprintf(&b, "\n---%s\n---@class %s\nlocal %s = {}\n", e.Doc, e.Name, e.Name)
		case strings.Contains(e.Signature, "("), strings.Contains(e.Signature, "{"):
			sep := "."
			if strings.HasPrefix(e.Signature, e.Owner+":") {
				sep = ":"
			}
			annotate(&b, e.Owner+sep+e.Name, e)
		default:
			fmt.Fprintf(&b, "---%s\n%s.%s = nil ---@type any\n", e.Doc, e.Owner, e.Name)
		}
	}
	return b.Bytes()
}

var parameterName = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

// annotate writes one function. What stands in brackets in a signature, and
// what follows it, may be left out.
func annotate(b *bytes.Buffer, name string, e Entry) {
	fmt.Fprintf(b, "\n---%s\n", e.Doc)
	_, inner, _ := strings.Cut(e.Signature, "(")
	inner = strings.TrimSuffix(inner, ")")
	var names []string
	if i := strings.IndexByte(e.Signature, '{'); i >= 0 && !strings.Contains(e.Signature[:i], "(") {
		names = []string{"t"}
		b.WriteString("---@param t table\n")
		inner = ""
	}
	optional := false
	for _, part := range splitParameters(inner) {
		optional = optional || strings.Contains(part, "[")
		word := parameterName.FindString(part)
		switch {
		case strings.Contains(part, "..."):
			word = "..."
		case strings.ContainsAny(part, "{"):
			word, optional = "options", true
		case word == "" || reserved[word]:
			word = fmt.Sprintf("arg%d", len(names)+1)
		}
		for i, n := range names {
			if n == word && n != "..." {
				word = fmt.Sprintf("%s%d", word, i+2)
			}
		}
		mark := ""
		if optional && word != "..." {
			mark = "?"
		}
		fmt.Fprintf(b, "---@param %s%s any\n", word, mark)
		names = append(names, word)
	}
	fmt.Fprintf(b, "---@return any\nfunction %s(%s) end\n", name, strings.Join(names, ", "))
}

// splitParameters cuts at commas outside of braces.
func splitParameters(s string) (out []string) {
	depth, from := 0, 0
	for i, c := range s {
		switch c {
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	if strings.TrimSpace(s[from:]) != "" {
		out = append(out, s[from:])
	}
	return out
}

// annotateOn writes on with an overload for each hook.
func annotateOn(b *bytes.Buffer) {
	b.WriteString("\n---registers a handler\n")
	objects := map[string]bool{}
	for _, c := range allClasses() {
		objects[c.name] = true
	}
	for _, s := range hooks.Specs() {
		if s.Point == hooks.ReceiveAsync {
			continue
		}
		var params []string
		for _, a := range s.Args {
			kind := "any"
			if objects[a] {
				kind = a
			}
			params = append(params, a+": "+kind)
		}
		fmt.Fprintf(b, "---@overload fun(hook: %q, handler: fun(%s))\n---@overload fun(hook: %q, options: table, handler: fun(%s))\n",
			s.Point, strings.Join(params, ", "), s.Point, strings.Join(params, ", "))
	}
	b.WriteString("---@param hook string\n---@param options any\n---@param handler? function\nfunction on(hook, options, handler) end\n")
}
