package pop3

import (
	"context"

	"carteiro/core/protocol/netline"
)

// Limits of reading ahead.
const (
	prefetchMax  = 20 << 10 // octets of a message: a copier holds it, its dots stuffed too
	prefetchSkip = 1024     // most RETRs without reading ahead, for a client that is slow
)

// prefetch is the answer to the RETR that most likely comes next, for clients
// read their mail in order. It is made while the answer before is on its way,
// and only for clients that are so quick that the time for it would be
// theirs; whoever takes longer costs no memory meanwhile.
type prefetch struct {
	number int        // of the message, 0: none
	answer *ioBuffers // "+OK", the message and its end, not flushed
	octets int64
	next   int // the message after that of the last command, if it was RETR
	misses int // in a row
	skip   int // RETRs to come for which nothing is read ahead
}

// connWriter is the client's end of a copier. It asks for the writer each time: a
// connection gives it back while it waits.
type connWriter struct{ c *netline.Conn }

func (o connWriter) Write(p []byte) (int, error) { return o.c.Writer().Write(p) }

// prefetchNext is called before each command is read. An error of the store is
// left to the RETR that may come.
func (s *session) prefetchNext(ctx context.Context) {
	a := &s.prefetch
	if a.next > 0 && s.c.Buffered() == 0 && s.c.Flush() == nil {
		if a.skip == 0 {
			s.prefetchMessage(ctx, a.next)
		} else {
			a.skip--
		}
	}
	a.next = 0
	if a.number == 0 || s.c.SpinForInput() {
		return
	}
	s.dropPrefetch()
	a.skip = min(1<<a.misses, prefetchSkip)
	a.misses = min(a.misses+1, 10)
}

func (s *session) prefetchMessage(ctx context.Context, n int) {
	if n > len(s.drop.table) || s.drop.table[n-1].deleted || s.drop.table[n-1].size > prefetchMax {
		return
	}
	s.dropPrefetch()
	c, octets, err := s.answer(ctx, n, s.sizeText(n), -1)
	if err != nil {
		if c != nil {
			s.buffers.put(c)
		}
		return
	}
	s.prefetch.number, s.prefetch.answer, s.prefetch.octets = n, c, octets
}

// dropPrefetch gives up what was read ahead.
func (s *session) dropPrefetch() {
	if s.prefetch.answer != nil {
		s.buffers.put(s.prefetch.answer)
	}
	s.prefetch.number, s.prefetch.answer = 0, nil
}
