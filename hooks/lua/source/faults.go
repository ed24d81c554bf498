package source

import (
	"cmp"
	"errors"
	"slices"
)

// SortFaults orders faults by file, line and text, and has each once.
func SortFaults(errs []error) []error {
	var out []error
	seen := map[string]bool{}
	for _, e := range errs {
		if e == nil {
			continue
		}
		for _, one := range splitJoined(e) {
			if !seen[one.Error()] {
				seen[one.Error()] = true
				out = append(out, one)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b error) int {
		x, ok1 := errors.AsType[*Error](a)
		y, ok2 := errors.AsType[*Error](b)
		if !ok1 || !ok2 || x.File != y.File {
			return 0
		}
		return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	return out
}

// splitJoined takes joined errors apart.
func splitJoined(err error) []error {
	if _, ok := err.(*Error); ok {
		return []error{err}
	}
	switch u := err.(type) {
	case interface{ Unwrap() []error }:
		var out []error
		for _, e := range u.Unwrap() {
			out = append(out, splitJoined(e)...)
		}
		return out
	}
	return []error{err}
}
