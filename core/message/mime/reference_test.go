package mime

import (
	"bytes"
	"strings"
)

// span is a part as the reference sees it.
type span struct {
	kind       string
	start, end int
	depth      int
}

// reference reads a body by recursive descent over all its lines at once: one
// call for each entity, which gives back the line that ended it. It knows no
// limits and shares nothing with ReadIndex but the reading of header fields.
type reference struct {
	lines []string // with their ends
	at    []int    // offsets, one more than lines
	out   []span
}

func refer(h *Header, body []byte) []span {
	r := &reference{}
	pos := 0
	for len(body) > 0 {
		n := bytes.IndexByte(body, '\n') + 1
		if n == 0 {
			n = len(body)
		}
		r.lines, r.at = append(r.lines, string(body[:n])), append(r.at, pos)
		pos += n
		body = body[n:]
	}
	r.at = append(r.at, pos)
	r.entity(h, 0, nil)
	return r.out
}

// entity reads the content that starts with line i inside of the multiparts
// with these boundaries, outermost first. It returns the line that ended it.
func (r *reference) entity(h *Header, i int, outer []string) int {
	p := newPart(h, len(outer))
	me := len(r.out)
	r.out = append(r.out, span{kind: p.Type, start: r.at[i], depth: len(outer)})
	if !p.Multipart {
		for i < len(r.lines) && !r.delimiter(i, outer) {
			i++
		}
		return r.finish(me, i)
	}
	own := append(outer[:len(outer):len(outer)], p.boundary)
	for i < len(r.lines) && !r.delimiter(i, own) {
		i++ // preamble
	}
	for i < len(r.lines) && r.mine(i, p.boundary) {
		if strings.TrimRight(r.lines[i], " \t\r\n") == "--"+p.boundary+"--" {
			i++
			break
		}
		i = r.part(i+1, own)
	}
	for i < len(r.lines) && !r.delimiter(i, outer) {
		i++ // epilogue
	}
	return r.finish(me, i)
}

// part reads header section and content of a part. One whose header section
// is cut by a delimiter has no content.
func (r *reference) part(i int, own []string) int {
	first, whole := i, false
	for i < len(r.lines) && !whole && !r.delimiter(i, own) {
		whole = r.lines[i] == "\n" || r.lines[i] == "\r\n"
		i++
	}
	h := ParseHeader([]byte(strings.Join(r.lines[first:i], "")))
	if whole || i == len(r.lines) {
		return r.entity(h, i, own)
	}
	r.out = append(r.out, span{newPart(h, 0).Type, r.at[i], r.at[i], len(own)})
	return i
}

func (r *reference) finish(me, i int) int {
	end := r.at[i]
	if i < len(r.lines) && i > 0 {
		before := r.lines[i-1]
		end -= len(before) - len(strings.TrimSuffix(strings.TrimSuffix(before, "\n"), "\r"))
	}
	r.out[me].end = max(end, r.out[me].start)
	return i
}

// delimiter reports whether line i belongs to one of the boundaries.
func (r *reference) delimiter(i int, boundaries []string) bool {
	text, ok := strings.CutPrefix(strings.TrimRight(r.lines[i], " \t\r\n"), "--")
	return ok && (contains(boundaries, text) || strings.HasSuffix(text, "--") && contains(boundaries, strings.TrimSuffix(text, "--")))
}

// mine reports whether line i is for the innermost of the boundaries.
func (r *reference) mine(i int, own string) bool {
	text := strings.TrimPrefix(strings.TrimRight(r.lines[i], " \t\r\n"), "--")
	return text == own || text == own+"--"
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
