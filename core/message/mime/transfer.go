package mime

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-message/charset"
)

// recode turns text of a charset into UTF-8; of an unknown one it stays.
func recode(name, text string) string {
	r, err := charset.Reader(name, strings.NewReader(text))
	if err != nil {
		return text
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return text
	}
	return string(out)
}

// source passes on what it reads and remembers how that ended, so that faults
// of storage are not taken for those of an encoding.
type source struct {
	r   io.Reader
	err error // other than io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// lenient ends where its decoder finds a fault; what came before counts.
type lenient struct {
	r   io.Reader
	src *source
}

func (l lenient) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil && l.src.err != nil {
		return n, l.src.err
	}
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// decoder undoes a content-transfer-encoding (RFC 2045 6) in a stream.
func decoder(encoding string, raw io.Reader) io.Reader {
	src := &source{r: raw}
	switch encoding {
	case "base64":
		return lenient{base64.NewDecoder(base64.StdEncoding, &alphabet{r: src}), src}
	case "quoted-printable":
		return lenient{&quotedPrintable{r: bufio.NewReader(src)}, src}
	}
	return raw
}

// alphabet drops characters that are not base64 (RFC 2045 6.8) and stops at padding.
type alphabet struct {
	r    io.Reader
	n    int64 // characters given so far
	done bool
}

func (a *alphabet) Read(p []byte) (int, error) {
	for !a.done {
		n, err := a.r.Read(p)
		kept := 0
		for _, c := range p[:n] {
			if c == '=' {
				a.done = true
				break
			}
			if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
				p[kept] = c
				kept++
			}
		}
		a.n += int64(kept)
		if err == io.EOF {
			a.done = true
		} else if err != nil {
			return kept, err
		}
		if kept > 0 {
			return kept, nil
		}
	}
	// Complete the last quantum, so that a missing "=" loses nothing.
	pad := int((4 - a.n%4) % 4)
	if pad == 3 || pad == 0 || len(p) < pad {
		return 0, io.EOF
	}
	a.n += int64(pad)
	return copy(p, "=="[:pad]), nil
}

// quotedPrintable decodes lines of any length; what is not encoded as RFC
// 2045 6.7 says stays as it is.
type quotedPrintable struct{ r *bufio.Reader }

func (q *quotedPrintable) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c, err := q.r.ReadByte()
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if c == '=' {
			if two, _ := q.r.Peek(2); len(two) == 2 && isHex(two[0]) && isHex(two[1]) {
				c = unhex(two[0])<<4 | unhex(two[1])
				q.r.Discard(2) // was peeked
			} else if soft, ok := q.softBreak(); ok {
				q.r.Discard(soft) // was peeked
				continue
			}
		}
		p[n] = c
		n++
	}
	return n, nil
}

// softBreak returns the length of the line end after "=", with white space that
// was added on the way before it.
func (q *quotedPrintable) softBreak() (n int, ok bool) {
	const maxBlank = 100
	ahead, _ := q.r.Peek(maxBlank)
	rest := bytes.TrimLeft(ahead, " \t")
	n = len(ahead) - len(rest)
	switch {
	case bytes.HasPrefix(rest, []byte("\r\n")):
		return n + 2, true
	case bytes.HasPrefix(rest, []byte("\n")):
		return n + 1, true
	}
	// At the end of the part its CRLF belongs to the boundary.
	return n, len(rest) == 0 && len(ahead) < maxBlank
}

// lineOctets is the number of octets in a base64 line of 76 characters (RFC 2045 6.8).
const lineOctets = 57

// WriteBase64 writes octets as lines of 76 characters, with CRLF. Errors are
// those of w.
func WriteBase64(w io.Writer, b []byte) error {
	const many = 500 * lineOctets
	var out []byte
	for chunk := range slices.Chunk(b, many) {
		out = out[:0]
		for line := range slices.Chunk(chunk, lineOctets) {
			out = append(base64.StdEncoding.AppendEncode(out, line), "\r\n"...)
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
	return nil
}
