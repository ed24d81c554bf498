package netline

import (
	"fmt"
	"time"
)

// connReader fills the Conn's buffer. It is only called when no complete
// line is left in there, which is when kept replies must go out.
type connReader Conn

func (r *connReader) Read(p []byte) (int, error) {
	c := (*Conn)(r)
	if len(c.pending) > 0 {
		n := copy(p, c.pending)
		c.pending = c.pending[n:]
		if c.more && len(c.pending) == 0 {
			n += c.readMore(p[n:])
		}
		return n, nil
	}
	if err := c.Flush(); err != nil {
		return 0, err
	}
	if c.lineBy.IsZero() {
		return c.readContent(p)
	}
	return c.readLine(p)
}

// readMore reads what came together with first, so that a pipelining client gets
// its replies together. An error, the deadline's too, comes again with the
// next read.
func (c *Conn) readMore(p []byte) int {
	c.more = false
	c.nc.SetReadDeadline(time.Now().Add(moreWait))
	n, _ := c.nc.Read(p)
	if n > 0 {
		c.reads++
	}
	return n
}

// readLine reads octets of a line; Stop ends it if the session is idle.
func (c *Conn) readLine(p []byte) (int, error) {
	c.reads++
	c.mu.Lock()
	idle := !c.Busy
	if c.stopping && idle {
		c.mu.Unlock()
		return 0, ErrStopping
	}
	c.waiting = idle
	c.nc.SetReadDeadline(c.lineBy)
	c.mu.Unlock()
	n, err := c.nc.Read(p)
	c.mu.Lock()
	c.waiting = false
	stopped := c.stopping && idle
	c.mu.Unlock()
	if err != nil && stopped {
		err = ErrStopping
	}
	return n, err
}

func (c *Conn) readContent(p []byte) (int, error) {
	start := time.Now()
	c.nc.SetReadDeadline(start.Add(c.content.block))
	n, err := c.nc.Read(p)
	c.content.octets += int64(n)
	c.content.waited += time.Since(start)
	t := &c.content
	if err == nil && t.rate > 0 && t.waited > t.after && float64(t.octets) < float64(t.rate)*t.waited.Seconds() {
		return n, fmt.Errorf("%w: %d octets in %v", ErrTooSlow, t.octets, t.waited.Round(time.Millisecond))
	}
	return n, err
}

type connWriter Conn

func (w *connWriter) Write(p []byte) (int, error) {
	c := (*Conn)(w)
	c.nc.SetWriteDeadline(time.Now().Add(c.WriteTimeout))
	return c.nc.Write(p)
}
