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
	if len(number) > 18 || !isDigits(number) || more && !strings.EqualFold(rest, "LAST") {
		return 0, false, syntax("BDAT size [LAST]")
	}
	size, err = strconv.ParseInt(number, 10, 64)
	return size, more, err
}

// BDAT handles the first BDAT of a message, or one that is out of order. It
// always reads the octets: they are content and must never run as commands.
func (s *transactions) BDAT(ctx context.Context, arg string) *envelope.Status {
	size, last, err := parseBdat(arg)
	if err != nil {
		// How much content follows is not known, so nothing after it can
		// be distinguished from commands.
		return closing(s.protocolError(501, "5.5.4", "Syntax: BDAT size [LAST]"))
	}
	if size > s.drainLimit() {
		return closing(s.floodReply())
	}
	s.startContent()
	var st *envelope.Status
	switch {
	// Not counted as errors: a client that pipelines all its chunks after a
	// refused RCPT is not at fault.
	case s.refused:
		st = envelope.Reject(503, "5.5.1", "Service is refused, only QUIT is allowed")
	case s.tx == nil:
		st = envelope.Reject(503, "5.5.1", "Send MAIL first")
	case len(s.tx.Recipients) == 0:
		st = envelope.Reject(503, "5.5.1", "No valid recipients")
	}
	ch := &chunkReader{s: s, left: size, last: last}
	if st == nil {
		st = s.receiveContent(ctx, ch, false)
	}
	if s.gone || s.pending != nil {
		return nil
	}
	s.c.Busy = false
	s.dropped += ch.left
	if err := ch.discardRest(); err != nil {
		return s.contentBroken(err)
	}
	return st
}

// chunkReader is the content of a sequence of BDATs. At the end of one it
// replies 250 and reads the next command itself, so that the backend reads the
// whole message in one call, on the session's goroutine.
type chunkReader struct {
	s    *transactions
	left int64 // of this chunk
	last bool
}

func (c *chunkReader) next() ([]byte, error) {
	for c.left == 0 {
		if c.last {
			return nil, io.EOF
		}
		if err := c.nextChunk(); err != nil {
			return nil, err
		}
	}
	return c.readSome()
}

func (c *chunkReader) readSome() ([]byte, error) {
	r := c.s.c.Reader() // another one after each wait for a command
	if _, err := r.Peek(1); err != nil {
		return nil, connectionError(err)
	}
	piece, _ := r.Peek(int(min(c.left, int64(r.Buffered())))) // buffered, so no error
	r.Discard(len(piece))
	c.left -= int64(len(piece))
	return piece, nil
}

// discardRest reads the rest of the chunk.
func (c *chunkReader) discardRest() error {
	for c.left > 0 {
		if _, err := c.readSome(); err != nil {
			return err
		}
	}
	return nil
}

// nextChunk replies to the chunk that was read and runs commands up to the next
// BDAT. A command that would end the transaction stays pending.
func (c *chunkReader) nextChunk() error {
	s := c.s
	err := s.reply(ok(250, "2.0.0", "Ok"))
	for err == nil {
		var cmd command
		if cmd, err = s.nextCommand(); err != nil {
			s.sayGoodbye(err)
			break
		}
		switch cmd.verb {
		case "BDAT":
			if c.left, c.last, err = parseBdat(cmd.arg); err != nil {
				s.reply(closing(s.protocolError(501, "5.5.4", "Syntax: BDAT size [LAST]")))
			} else if c.left > s.drainLimit() {
				err = errTooBig
				s.reply(closing(s.floodReply()))
			} else {
				s.resumeContent()
				return nil
			}
		case "RSET", "QUIT", "HELO", "EHLO", "LHLO":
			s.pending = &cmd
			return errBroken
		case "MAIL", "RCPT", "DATA", "AUTH", "STARTTLS":
			err = s.reply(s.protocolError(503, "5.5.1", "Content is not complete, send BDAT or RSET"))
		default:
			st := s.countNonMail(cmd.verb)
			if st == nil {
				st = s.answerTrivial(cmd)
			}
			err = s.reply(st)
		}
	}
	if !errors.Is(err, errBroken) {
		err = fmt.Errorf("%w: %w", errBroken, err)
	}
	return err
}
