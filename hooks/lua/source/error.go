package source

import (
	"fmt"
	"strings"
	"sync"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks/lua/pattern"
)

// Error is a fault in a source, with its place.
type Error struct {
	File    string // as people see it, "policy.lua" or "carteiro/vacation/init.lua"
	Line    int    // from 1; 0: the file as a whole
	Column  int    // from 1; 0: unknown
	Text    string // what is wrong
	Hint    string // what to do, or ""
	Snippet string // the line with a caret under the column, or ""
}

// Error returns "file:line: what; hint".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": " + e.Text)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// File is one Lua file of a source.
type File struct {
	Path string // relative to the source
	Name string // as people see it
	Text string

	// OnStep, if set, is called at each step: tests have it panic, or spoil what
	// was compiled.
	OnStep func(step, file string, proto *glua.FunctionProto)
	at     int // line that compiling has come to

	once  sync.Once
	lines map[int][]ast.Expr // see indexExpressions
}

// Fault makes an error at a line; near is a word of that line to
// point at, see column.
func (f *File) Fault(line, column int, near, text, hint string) *Error {
	e := &Error{File: f.Name, Line: line, Column: column, Text: text, Hint: hint}
	lines := strings.Split(f.Text, "\n")
	if line < 1 || line > len(lines) {
		return e
	}
	shown := strings.TrimRight(lines[line-1], "\r")
	if e.Column == 0 && near != "" {
		e.Column = f.column(shown, line, near)
	}
	if len(shown) > 200 {
		shown = shown[:200]
	}
	e.Snippet = shown
	if e.Column > 0 && e.Column <= len(shown)+1 {
		lead := strings.Map(func(r rune) rune {
			if r == '\t' {
				return r
			}
			return ' '
		}, shown[:e.Column-1])
		e.Snippet += "\n" + lead + "^"
	}
	return e
}

// findWord returns the index of word in line where it is not part of another one.
func findWord(line, word string) int {
	letter := func(i int) bool {
		if i < 0 || i >= len(line) {
			return false
		}
		return line[i] == '_' || pattern.IsAlphanumeric(line[i])
	}
	for at := 0; ; {
		i := strings.Index(line[at:], word)
		if i < 0 {
			return -1
		}
		i += at
		if !letter(i-1) && !letter(i+len(word)) {
			return i
		}
		at = i + 1
	}
}
