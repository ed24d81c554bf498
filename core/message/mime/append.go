package mime

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"carteiro/core/message/envelope"
)

// maxAppended is the longest plain text that is written anew to put something
// at its end, in octets as transferred; longer ones get it as a part.
const maxAppended = 1 << 20

// Text is a piece of text to append. One with a name is a mark: copies can
// have something else in its place (Filled), the others have Text.
type Text struct{ Name, Text string }

// softBreak is a soft line break (RFC 2045 6.7, rule 5).
const softBreak = "=\r\n"

// marked encodes pieces, and returns the placeholders in the result.
func marked(pieces []Text) (encoded []byte, marks []envelope.Placeholder) {
	plain := "" // as one, so that its lines are broken as one
	for _, p := range pieces {
		if p.Name == "" {
			plain += p.Text
			continue
		}
		encoded = append(append(encoded, QuotedPrintable(plain)...), softBreak...)
		text := QuotedPrintable(p.Text)
		marks = append(marks, envelope.Placeholder{Name: p.Name, At: int64(len(encoded)), Len: int64(len(text))})
		encoded, plain = append(append(encoded, text...), softBreak...), ""
	}
	return append(encoded, QuotedPrintable(plain)...), marks
}

// AppendText copies body with text at its end and returns the header section
// to use with it, and where in the copy the marks of the text are. Plain text
// gets it below its own and becomes UTF-8; anything else becomes the first part
// of a multipart/mixed, octets unchanged, with the text as its last. What is
// signed or encrypted stays as it is (RFC 1847, RFC 8551, and text in OpenPGP's
// armour). index is of this header section and body. Errors are those of body
// and w.
func AppendText(h *Header, index *Index, text []Text, body io.Reader, w io.Writer) (*Header, []envelope.Placeholder, error) {
	root := index.Parts[0]
	if sealed(root.Type) {
		_, err := io.Copy(w, body)
		return h, nil, err
	}
	if root.Type != "text/plain" || root.Disposition == "attachment" || root.End-root.Start > maxAppended {
		return wrapText(h, text, body, w)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return h, nil, err
	}
	own, err := root.Text(bytes.NewReader(raw), 4*maxAppended)
	if err != nil || strings.HasPrefix(own, "-----BEGIN PGP ") {
		_, err = w.Write(raw)
		return h, nil, err
	}
	if own != "" && !strings.HasSuffix(own, "\n") {
		own += "\r\n"
	}
	encoded, marks := marked(append([]Text{{Text: own}}, text...))
	h, err = Edit(h, index, []PartEdit{{encoded: encoded}}, bytes.NewReader(raw), w)
	return h, marks, err
}

// sealed reports types whose octets are signed or encrypted.
func sealed(kind string) bool {
	switch kind {
	case "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return false
}

// wrapText makes a multipart of the whole message and the text.
func wrapText(h *Header, text []Text, body io.Reader, w io.Writer) (*Header, []envelope.Placeholder, error) {
	boundary := "=_" + rand.Text()
	outer, inner := &Header{}, &Header{}
	for _, f := range h.fields {
		if name := strings.ToLower(f.Name()); strings.HasPrefix(name, "content-") {
			inner.fields = append(inner.fields, f)
		} else if name != "mime-version" {
			outer.fields = append(outer.fields, f)
		}
	}
	err := outer.Append("MIME-Version", "1.0")
	if err == nil {
		err = outer.Append("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
	}
	if err != nil {
		return h, nil, err
	}
	encoded, marks := marked(text)
	front, err := fmt.Fprintf(w, "--%s\r\n%s", boundary, inner.Bytes())
	if err != nil {
		return h, nil, err
	}
	length, err := io.Copy(w, body)
	if err != nil {
		return h, nil, err
	}
	between, err := fmt.Fprintf(
		w,
		"\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline\r\n"+
			"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
		boundary,
	)
	if err != nil {
		return h, nil, err
	}
	for i := range marks {
		marks[i].At += int64(front) + length + int64(between)
	}
	_, err = fmt.Fprintf(w, "%s\r\n--%s--\r\n", encoded, boundary)
	return outer, marks, err
}

// Filled is body with fill in its marks, which are in order, and the octets
// that it is longer; names that fill lacks stay as they are.
func Filled(body io.Reader, marks []envelope.Placeholder, fill envelope.Values) (io.Reader, int64) {
	var parts []io.Reader
	var at, more int64
	for _, m := range marks {
		text, ok := fill[m.Name]
		if !ok {
			continue
		}
		encoded := QuotedPrintable(text)
		parts = append(parts, io.LimitReader(body, m.At-at), &skip{body, m.Len}, bytes.NewReader(encoded))
		at = m.At + m.Len
		more += int64(len(encoded)) - m.Len
	}
	return io.MultiReader(append(parts, body)...), more
}

// skip reads n octets away and gives none.
type skip struct {
	r io.Reader
	n int64
}

func (s *skip) Read([]byte) (int, error) {
	if _, err := io.CopyN(io.Discard, s.r, s.n); err != nil {
		return 0, err
	}
	return 0, io.EOF
}
