package pop3

import (
	"context"

	"carteiro/core/protocol/netline"
)

// Limits of reading ahead.
const (
	aheadMax  = 20 << 10 // octets of a message: a copier holds it, its dots stuffed too
	aheadSkip = 1024     // most RETRs without reading ahead, for a client that is slow
)

// ahead is the answer to the RETR that most likely comes next, for clients
// read their mail in order. It is made while the answer before is on its way,
// and only for clients that are so quick that the time for it would be
// theirs; whoever takes longer costs no memory meanwhile.
type ahead struct {
	number int     // of the message, 0: none
	answer *copier // "+OK", the message and its end, not flushed
	octets int64
	next   int // the message behind that of the last command, if it was RETR
	misses int // in a row
	skip   int // RETRs to come for which nothing is read ahead
}

// outlet is the client's end of a copier. It asks for the writer each time: a
// connection gives it back while it waits.
type outlet struct{ c *netline.Conn }

func (o outlet) Write(p []byte) (int, error) { return o.c.Writer().Write(p) }

// lookAhead is called before each command is read. An error of the store is
// left to the RETR that may come.
func (s *session) lookAhead(ctx context.Context) {
	a := &s.ahead
	if a.next > 0 && s.c.Buffered() == 0 && s.c.Flush() == nil {
		if a.skip == 0 {
			s.readAhead(ctx, a.next)
		} else {
			a.skip--
		}
	}
	a.next = 0
	if a.number == 0 || s.c.Soon() {
		return
	}
	s.forget()
	a.skip = min(1<<a.misses, aheadSkip)
	a.misses = min(a.misses+1, 10)
}

func (s *session) readAhead(ctx context.Context, n int) {
	if n > len(s.drop.table) || s.drop.table[n-1].deleted || s.drop.table[n-1].size > aheadMax {
		return
	}
	s.forget()
	c, octets, err := s.answer(ctx, n, s.retrieved(n), -1)
	if err != nil {
		if c != nil {
			s.copiers.put(c)
		}
		return
	}
	s.ahead.number, s.ahead.answer, s.ahead.octets = n, c, octets
}

// forget gives up what was read ahead.
func (s *session) forget() {
	if s.ahead.answer != nil {
		s.copiers.put(s.ahead.answer)
	}
	s.ahead.number, s.ahead.answer = 0, nil
}
