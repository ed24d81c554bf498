package netline

import (
	"bufio"
	"sync"
)

// buffers are those that connections do not use at the moment. A connection
// has some while it talks and gives them back while it waits for the client,
// so that an idle one costs little more than its goroutine.
type buffers struct{ readers, writers sync.Pool }

// Reader gives the octets of the client; only between Content and ReadLine,
// which may give it to another connection: it must not be kept over one.
func (c *Conn) Reader() *bufio.Reader {
	if c.r == nil {
		if r, ok := c.bufs.readers.Get().(*bufio.Reader); ok {
			r.Reset((*connReader)(c))
			c.r = r
		} else {
			c.r = bufio.NewReaderSize((*connReader)(c), readSize)
		}
	}
	return c.r
}

// Writer takes replies; see Flush.
func (c *Conn) Writer() *bufio.Writer {
	if c.w == nil {
		if w, ok := c.bufs.writers.Get().(*bufio.Writer); ok {
			w.Reset((*connWriter)(c))
			c.w = w
		} else {
			c.w = bufio.NewWriterSize((*connWriter)(c), writeSize)
		}
	}
	return c.w
}

// Flush sends the replies kept so far.
func (c *Conn) Flush() error {
	if c.w == nil {
		return nil
	}
	return c.w.Flush()
}

// Buffered returns how many octets of the client were read and not yet used.
func (c *Conn) Buffered() int {
	n := len(c.pending)
	if c.r != nil {
		n += c.r.Buffered()
	}
	return n
}

// returnReader gives the reader back with all that is in it.
func (c *Conn) returnReader() {
	if c.r != nil {
		c.r.Reset(nil)
		c.bufs.readers.Put(c.r)
	}
	c.r, c.pending = nil, nil
}

// returnWriter returns the writer to the pool; its buffered output is lost.
func (c *Conn) returnWriter() {
	if c.w != nil {
		c.w.Reset(nil)
		c.bufs.writers.Put(c.w)
	}
	c.w = nil
}
