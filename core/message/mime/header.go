// Package mime reads and edits messages without changing more than it must:
// header sections keep their octets (RFC 5322 2.2), and bodies are indexed by
// offset and edited as a stream, so that signatures stay valid (RFC 6376). It
// is the only home of go-message, which decodes character sets.
package mime

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// MaxHeader is the largest header section that ReadHeader takes, in octets.
const MaxHeader = 1 << 20

// MaxFields is the largest number of fields of a header section: each costs
// memory, and each edit looks at all of them.
const MaxFields = 20_000

// Errors of this package.
var (
	// ErrHeaderTooLarge: more than the limit of octets without a blank line.
	ErrHeaderTooLarge = errors.New("header section too large")
	// ErrField: not a name or value that a header field can have.
	ErrField = errors.New("bad header field")
)

// Field is one header field as it came.
type Field struct {
	Raw  string // with the line ends, the last one included
	name int    // octets of the name; 0: no field at all
}

// Name returns the field name as written.
func (f Field) Name() string { return f.Raw[:f.name] }

// Value returns the unfolded value without surrounding white space (RFC 5322
// 2.2.3). Encoded words stay as they are.
func (f Field) Value() string {
	if f.name == 0 {
		return ""
	}
	v := f.Raw[f.name:]
	v = strings.TrimSpace(v[strings.IndexByte(v, ':')+1:])
	if strings.IndexByte(v, '\n') < 0 && strings.IndexByte(v, '\r') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for _, c := range []byte(v) {
		if c != '\r' && c != '\n' {
			out = append(out, c)
		}
	}
	return string(out)
}

// is reports whether the field has the given name, without regard to case.
func (f Field) is(name string) bool {
	if f.name != len(name) {
		return false
	}
	for i := range len(name) {
		if lower(f.Raw[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Header is a header section. Fields that nobody edits keep their octets.
// It is not safe for concurrent changes; Clone is cheap.
type Header struct {
	fields []Field
}

// ReadHeader reads a header section up to and including its blank line, or
// to the end of input. The octets are returned as they came, lines that are
// no header fields among them; whether those belong to the body is for the
// caller to say. It returns ErrHeaderTooLarge and errors of r.
func ReadHeader(r *bufio.Reader, limit int) ([]byte, error) {
	var out []byte
	for {
		line, err := r.ReadSlice('\n')
		if len(out)+len(line) > limit {
			return out, ErrHeaderTooLarge
		}
		out = append(out, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return out, err
		}
		if len(line) == 2 && line[0] == '\r' && atLineStart(out, 2) || len(line) == 1 && atLineStart(out, 1) {
			return out, nil
		}
	}
}

// atLineStart reports whether the last n octets of out begin a line.
func atLineStart(out []byte, n int) bool {
	return len(out) == n || out[len(out)-n-1] == '\n'
}

// ParseHeader splits a header section into fields, up to its blank line. Lines
// that belong to no field are kept in their place. The Header keeps a copy of
// its section, not b.
func ParseHeader(b []byte) *Header {
	h := &Header{fields: make([]Field, 0, 16)}
	ends, at := make([]int, 0, 64), 0
	for at < len(b) && !blank(b[at:]) {
		n := fieldLength(b[at:])
		h.fields = append(h.fields, Field{name: nameLength(b[at : at+n])})
		at += n
		ends = append(ends, at)
	}
	section, begin := string(b[:at]), 0
	for i, end := range ends {
		h.fields[i].Raw, begin = section[begin:end], end
	}
	return h
}

// blank reports whether b begins with a blank line. A line with white space is
// none: it continues the field before it (RFC 5322 4.5).
func blank(b []byte) bool {
	return b[0] == '\n' || b[0] == '\r' && len(b) > 1 && b[1] == '\n'
}

// SkipFromLine drops the line with which an mbox file separates messages,
// "From user date", in front of a header section: it is no part of a message,
// and left there it would turn every field after it into text.
func SkipFromLine(b []byte) []byte {
	i := bytes.IndexByte(b, '\n')
	if i < 0 || !bytes.HasPrefix(bytes.TrimLeft(b[:i], ">"), []byte("From ")) {
		return b
	}
	if rest := b[i+1:]; len(rest) > 0 && nameLength(rest[:fieldLength(rest)]) > 0 {
		return rest
	}
	return b
}

// fieldLength returns the length of the first field with its folded lines.
func fieldLength(b []byte) int {
	n := 0
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return len(b)
		}
		n += i + 1
		if n >= len(b) || (b[n] != ' ' && b[n] != '\t') {
			return n
		}
	}
}

// nameLength returns the length of the field name, 0 if there is none. Spaces before the
// colon are obsolete syntax, which is accepted (RFC 5322 4.5).
func nameLength(raw []byte) int {
	i := bytes.IndexByte(raw, ':')
	if i < 0 {
		return 0
	}
	name := bytes.TrimRight(raw[:i], " \t")
	if !validName(name) {
		return 0
	}
	return len(name)
}

func validName(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return true
}

// Clone returns a Header that can be changed without changing this one.
func (h *Header) Clone() *Header {
	return &Header{fields: append(make([]Field, 0, len(h.fields)+4), h.fields...)}
}

// Fields returns all fields in their order. The caller must not change them.
func (h *Header) Fields() []Field { return h.fields }

// Bytes returns the section with its blank line. Lines end in CRLF where they were
// edited and as they came elsewhere.
func (h *Header) Bytes() []byte {
	n := 2
	for _, f := range h.fields {
		n += len(f.Raw) + 2
	}
	out := make([]byte, 0, n)
	for _, f := range h.fields {
		out = append(out, f.Raw...)
		if len(f.Raw) > 0 && f.Raw[len(f.Raw)-1] != '\n' {
			out = append(out, "\r\n"...)
		}
	}
	return append(out, "\r\n"...)
}

// Get returns the value of the first field of that name, and whether there is
// one.
func (h *Header) Get(name string) (string, bool) {
	for i := range h.fields {
		if h.fields[i].is(name) {
			return h.fields[i].Value(), true
		}
	}
	return "", false
}

// Has reports whether there is a field of that name.
func (h *Header) Has(name string) bool { return h.Count(name) > 0 }

// Count returns the number of fields of that name.
func (h *Header) Count(name string) int {
	n := 0
	for i := range h.fields {
		if h.fields[i].is(name) {
			n++
		}
	}
	return n
}

// All returns the values of all fields of that name in their order.
func (h *Header) All(name string) []string {
	var out []string
	for i := range h.fields {
		if h.fields[i].is(name) {
			out = append(out, h.fields[i].Value())
		}
	}
	return out
}

// Prepend puts a field in front of all others. It returns ErrField.
func (h *Header) Prepend(name, value string) error {
	f, err := newField(name, value)
	if err == nil {
		h.fields = append([]Field{f}, h.fields...)
	}
	return err
}

// PrependRaw puts whole lines, CRLF included, in front of all others.
func (h *Header) PrependRaw(lines string) {
	more := ParseHeader([]byte(lines))
	h.fields = append(more.fields, h.fields...)
}

// Append puts a field after all others. It returns ErrField.
func (h *Header) Append(name, value string) error {
	f, err := newField(name, value)
	if err == nil {
		h.fields = append(h.fields, f)
	}
	return err
}

// Set gives the first field of that name a new value and removes the others; if there is
// none, it appends one. The error is ErrField.
func (h *Header) Set(name, value string) error {
	f, err := newField(name, value)
	if err != nil {
		return err
	}
	kept, done := make([]Field, 0, len(h.fields)+1), false
	for _, old := range h.fields {
		switch {
		case !old.is(name):
			kept = append(kept, old)
		case !done:
			kept, done = append(kept, f), true
		}
	}
	if !done {
		kept = append(kept, f)
	}
	h.fields = kept
	return nil
}

// Remove drops all fields of that name and returns how many there were.
func (h *Header) Remove(name string) int {
	kept, n := make([]Field, 0, len(h.fields)), 0
	for _, f := range h.fields {
		if f.is(name) {
			n++
		} else {
			kept = append(kept, f)
		}
	}
	h.fields = kept
	return n
}

func newField(name, value string) (Field, error) {
	line, err := FormatField(name, value)
	return Field{Raw: line, name: len(name)}, err
}

// RemoveIf drops the fields of that name whose value the function accepts,
// and returns how many there were.
func (h *Header) RemoveIf(name string, drop func(value string) bool) int {
	kept, n := h.fields[:0:0], 0
	for _, f := range h.fields {
		if f.is(name) && drop(f.Value()) {
			n++
		} else {
			kept = append(kept, f)
		}
	}
	if n > 0 {
		h.fields = kept
	}
	return n
}
