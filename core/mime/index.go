package mime

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
)

// Limits of an index. What goes beyond is part of the enclosing part's text,
// and TooComplex is set; reading stays linear and bounded.
const (
	MaxDepth      = 50
	MaxParts      = 1000
	maxPartHeader = 64 << 10
)

// Index knows where in a body its MIME parts are (RFC 2046 5.1). It holds
// offsets only, never content.
type Index struct {
	Parts      []Part // depth first; Parts[0] is the whole body
	TooComplex bool
}

// Part is one entity. Offsets count from the start of the body.
type Part struct {
	Header      *Header // of the entity; for Parts[0] the message's
	Type        string  // "text/plain", lower case
	Charset     string
	Filename    string // decoded, without folders
	Disposition string // "inline", "attachment" or ""
	Encoding    string // content-transfer-encoding, lower case
	Depth       int
	Multipart   bool
	HeaderStart int64 // of its header section
	Start, End  int64 // of its content; the CRLF before a boundary belongs to the boundary
	boundary    string
	closed      bool // its last delimiter was seen; what follows is epilogue
}

func newPart(h *Header, depth int) Part {
	p := Part{Header: h, Depth: depth, Type: "text/plain"}
	if v, ok := h.Get("Content-Type"); ok {
		t, params, err := mime.ParseMediaType(v)
		if t != "" && (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) {
			p.Type, p.Charset, p.Filename, p.boundary = t, params["charset"], params["name"], params["boundary"]
		} else {
			p.Type = "application/octet-stream"
		}
	}
	if v, ok := h.Get("Content-Disposition"); ok {
		d, params, _ := mime.ParseMediaType(v)
		p.Disposition = d
		if params["filename"] != "" {
			p.Filename = params["filename"]
		}
	}
	if v, ok := h.Get("Content-Transfer-Encoding"); ok {
		p.Encoding = strings.ToLower(strings.TrimSpace(v))
	}
	p.Filename = DecodeWords(p.Filename)
	if i := strings.LastIndexAny(p.Filename, `/\`); i >= 0 {
		p.Filename = p.Filename[i+1:]
	}
	p.Multipart = strings.HasPrefix(p.Type, "multipart/") && p.boundary != "" && len(p.boundary) <= 70
	return p
}

// ReadIndex reads a body to its end once, in constant memory per part.
func ReadIndex(h *Header, body io.Reader) (*Index, error) {
	s := scanner{r: bufio.NewReaderSize(body, 64<<10), index: &Index{}}
	s.push(newPart(h, 0))
	for {
		line, whole, err := s.line()
		if len(line) > 0 {
			s.take(line, whole)
		}
		if errors.Is(err, io.EOF) {
			if s.reading {
				s.begin()
			}
			s.close(0, s.at)
			return s.index, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// scanner walks over the lines of a body with a stack of open parts.
type scanner struct {
	r         *bufio.Reader
	index     *Index
	open      []int  // indices of open parts, outermost first
	header    []byte // of the part whose header section is being read
	reading   bool   // a header section is being read
	at        int64  // offset of the next octet
	lineStart int64
	prevEnd   int   // length of the line end before the current line
	headerAt  int64 // where that header section began
	midLine   bool
}

// line returns the next line or, of a long one, the next piece.
func (s *scanner) line() (b []byte, whole bool, err error) {
	b, err = s.r.ReadSlice('\n')
	whole = !s.midLine
	if whole {
		s.lineStart = s.at
	}
	s.at += int64(len(b))
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	s.midLine = len(b) > 0 && b[len(b)-1] != '\n'
	return b, whole, err
}

func (s *scanner) push(p Part) {
	s.index.Parts = append(s.index.Parts, p)
	s.open = append(s.open, len(s.index.Parts)-1)
}

func (s *scanner) take(line []byte, whole bool) {
	if whole && len(line) > 2 && line[0] == '-' && line[1] == '-' && s.boundary(line) {
		s.prevEnd = ending(line)
		return
	}
	if s.reading {
		s.header = append(s.header, line...)
		if whole && len(bytes.TrimRight(line, "\r\n")) == 0 || len(s.header) > maxPartHeader {
			s.begin()
		}
	}
	s.prevEnd = ending(line)
}

func ending(line []byte) int {
	switch {
	case bytes.HasSuffix(line, []byte("\r\n")):
		return 2
	case bytes.HasSuffix(line, []byte("\n")):
		return 1
	}
	return 0
}

// begin ends a header section: its part is known now.
func (s *scanner) begin() {
	p := newPart(ParseHeader(s.header), len(s.open))
	p.HeaderStart, p.Start = s.headerAt, s.at
	s.header, s.reading = nil, false
	if p.Multipart && len(s.open) >= MaxDepth {
		p.Multipart, s.index.TooComplex = false, true
	}
	s.push(p)
}

// boundary looks whether the line is a delimiter of an open multipart, the
// innermost first, and if so closes what it ends.
func (s *scanner) boundary(line []byte) bool {
	text := bytes.TrimRight(line, " \t\r\n")[2:]
	for i := len(s.open) - 1; i >= 0; i-- {
		p := s.index.Parts[s.open[i]]
		if !p.Multipart || p.closed || !bytes.HasPrefix(text, []byte(p.boundary)) {
			continue
		}
		rest := string(text[len(p.boundary):])
		if rest != "" && rest != "--" {
			continue
		}
		if s.reading {
			s.begin()
		}
		s.close(i+1, s.lineStart-int64(s.prevEnd))
		if rest == "--" {
			s.index.Parts[s.open[i]].closed = true
		} else if len(s.index.Parts) >= MaxParts {
			s.index.TooComplex = true
		} else {
			s.reading, s.headerAt = true, s.at
		}
		return true
	}
	return false
}

// close ends all open parts from depth n on.
func (s *scanner) close(n int, end int64) {
	for len(s.open) > n {
		p := &s.index.Parts[s.open[len(s.open)-1]]
		p.End = max(end, p.Start)
		s.open = s.open[:len(s.open)-1]
	}
}
