package lua

import (
	"fmt"
	"strings"

	"carteiro/hooks"
	"carteiro/hooks/lua/pattern"
)

// SourceError is a fault in a source, with its place.
type SourceError struct {
	File    string // as people see it, "policy.lua" or "carteiro/vacation/init.lua"
	Line    int    // from 1; 0: the file as a whole
	Column  int    // from 1; 0: unknown
	Text    string // what is wrong
	Hint    string // what to do, or ""
	Snippet string // the line with a caret under the column, or ""
}

// Error is "file:line: what; hint".
func (e *SourceError) Error() string {
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

// file is one Lua file of a source.
type file struct {
	unit *unit
	path string // relative to the source
	name string // as people see it
	text string
	at   int // line that compiling has come to
}

// fault makes an error at a line; near is a word of that line to
// point at, see column.
func (f *file) fault(line, column int, near, text, hint string) *SourceError {
	e := &SourceError{File: f.name, Line: line, Column: column, Text: text, Hint: hint}
	lines := strings.Split(f.text, "\n")
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

// findWord is the index of word in line where it is not part of another one.
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

// displayName is a file as people see it.
func displayName(src hooks.Source, path string) string {
	prefix := src.Bundle
	if prefix == "" {
		if _, rest, ok := strings.Cut(src.Name, "/"); ok {
			prefix = rest
		}
	}
	if prefix == "" {
		return path
	}
	return prefix + "/" + path
}
