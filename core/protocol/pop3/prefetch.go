package pop3

import (
	"context"

	"carteiro/core/protocol/netline"
)

// Limits of prefetching.
const (
	prefetchMax  = 20 << 10 // octets of a message: it fits into the buffers with its dots stuffed
	prefetchSkip = 1024     // most RETRs without reading ahead, for a client that is slow
)

// prefetch is the answer to the RETR that most likely comes next, because
// clients read their mail in order. It is prepared while the previous answer is
// on its way, but only for clients that are so quick that they would otherwise
// wait for it; slower clients cost no memory meanwhile.
type prefetch struct {
	number int        // of the message, 0: none
	answer *ioBuffers // "+OK", the message and its end, not flushed
	octets int64
	next   int // the message after that of the last command, if it was RETR
	misses int // in a row
	skip   int // RETRs to come for which nothing is read ahead
}

// connWriter is where buffers write to. It gets the connection's writer each
// time, because the connection returns it while it waits.
type connWriter struct{ c *netline.Conn }

func (o connWriter) Write(p []byte) (int, error) { return o.c.Writer().Write(p) }

// prefetchNext is called before each command is read. An error of the store is
// reported by the RETR that may come.
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

// dropPrefetch drops the prefetched message.
func (s *session) dropPrefetch() {
	if s.prefetch.answer != nil {
		s.buffers.put(s.prefetch.answer)
	}
	s.prefetch.number, s.prefetch.answer = 0, nil
}
