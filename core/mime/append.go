package mime

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
)

// maxAppended is the longest plain text that is written anew to put something
// at its end, in octets as transferred; longer ones get it as a part.
const maxAppended = 1 << 20

// AppendText copies body with text at its end and returns the header section
// to use with it. Plain text gets it below its own and becomes UTF-8; anything
// else becomes the first part of a multipart/mixed, octets unchanged, with the
// text as its last. What is signed or encrypted stays as it is (RFC 1847, RFC
// 8551, and text in OpenPGP's armour). index is of this header section and
// body. Errors are those of body and w.
func AppendText(h *Header, index *Index, text string, body io.Reader, w io.Writer) (*Header, error) {
	root := index.Parts[0]
	if sealed(root.Type) {
		_, err := io.Copy(w, body)
		return h, err
	}
	if root.Type != "text/plain" || root.Disposition == "attachment" || root.End-root.Start > maxAppended {
		return wrapText(h, text, body, w)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return h, err
	}
	own, err := root.Text(bytes.NewReader(raw), 4*maxAppended)
	if err != nil || strings.HasPrefix(own, "-----BEGIN PGP ") {
		_, err = w.Write(raw)
		return h, err
	}
	if own != "" && !strings.HasSuffix(own, "\n") {
		own += "\r\n"
	}
	return Edit(h, index, []PartEdit{{Text: own + text}}, bytes.NewReader(raw), w)
}

// sealed tells types whose octets somebody vouches for, or nobody can read.
func sealed(kind string) bool {
	switch kind {
	case "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return false
}

// wrapText makes the whole message a part beside the text.
func wrapText(h *Header, text string, body io.Reader, w io.Writer) (*Header, error) {
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
		return h, err
	}
	if _, err = fmt.Fprintf(w, "--%s\r\n%s", boundary, inner.Bytes()); err != nil {
		return h, err
	}
	if _, err = io.Copy(w, body); err != nil {
		return h, err
	}
	_, err = fmt.Fprintf(w, "\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s\r\n--%s--\r\n",
		boundary, QuotedPrintable(text), boundary)
	return outer, err
}
