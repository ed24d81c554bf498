package pop3

import (
	"bufio"
	"io"
	"sync"
)

// Sizes of the buffers. Most messages leave in one write: with less, the client
// is woken for each piece, which takes longer than reading the message.
const (
	copyRead  = 16 << 10
	copyWrite = 32 << 10
)

// ioBuffers are the buffers for sending one message to a client.
type ioBuffers struct {
	r *bufio.Reader
	w *bufio.Writer
}

// bufferPool keeps the buffers that no session uses at the moment. They are too
// large for each waiting session to keep its own.
type bufferPool struct{ pool sync.Pool }

func (cs *bufferPool) get(w io.Writer, r io.Reader) *ioBuffers {
	if c, ok := cs.pool.Get().(*ioBuffers); ok {
		c.r.Reset(r)
		c.w.Reset(w)
		return c
	}
	return &ioBuffers{r: bufio.NewReaderSize(r, copyRead), w: bufio.NewWriterSize(w, copyWrite)}
}

// put returns buffers to the pool; their content is lost.
func (cs *bufferPool) put(c *ioBuffers) {
	c.r.Reset(nil)
	c.w.Reset(nil)
	cs.pool.Put(c)
}
