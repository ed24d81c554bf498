package smtpin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Reasons to refuse content that do not depend on the backend.
var (
	errTooBig  = errors.New("message exceeds the size limit")
	errNewline = errors.New("bare CR or LF in message")
	errFlood   = errors.New("far more content than a message may have")
)

// contentSource is the source of content: DATA or a sequence of BDATs.
type contentSource interface {
	// next returns some octets of the message, valid until the next call, and
	// io.EOF after the last one. After every other error the rest cannot be read.
	next() ([]byte, error)
}

// content is the io.Reader that the backend gets. It counts and checks, and
// returns io.EOF only if the message is complete.
type content struct {
	src        contentSource
	max        int64
	mode       Newlines
	binary     bool // BODY=BINARYMIME: CR and LF are octets like others
	wholeLines bool // no piece has more than one LF, at its end
	newlines   newlines

	rest    []byte // of the last piece
	last    byte   // octet that was read
	size    int64
	dropped int64 // octets that drain read
	fault   error // errTooBig or errNewline: the message is refused
	end     error // what src said at its end
}

func (c *content) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(c.rest) > 0 {
			k := copy(p[n:], c.rest)
			c.rest = c.rest[k:]
			n += k
			continue
		}
		if err := c.refill(); err != nil {
			if n > 0 {
				return n, nil // the error comes again with the next call
			}
			return 0, err
		}
	}
	return n, nil
}

func (c *content) refill() error {
	if c.fault != nil {
		return c.fault
	}
	if c.end != nil {
		return c.end
	}
	piece, err := c.src.next()
	if err != nil {
		c.end = incomplete(err)
		if c.end == io.EOF && !c.binary && c.size > 0 && c.last != '\n' && !c.newlines.endsInCR() {
			// A text is lines, and the last BDAT cut one: DATA, POP3 and
			// the next hop would end it so.
			c.last = '\n'
			c.rest = []byte("\r\n")
			return nil
		}
		if c.end == io.EOF && !c.binary && c.newlines.endsInCR() && c.mode == Reject {
			c.fault = errNewline
			return c.fault
		}
		return c.end
	}
	if !c.binary && !(c.wholeLines && c.newlines.isWholeLine(piece)) {
		piece = c.newlines.normalise(piece)
		if c.newlines.bare && c.mode == Reject {
			c.fault = errNewline
			return c.fault
		}
	}
	c.size += int64(len(piece))
	if c.max > 0 && c.size > c.max {
		c.fault = errTooBig
		return c.fault
	}
	if len(piece) > 0 {
		c.last = piece[len(piece)-1]
	}
	c.rest = piece
	return nil
}

// incomplete makes every error but io.EOF an io.ErrUnexpectedEOF: the end of
// the connection is never the end of a message.
func incomplete(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
}

// connectionError returns what pieces return for an error of the connection.
func connectionError(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return incomplete(err)
}

// drain reads and drops the rest of the message, at most limit octets; more is errFlood.
func (c *content) drain(limit int64) error {
	for c.end == nil {
		piece, err := c.src.next()
		if err != nil {
			c.end = incomplete(err)
		}
		c.dropped += int64(len(piece))
		if c.dropped > limit && c.end == nil {
			c.end = errFlood
		}
	}
	if c.end == io.EOF {
		return nil
	}
	return c.end
}

// newlines finds bare CRs and LFs and makes CRLFs of them.
type newlines struct {
	bare    bool
	cr      bool // the last octet was a CR; its CRLF is written already
	changed []byte
}

// endsInCR reports whether the message ended in a bare CR.
func (n *newlines) endsInCR() bool { return n.cr }

// isWholeLine is pass for the usual piece of DATA, one whole line: it reports
// whether that is so.
func (n *newlines) isWholeLine(p []byte) bool {
	end := len(p) - 2
	return !n.cr && end >= 0 && p[end+1] == '\n' && bytes.IndexByte(p, '\r') == end
}

func (n *newlines) normalise(p []byte) []byte {
	if !n.cr && hasOnlyCRLF(p) {
		return p
	}
	out := n.changed[:0]
	for _, b := range p {
		switch {
		case b == '\n' && n.cr:
			n.cr = false // the second half of a CRLF
			continue
		case n.cr:
			n.bare = true
		case b == '\n':
			n.bare = true
		}
		n.cr = b == '\r'
		if n.cr || b == '\n' {
			out = append(out, '\r', '\n')
		} else {
			out = append(out, b)
		}
	}
	n.changed = out
	return out
}

// hasOnlyCRLF reports whether every CR and LF of p is part of a CRLF within p.
func hasOnlyCRLF(p []byte) bool {
	lines := 0
	for rest := p; ; lines++ {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		if i == 0 || rest[i-1] != '\r' {
			return false
		}
		rest = rest[i+1:]
	}
	return bytes.Count(p, []byte{'\r'}) == lines
}
