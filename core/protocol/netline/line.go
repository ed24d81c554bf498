package netline

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	readSize  = 16 << 10 // at least MaxLine, and a TLS record
	writeSize = 4 << 10
	// maxSkip is how much of one overlong line is read before giving up.
	maxSkip = 64 << 10
	// firstSize is what a waiting connection keeps for the first octets of
	// what the client says next: most commands whole.
	firstSize = 512
	// moreWait is how long more is waited for where that many came: they are
	// there already, or exactly so many were sent.
	moreWait = time.Millisecond
	// maxLoneLine is the longest line with a bare LF that counts as all that its
	// client had to say: TCP cuts no single write into smaller segments.
	maxLoneLine = 512
)

// ReadLine returns the next line without its CRLF; it is valid until the next read. It
// flushes replies before it waits, and waits at most timeout for the whole line.
//
// Only CRLF ends a line. A line with a bare LF is refused with ErrBadLine, at
// once, and so is what follows it up to the next CRLF: nothing that was
// written together with a bare LF is ever executed. There is one exception, for clients
// and testers that send no CR and wait for the reply: if a line shorter than 512 octets
// began after our last reply, came in one piece, and its LF was the last octet of that
// piece, then reading continues after the LF.
func (c *Conn) ReadLine(timeout time.Duration) ([]byte, error) {
	if c.idleStop() {
		return nil, ErrStopping
	}
	c.lineBy = time.Now().Add(timeout)
	fresh, reads := c.Buffered() == 0, c.reads
	if fresh {
		if err := c.waitForClient(); err != nil {
			return nil, err
		}
	}
	r := c.Reader()
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = c.skipLine(line)
		if err == nil {
			err = ErrTooLong
		}
	}
	if err != nil && !errors.Is(err, ErrTooLong) {
		return nil, err
	}
	rest := c.lastBareLF
	c.lastBareLF = len(line) < 2 || line[len(line)-2] != '\r'
	if c.lastBareLF && !rest && fresh && err == nil && c.reads == reads+1 && c.Buffered() == 0 && len(line) < maxLoneLine {
		c.lastBareLF = false
		return nil, ErrBadLine
	}
	switch {
	case rest || c.lastBareLF:
		return nil, ErrBadLine
	case err != nil || len(line) > MaxLine:
		return nil, ErrTooLong
	}
	line = line[:len(line)-2]
	for _, b := range line {
		if b < ' ' && b != '\t' || b == 0x7f {
			return nil, ErrBadLine
		}
	}
	return line, nil
}

// skipLine reads to the end of an overlong line and returns its last piece.
func (c *Conn) skipLine(piece []byte) ([]byte, error) {
	cr := false
	for n := len(piece); n <= maxSkip; n += len(piece) {
		cr = piece[len(piece)-1] == '\r'
		var err error
		piece, err = c.r.ReadSlice('\n')
		if err == nil {
			if len(piece) == 1 && cr {
				piece = []byte("\r\n")
			}
			return piece, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: more than %d octets", io.ErrUnexpectedEOF, maxSkip)
}

// waitForClient sends what is kept, gives the buffers back and waits for the
// client.
func (c *Conn) waitForClient() error {
	if err := c.Flush(); err != nil {
		return err
	}
	c.returnReader()
	c.returnWriter()
	return c.readFirst()
}

func (c *Conn) readFirst() error {
	if c.first == nil {
		c.first = new([firstSize]byte)
	}
	n, err := c.readLine(c.first[:])
	c.pending, c.more = c.first[:n], n == firstSize
	if n > 0 {
		return nil
	}
	return err
}

// SpokeEarly waits for so long and reports whether the client sent something
// in that time; its input is kept.
func (c *Conn) SpokeEarly(wait time.Duration) bool {
	c.lineBy = time.Now().Add(wait)
	return c.Buffered() > 0 || c.readFirst() == nil
}
