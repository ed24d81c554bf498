package mime

import (
	"bytes"
	"strings"

	"carteiro/core/message/envelope"
)

// EditHeader returns a header section with an edit applied: it removes the
// fields that the edit names, with their folded lines, and puts what it prepends
// first. The section ends with its blank line, before and after; the result
// shares memory with it only if the edit is zero. Every store and every delivery
// applies edits with this function, so that all see the same copy.
func EditHeader(section []byte, e envelope.HeaderEdit) []byte {
	if e.IsZero() {
		return section
	}
	out := make([]byte, 0, len(e.Prepend)+len(section))
	out = append(out, e.Prepend...)
	for removed := false; len(section) > 0; {
		line := section
		if i := bytes.IndexByte(section, '\n'); i >= 0 {
			line = section[:i+1]
		}
		section = section[len(line):]
		if folded := line[0] == ' ' || line[0] == '\t'; !folded {
			removed = hasName(e.Remove, line)
		}
		if !removed {
			out = append(out, line...)
		}
	}
	return out
}

// hasName reports whether a header line begins one of the fields.
func hasName(fields []string, line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return false
	}
	field := strings.TrimRight(string(name), " \t")
	for _, f := range fields {
		if strings.EqualFold(f, field) {
			return true
		}
	}
	return false
}
