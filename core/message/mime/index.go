package mime

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// Limits of an index. What goes beyond is part of the enclosing part's text,
// and TooComplex is set; reading stays linear and bounded.
const (
	MaxDepth      = 50
	MaxParts      = 1000
	maxPartHeader = 64 << 10
	// maxHeaders bounds the header sections of all parts together, which are
	// held in memory.
	maxHeaders = 1 << 20
	// maxBoundary is more than the 70 characters of RFC 2046 5.1.1: others
	// read such messages too.
	maxBoundary = 256
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
	glued       bool // the line end before its delimiter is the one of its header section
}

func newPart(h *Header, depth int) Part {
	p := Part{Header: h, Depth: depth, Type: "text/plain"}
	if v, ok := h.Get("Content-Type"); ok {
		kind, params := parseMediaType(v)
		if major, minor, ok := strings.Cut(kind, "/"); ok && isToken(major) && isToken(minor) {
			p.Type, p.Charset, p.Filename = kind, params.get("charset"), params.get("name")
			p.boundary = strings.TrimRight(params.get("boundary"), " \t")
		} else {
			p.Type = "application/octet-stream"
		}
	}
	if v, ok := h.Get("Content-Disposition"); ok {
		kind, params := parseMediaType(v)
		p.Disposition = kind
		if name := params.get("filename"); name != "" {
			p.Filename = name
		}
	}
	if v, ok := h.Get("Content-Transfer-Encoding"); ok {
		p.Encoding, _ = parseMediaType(v)
	}
	p.Filename = DecodeWords(p.Filename)
	if i := strings.LastIndexAny(p.Filename, `/\`); i >= 0 {
		p.Filename = p.Filename[i+1:]
	}
	p.Multipart = strings.HasPrefix(p.Type, "multipart/") && p.boundary != "" && len(p.boundary) <= maxBoundary
	return p
}

func isToken(s string) bool {
	for i := range len(s) {
		if !atext(s[i]) || s[i] == '/' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// ReadIndex reads a body to its end once, in memory that its limits bound. It
// returns errors of body.
func ReadIndex(h *Header, body io.Reader) (*Index, error) {
	s := scanner{r: bufio.NewReaderSize(body, 64<<10), index: &Index{}, delimiters: map[string][]int{}}
	s.push(newPart(h, 0))
	for {
		line, whole, err := s.line()
		if len(line) > 0 {
			s.take(line, whole)
		}
		if errors.Is(err, io.EOF) {
			if s.reading {
				s.begin(s.at)
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
	r     *bufio.Reader
	index *Index
	open  []int // indices of open parts, outermost first
	// delimiters has for each boundary the places in open of the multiparts
	// that wait for it, so that a line costs the same at any depth.
	delimiters map[string][]int
	header     []byte // of the part whose header section is being read
	headers    int    // octets of all header sections
	reading    bool   // a header section is being read
	at         int64  // offset of the next octet
	lineStart  int64
	prevEnd    int   // length of the line end before the current line
	headerAt   int64 // where that header section began
	midLine    bool
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
	if p.Multipart {
		s.delimiters[p.boundary] = append(s.delimiters[p.boundary], len(s.open))
	}
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
		s.headers += len(line)
		if whole && blank(line) || len(s.header) > maxPartHeader || s.headers > maxHeaders {
			s.begin(s.at)
		}
	}
	s.prevEnd = ending(line)
}

func ending(line []byte) int {
	n := len(line)
	switch {
	case line[n-1] != '\n':
		return 0
	case n > 1 && line[n-2] == '\r':
		return 2
	}
	return 1
}

// begin ends a header section: its part is known now, and its content starts.
func (s *scanner) begin(start int64) {
	p := newPart(ParseHeader(s.header), len(s.open))
	p.HeaderStart, p.Start = s.headerAt, start
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
	if len(text) > maxBoundary+2 {
		return false
	}
	at, last := s.waiting(text), false
	if before, ok := bytes.CutSuffix(text, []byte("--")); ok {
		if i := s.waiting(before); i > at {
			at, last = i, true
		}
	}
	if at < 0 {
		return false
	}
	if s.reading {
		s.begin(s.lineStart)
	}
	s.close(at+1, s.lineStart-int64(s.prevEnd))
	switch {
	case last: // what follows is epilogue
		s.forget(s.index.Parts[s.open[at]].boundary)
	case len(s.index.Parts) >= MaxParts || s.headers > maxHeaders:
		s.index.TooComplex = true
	default:
		s.reading, s.headerAt = true, s.at
	}
	return true
}

// waiting returns the innermost open multipart with that boundary, -1 for none.
func (s *scanner) waiting(boundary []byte) int {
	places := s.delimiters[string(boundary)]
	if len(places) == 0 {
		return -1
	}
	return places[len(places)-1]
}

func (s *scanner) forget(boundary string) {
	places := s.delimiters[boundary]
	s.delimiters[boundary] = places[:len(places)-1]
}

// close ends all open parts from depth n on.
func (s *scanner) close(n int, end int64) {
	for len(s.open) > n {
		place := len(s.open) - 1
		p := &s.index.Parts[s.open[place]]
		p.glued = end < p.Start
		p.End = max(end, p.Start)
		if p.Multipart && s.waiting([]byte(p.boundary)) == place {
			s.forget(p.boundary)
		}
		s.open = s.open[:place]
	}
}
