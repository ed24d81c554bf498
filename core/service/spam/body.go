package spam

import (
	"bufio"
	"io"
	"strings"

	"carteiro/core/message/mime"
)

// counter knows how far a body was read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// body reads the structure of the body and then, in a second pass, its texts.
func (x *extractor) body(m Message, first io.Reader) error {
	limited := &counter{r: io.LimitReader(first, maxMessage+1)}
	if x.buffer == nil {
		x.buffer = bufio.NewReaderSize(limited, 64<<10) // what ReadIndex would make anew
	}
	x.buffer.Reset(limited)
	defer x.buffer.Reset(nil)
	index, err := mime.ReadIndex(m.Header, x.buffer)
	if err != nil {
		return err
	}
	if index.TooComplex || limited.n > maxMessage {
		return ErrTooComplex
	}
	again, err := m.Body()
	if err != nil {
		return err
	}
	defer again.Close()
	return x.parts(index, &counter{r: again})
}

func (x *extractor) parts(index *mime.Index, body *counter) error {
	texts := 0
	for _, p := range index.Parts {
		x.mark("part", p.Type)
		if !p.Leaf() {
			continue
		}
		if isText(p) {
			texts++
			if texts > maxTexts || p.End-p.Start > maxEncoded {
				return ErrTooComplex
			}
			if err := x.part(p, body); err != nil {
				return err
			}
		}
		x.mark("attached", p.Type, p.Disposition)
		x.mark("encoding", p.Encoding, strings.ToLower(p.Charset), p.Type)
		if i := strings.LastIndexByte(p.Filename, '.'); i >= 0 {
			x.mark("extension", strings.ToLower(p.Filename[i:]))
		}
	}
	x.mark("parts", magnitude(len(index.Parts)))
	if x.html {
		x.mark("html")
		if !x.plain {
			x.mark("html only")
		}
	}
	return nil
}

func isText(p mime.Part) bool {
	return strings.HasPrefix(p.Type, "text/") && p.Disposition != "attachment"
}

// part appends a part's text to that of the message, as far as there is room.
// The parts come in their order, so the body is read only once.
func (x *extractor) part(p mime.Part, body *counter) error {
	room := maxText - len(x.text)
	if room <= 0 {
		return nil
	}
	p.Start, p.End = p.Start-body.n, p.End-body.n
	if p.Start < 0 {
		return nil // what was read belongs to the part before
	}
	s, err := p.Text(body, int64(room))
	if err != nil {
		return err
	}
	s = dropInvisible(s)
	if p.Type == "text/html" {
		x.html = true
		x.text = x.hypertext(x.text, s)
	} else {
		x.plain = true
		x.text = append(x.text, s...)
		x.plainLinks(s)
	}
	x.text = append(x.text, '\n')
	if x.links > maxLinks {
		return ErrTooComplex
	}
	return nil
}
