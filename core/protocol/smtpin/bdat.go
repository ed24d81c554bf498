package smtpin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"carteiro/core/message/envelope"
)

// errBroken: a sequence of BDATs ended before its LAST, by another command or
// with the session.
var errBroken = fmt.Errorf("%w: BDAT sequence broken off", io.ErrUnexpectedEOF)

// parseBdat reads "size [LAST]" (RFC 3030 2).
func parseBdat(arg string) (size int64, last bool, err error) {
	number, rest, more := strings.Cut(arg, " ")
	if len(number) > 18 || !digits(number) || more && !strings.EqualFold(rest, "LAST") {
		return 0, false, syntax("BDAT size [LAST]")
	}
	size, err = strconv.ParseInt(number, 10, 64)
	return size, more, err
}

// bdat is the first BDAT of a message, or one that is out of order. Its octets
// are read in every case: they are content, and must never run as commands.
func (s *session) bdat(ctx context.Context, arg string) *envelope.Status {
	size, last, err := parseBdat(arg)
	if err != nil {
		// How much content follows is not known, so nothing behind it can
		// be told from commands.
		return closing(s.bad(501, "5.5.4", "Syntax: BDAT size [LAST]"))
	}
	if size > s.spare() {
		return closing(s.tooBig())
	}
	s.receiving()
	var st *envelope.Status
	switch {
	// Not counted as errors: a client that pipelines all its chunks behind a
	// refused RCPT is not at fault.
	case s.refused:
		st = envelope.Reject(503, "5.5.1", "No service here, only QUIT")
	case s.tx == nil:
		st = envelope.Reject(503, "5.5.1", "Send MAIL first")
	case len(s.tx.Recipients) == 0:
		st = envelope.Reject(503, "5.5.1", "No valid recipients")
	}
	ch := &chunks{s: s, left: size, last: last}
	if st == nil {
		st = s.take(ctx, ch, false)
	}
	if s.gone || s.pending != nil {
		return nil
	}
	s.c.Busy = false
	s.wasted += ch.left
	if err := ch.swallow(); err != nil {
		return s.lost(err)
	}
	return st
}

// chunks is the content of a sequence of BDATs. Where one is used up it
// answers 250 and reads the next command itself, so that a backend reads the
// whole message in one call, on the session's one goroutine.
type chunks struct {
	s    *session
	left int64 // of this chunk
	last bool
}

func (c *chunks) next() ([]byte, error) {
	for c.left == 0 {
		if c.last {
			return nil, io.EOF
		}
		if err := c.nextChunk(); err != nil {
			return nil, err
		}
	}
	return c.some()
}

func (c *chunks) some() ([]byte, error) {
	r := c.s.c.Reader() // another one after each wait for a command
	if _, err := r.Peek(1); err != nil {
		return nil, cut(err)
	}
	piece, _ := r.Peek(int(min(c.left, int64(r.Buffered())))) // buffered, so no error
	r.Discard(len(piece))
	c.left -= int64(len(piece))
	return piece, nil
}

// swallow reads the rest of the chunk.
func (c *chunks) swallow() error {
	for c.left > 0 {
		if _, err := c.some(); err != nil {
			return err
		}
	}
	return nil
}

// nextChunk answers the chunk that is done and obeys commands up to the next
// BDAT. Those that would end the transaction are left pending.
func (c *chunks) nextChunk() error {
	s := c.s
	err := s.reply(ok(250, "2.0.0", "Ok"))
	for err == nil {
		var cmd command
		if cmd, err = s.next(); err != nil {
			s.over(err)
			break
		}
		switch cmd.verb {
		case "BDAT":
			if c.left, c.last, err = parseBdat(cmd.arg); err != nil {
				s.reply(closing(s.bad(501, "5.5.4", "Syntax: BDAT size [LAST]")))
			} else if c.left > s.spare() {
				err = errTooBig
				s.reply(closing(s.tooBig()))
			} else {
				s.resume()
				return nil
			}
		case "RSET", "QUIT", "HELO", "EHLO", "LHLO":
			s.pending = &cmd
			return errBroken
		case "MAIL", "RCPT", "DATA", "AUTH", "STARTTLS":
			err = s.reply(s.bad(503, "5.5.1", "Content is not complete, send BDAT or RSET"))
		default:
			st := s.spend(cmd.verb)
			if st == nil {
				st = s.aside(cmd)
			}
			err = s.reply(st)
		}
	}
	if !errors.Is(err, errBroken) {
		err = fmt.Errorf("%w: %w", errBroken, err)
	}
	return err
}
