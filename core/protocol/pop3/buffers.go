package pop3

import (
	"bufio"
	"io"
	"sync"
)

// Sizes of a copier. Most messages leave in one write: with less, the client
// is woken for each piece, which takes longer than reading the message.
const (
	copyRead  = 16 << 10
	copyWrite = 32 << 10
)

// ioBuffers is the buffers that one message goes through on its way to a client.
type ioBuffers struct {
	r *bufio.Reader
	w *bufio.Writer
}

// bufferPool keeps those that no session uses at the moment. They are too large
// for each message, and for each session that waits, to have its own.
type bufferPool struct{ pool sync.Pool }

func (cs *bufferPool) get(w io.Writer, r io.Reader) *ioBuffers {
	if c, ok := cs.pool.Get().(*ioBuffers); ok {
		c.r.Reset(r)
		c.w.Reset(w)
		return c
	}
	return &ioBuffers{r: bufio.NewReaderSize(r, copyRead), w: bufio.NewWriterSize(w, copyWrite)}
}

// put gives a copier back; what is kept in it is lost.
func (cs *bufferPool) put(c *ioBuffers) {
	c.r.Reset(nil)
	c.w.Reset(nil)
	cs.pool.Put(c)
}
