package mime

import (
	"bytes"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"

	"github.com/emersion/go-message/charset"
)

// Leaf reports whether the part holds content and not other parts.
func (p Part) Leaf() bool { return !p.Multipart }

// Param returns a parameter of its Content-Type, decoded; "" when there is none.
func (p Part) Param(name string) string {
	v, _ := p.Header.Get("Content-Type")
	_, params := parseMediaType(v)
	return params.get(name)
}

// Open returns the decoded content of the part. At an error in the transfer encoding the
// content ends. body is a reader at the start of the message body; Open reads it no
// further than the part. The only errors of reading are those of body.
func (p Part) Open(body io.Reader) (io.Reader, error) {
	if _, err := io.CopyN(io.Discard, body, p.Start); err != nil {
		return nil, fmt.Errorf("body is shorter than its index: %w", err)
	}
	return decoder(p.Encoding, io.LimitReader(body, p.End-p.Start)), nil
}

// Text returns at most limit octets of the part as UTF-8 text: of an unknown
// charset the octets as they are, made valid. Broken encodings give what
// could be decoded.
func (p Part) Text(body io.Reader, limit int64) (string, error) {
	r, err := p.Open(body)
	if err != nil {
		return "", err
	}
	if p.Charset != "" && !strings.EqualFold(p.Charset, "utf-8") && !strings.EqualFold(p.Charset, "us-ascii") {
		if decoded, err := charset.Reader(p.Charset, r); err == nil {
			r = decoded
		}
	}
	b, err := io.ReadAll(io.LimitReader(r, limit))
	return strings.ToValidUTF8(string(b), "\uFFFD"), err
}

// PartEdit replaces one leaf of an index by text, or removes it.
type PartEdit struct {
	Part   int // in Index.Parts
	Remove bool
	Text   string // UTF-8; becomes the new content, quoted-printable

	encoded []byte // the same, done
}

// Edit copies body with edits applied in one pass; octets outside of edited
// parts stay as they are. It returns the header section to use with it: the
// same one unless Parts[0] itself was replaced. Of two edits of one part the
// last one counts; removing Parts[0] leaves an empty text.
func Edit(h *Header, index *Index, edits []PartEdit, body io.Reader, w io.Writer) (*Header, error) {
	last := map[int]PartEdit{}
	var order []int
	for _, e := range edits {
		if e.Part < 0 || e.Part >= len(index.Parts) || index.Parts[e.Part].Multipart {
			return nil, fmt.Errorf("no leaf with number %d", e.Part)
		}
		if _, ok := last[e.Part]; !ok {
			order = append(order, e.Part)
		}
		last[e.Part] = e
	}
	slices.Sort(order)
	var at int64
	for _, i := range order {
		p, e := index.Parts[i], last[i]
		if _, err := io.CopyN(w, body, p.HeaderStart-at); err != nil {
			return nil, err
		}
		if err := writePart(w, &h, p, e, i == 0); err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, body, p.End-p.HeaderStart); err != nil {
			return nil, err
		}
		at = p.End
	}
	_, err := io.Copy(w, body)
	return h, err
}

// writePart writes the new header section and content of an edited part; a
// removed one becomes an empty text, so that its multipart stays well formed.
func writePart(w io.Writer, h **Header, p Part, e PartEdit, root bool) error {
	edited := p.Header.Clone()
	if root {
		edited = (*h).Clone()
	}
	text := e.Text
	contentType := p.Type
	if e.Remove || !strings.HasPrefix(contentType, "text/") {
		contentType = "text/plain"
	}
	if e.Remove {
		text = ""
		edited.Remove("Content-Disposition")
	}
	edited.Set("Content-Type", contentType+"; charset=utf-8")
	edited.Set("Content-Transfer-Encoding", "quoted-printable")
	if root {
		*h = edited
	} else if _, err := w.Write(edited.Bytes()); err != nil {
		return err
	}
	content := e.encoded
	if content == nil {
		content = QuotedPrintable(text)
	}
	if !root {
		content = undelimited(content)
	}
	if p.glued && len(content) > 0 {
		content = append(content, "\r\n"...) // the delimiter's own line end
	}
	_, err := w.Write(content)
	return err
}

// undelimited is quoted-printable text in which no line can be taken for a
// delimiter (RFC 2046 5.1.1): who wrote the message chose what those look like,
// and perhaps what the text says.
func undelimited(b []byte) []byte {
	const longest = 76 // RFC 2045 6.7, rule 5
	var out []byte
	for line := range bytes.Lines(b) {
		for bytes.HasPrefix(line, []byte("--")) {
			out, line = append(out, "=2D-"...), line[2:]
			if len(bytes.TrimRight(line, "\r\n"))+len("=2D-") <= longest {
				break
			}
			out = append(out, softBreak...)
		}
		out = append(out, line...)
	}
	return out
}

// lineEnds makes every kind of line end a CRLF.
var lineEnds = strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n")

// QuotedPrintable encodes text; CRLF, CR and LF all become CRLF.
func QuotedPrintable(text string) []byte {
	var b bytes.Buffer
	q := quotedprintable.NewWriter(&b)
	io.WriteString(q, lineEnds.Replace(text))
	q.Close()
	return b.Bytes()
}
