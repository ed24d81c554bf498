package spam

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"time"

	"carteiro/core/message/mime"
)

// The kinds of features. A feature's id is its kind and 24 bits of a hash.
const (
	words = iota + 1 // of text and header fields
	marks            // of how a message is made: HTML, parts, links
	grams            // four letters of the text in a row
	head             // five letters of the other header fields in a row
	kinds = head
)

// idBits are the bits of a feature's hash.
const idBits = 24

// Features are what the models see of a message.
type Features struct {
	key    string
	sketch sketch
	ids    [kinds + 1][]uint32 // by kind, each sorted by nothing, without doubles
}

// Key returns a key that is the same for every copy of a message: fields that hosts add
// to it do not count.
func (f *Features) Key() string { return f.key }

// hash is FNV-1a's with a better end.
type hash uint64

const hashStart hash = 14695981039346656037

func (h hash) text(s string) hash {
	for i := range len(s) {
		h = (h ^ hash(s[i])) * 1099511628211
	}
	return (h ^ 0xff) * 1099511628211
}

func (h hash) id() uint32 {
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return uint32(h) & (1<<idBits - 1)
}

// set holds ids of one kind, each once. Its slots are never emptied but
// outdated.
type set struct {
	slots []uint32 // generation and id
	gen   uint32
	ids   []uint32
}

const setBits = 15

func (s *set) reset() {
	if s.slots == nil {
		s.slots = make([]uint32, 1<<setBits)
	}
	s.gen++
	if s.gen == 1<<(32-idBits) {
		clear(s.slots)
		s.gen = 1
	}
	s.ids = s.ids[:0]
}

func (s *set) add(id uint32) {
	want := s.gen<<idBits | id
	at := (id * 0x9E3779B1) >> (32 - setBits)
	for s.slots[at]>>idBits == s.gen {
		if s.slots[at] == want {
			return
		}
		at = (at + 1) & (1<<setBits - 1)
	}
	if len(s.ids) < 1<<(setBits-1) {
		s.slots[at] = want
		s.ids = append(s.ids, id)
	}
}

// extractor is the scratch of one Extract, used again and again.
type extractor struct {
	sets   [kinds + 1]set
	text   []byte // visible text of all parts
	letter []byte // squeezed text
	word   []byte
	runs   sketcher
	buffer *bufio.Reader
	links  int
	html   bool
	plain  bool
}

var extractors = sync.Pool{New: func() any { return new(extractor) }}

// Extract reads a message's features. It returns ErrTooComplex and errors of
// Body; memory is bounded, time is linear.
func Extract(m Message) (*Features, error) {
	x := extractors.Get().(*extractor)
	defer extractors.Put(x)
	if err := x.read(m); err != nil {
		return nil, err
	}
	f := &Features{sketch: x.runs.sketch()}
	for k := words; k <= kinds; k++ {
		f.ids[k] = append([]uint32(nil), x.sets[k].ids...)
	}
	f.key = x.key(m.Header)
	return f, nil
}

// read fills the sets.
func (x *extractor) read(m Message) error {
	for k := range x.sets {
		x.sets[k].reset()
	}
	x.text, x.links, x.html, x.plain = x.text[:0], 0, false, false
	if len(m.Header.Fields()) > mime.MaxFields {
		return ErrTooComplex
	}
	x.header(m.Header)
	body, err := m.Body()
	if err != nil {
		return err
	}
	defer body.Close()
	if err := x.body(m, body); err != nil {
		return err
	}
	x.textWords()
	x.textMarks()
	x.textLetters()
	return nil
}

func (x *extractor) mark(parts ...string) {
	h := hashStart
	for _, p := range parts {
		h = h.text(p)
	}
	x.sets[marks].add(h.id())
}

func (x *extractor) tag(parts ...string) {
	h := hashStart
	for _, p := range parts {
		h = h.text(p)
	}
	x.sets[words].add(h.id())
}

// key is made of what does not change on the way: a few fields and the
// beginning of the text.
func (x *extractor) key(h *mime.Header) string {
	d := sha256.New()
	for _, name := range []string{"Message-ID", "Date", "From", "Subject"} {
		v, _ := h.Get(name)
		io.WriteString(d, strings.Join(strings.Fields(v), " ")+"\n")
	}
	d.Write(bytes.TrimSpace(x.text))
	return hex.EncodeToString(d.Sum(nil)[:16])
}

// squeeze appends s in lower case, white space as single spaces and digits as
// zeros, up to limit octets of out.
func squeeze(out []byte, s []byte, limit int) []byte {
	for _, c := range s {
		if len(out) >= limit {
			break
		}
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= '0' && c <= '9':
			c = '0'
		case c <= ' ':
			if len(out) > 0 && out[len(out)-1] == ' ' {
				continue
			}
			c = ' '
		}
		out = append(out, c)
	}
	return out
}

// gram4 adds each four octets in a row; salt keeps those of a field apart.
func (x *extractor) gram4(s []byte, salt uint32) {
	v := uint32(0)
	for i, c := range s {
		v = v<<8 | uint32(c)
		if i >= 3 {
			x.sets[grams].add(mix(uint64(v) | uint64(salt)<<32))
		}
	}
}

func (x *extractor) gram5(s []byte) {
	v := uint64(0)
	for i, c := range s {
		v = (v<<8 | uint64(c)) & (1<<40 - 1)
		if i >= 4 {
			x.sets[head].add(mix(v))
		}
	}
}

func mix(v uint64) uint32 { return uint32(v * 0x9E3779B97F4A7C15 >> (64 - idBits)) }

// wire is how features travel between a command and the server.
type wire struct {
	Key string `json:"key"`
	IDs []byte `json:"ids"` // as a sample is kept
}

// MarshalJSON writes the features so that UnmarshalJSON reads them.
func (f *Features) MarshalJSON() ([]byte, error) {
	return json.Marshal(wire{f.key, newSample(f, Ham, time.Unix(0, 0)).encode()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Features) UnmarshalJSON(b []byte) error {
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	s, err := decode(w.Key, w.IDs)
	if err != nil {
		return err
	}
	f.key, f.sketch, f.ids = s.key, s.sketch, s.ids
	return nil
}
