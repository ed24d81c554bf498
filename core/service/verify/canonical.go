package verify

import (
	"bufio"
	"hash"
	"io"
	"strings"
)

// canonicalField returns a header field in the form that is signed (RFC 6376 3.4.1
// and 3.4.2), with its CRLF.
func canonicalField(raw string, relaxed bool) string {
	if !relaxed {
		return raw
	}
	name, value, _ := strings.Cut(raw, ":")
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' })
	return strings.ToLower(strings.TrimRight(name, " \t")) + ":" + strings.Join(words, " ") + "\r\n"
}

// withoutSignature empties the b= tag of a signature field.
func withoutSignature(raw string) string {
	name, value, _ := strings.Cut(raw, ":")
	parts := strings.Split(value, ";")
	for i, p := range parts {
		if tag, _, ok := strings.Cut(p, "="); ok && strings.TrimSpace(tag) == "b" {
			parts[i] = p[:strings.IndexByte(p, '=')+1]
			if i == len(parts)-1 {
				parts[i] += "\r\n"
			}
			break
		}
	}
	return name + ":" + strings.Join(parts, ";")
}

// bodyHash writes a body in its canonical form (RFC 6376 3.4.3 and 3.4.4).
type bodyHash struct {
	w       *bufio.Writer // into what is hashed
	relaxed bool
	left    int64 // octets that still count; below 0: all do
	cr      bool  // the last octet was a CR
	lines   int   // line ends that wait: those at the end of the body do not count
	space   bool  // white space that waits: that at the end of a line does not count
	any     bool
}

// newBodyHash returns a hash of the canonical form of a body. It covers only the first
// limit octets, or all if limit is negative (RFC 6376 3.7).
func newBodyHash(h io.Writer, relaxed bool, limit int64) *bodyHash {
	return &bodyHash{w: bufio.NewWriter(h), relaxed: relaxed, left: limit}
}

func (b *bodyHash) Write(p []byte) (int, error) {
	for _, c := range p {
		if b.cr && c != '\n' {
			b.put('\r')
		}
		b.cr = c == '\r'
		switch {
		case b.cr:
		case c == '\n':
			b.lines++
			b.space = false
		case b.relaxed && (c == ' ' || c == '\t'):
			b.space = true
		default:
			b.put(c)
		}
	}
	return len(p), nil
}

func (b *bodyHash) put(c byte) {
	for ; b.lines > 0; b.lines-- {
		b.count('\r')
		b.count('\n')
	}
	if b.space {
		b.count(' ')
		b.space = false
	}
	b.count(c)
	b.any = true
}

func (b *bodyHash) count(c byte) {
	if b.left != 0 {
		b.left--
		b.w.WriteByte(c)
	}
}

// end closes the body: with one line end, unless it is empty and relaxed.
func (b *bodyHash) end() {
	if b.any || !b.relaxed {
		b.count('\r')
		b.count('\n')
	}
	b.w.Flush()
}

// hashBody reads a body once.
func hashBody(h hash.Hash, relaxed bool, body io.Reader) ([]byte, error) {
	b := newBodyHash(h, relaxed, -1)
	if _, err := io.Copy(b, body); err != nil {
		return nil, err
	}
	b.end()
	return h.Sum(nil), nil
}
