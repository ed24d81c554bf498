package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Faults returns all Errors in err, however it wraps them, in the order of
// files and lines; rest is what else it holds, or nil.
func Faults(err error) (faults []*Error, rest error) {
	var others []error
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case nil:
		case *Error:
			faults = append(faults, e)
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				walk(one)
			}
		default:
			if inner := errors.Unwrap(err); inner != nil && hasFault(inner) {
				walk(inner)
				return
			}
			others = append(others, err)
		}
	}
	walk(err)
	slices.SortStableFunc(faults, func(a, b *Error) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		return a.Line - b.Line
	})
	return faults, errors.Join(others...)
}

func hasFault(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

// Diagnostic returns the fault as a compiler shows it: place and text, the line, a
// caret, a hint.
func (e *Error) Diagnostic() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": error: " + e.Text + "\n")
	for line := range strings.Lines(e.Snippet) {
		b.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
	}
	if e.Hint != "" {
		b.WriteString("  hint: " + e.Hint + "\n")
	}
	return b.String()
}

// Diagnostic returns an error with the pictures of its faults; other errors are as
// they print.
func Diagnostic(err error) string {
	faults, rest := Faults(err)
	if len(faults) == 0 {
		return err.Error()
	}
	var b strings.Builder
	for _, f := range faults {
		b.WriteString(f.Diagnostic())
	}
	if rest != nil {
		b.WriteString(rest.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}
