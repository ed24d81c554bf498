package smtpin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"carteiro/core/message/envelope"
)

// DATA replies 354, receives the content and replies to it (in LMTP for each
// recipient).
func (s *transactions) DATA(ctx context.Context, arg string) *envelope.Status {
	switch {
	case arg != "":
		return s.protocolError(501, "5.5.4", "DATA takes no argument")
	case s.tx == nil:
		return s.noTransaction()
	case len(s.tx.Recipients) == 0:
		s.nonMail++
		return envelope.Reject(503, "5.5.1", "No valid recipients") // each was refused, or none was named
	case s.tx.Params.Body == "BINARYMIME":
		return s.protocolError(503, "5.5.1", "BINARYMIME needs BDAT")
	}
	s.reply(&envelope.Status{Code: 354, Text: "End data with <CR><LF>.<CR><LF>"})
	s.startContent()
	return s.receiveContent(ctx, &dotReader{r: s.c.Reader(), bol: true}, true)
}

// startContent switches the connection from commands to content.
func (s *transactions) startContent() {
	s.c.Busy = true
	s.c.NewContent()
	s.resumeContent()
}

func (s *transactions) resumeContent() {
	s.c.Content(s.cfg.Timeouts.DataBlock, s.cfg.RateAfter, s.cfg.MinRate)
}

// receiveContent passes content to the backend and returns the reply; nil if it
// is already written, or if nobody is left to read it. all: what the backend
// does not read is read to the end even if the message is refused.
func (s *transactions) receiveContent(ctx context.Context, src contentSource, all bool) *envelope.Status {
	defer func() { s.c.Busy = false }()
	c := &content{src: src, max: s.cfg.MaxSize, mode: s.cfg.BareNewlines, binary: s.tx.Params.Body == "BINARYMIME"}
	_, c.wholeLines = src.(*dotReader)
	start := time.Now()
	tx := s.tx
	out := s.backend.Data(ctx, s.s, tx, c)
	taken := c.fault == nil && out.accepted(s.cfg.Protocol == LMTP)
	if all || taken {
		c.drain(s.drainLimit())
		s.dropped += c.dropped
	}
	if c.end != nil && c.end != io.EOF && !errors.Is(c.end, errFlood) {
		s.endTransaction()
		return s.contentBroken(c.end)
	}
	if st := faultStatus(c.fault); st != nil {
		out = Outcome{Status: st}
	}
	if errors.Is(c.end, errFlood) {
		out = Outcome{Status: closing(s.floodReply())}
	}
	each := s.cfg.Protocol == LMTP && isLastChunk(src)
	reply := s.replyToContent(tx, out, each, isLastChunk(src))
	s.endTransaction()
	if reply.Code < 400 {
		s.nonMail, s.dropped = 0, 0
	}
	if f := s.cfg.Observe.Content; f != nil {
		f(s.s.Listener, c.size, reply.Code, time.Since(start))
	}
	if each {
		return nil
	}
	return reply
}

// isLastChunk reports whether the client waits for the reply to the message. A BDAT
// that is not the LAST gets one reply in LMTP too.
func isLastChunk(src contentSource) bool {
	ch, isBdat := src.(*chunkReader)
	return !isBdat || ch.last
}

// contentBroken ends the session, or continues it, after incomplete content. If
// another command broke off a sequence of BDATs, that command is pending and
// the session continues; otherwise the connection is useless.
func (s *transactions) contentBroken(err error) *envelope.Status {
	if s.pending != nil {
		return nil
	}
	s.log.Info("content cut short", "err", quoteError(err))
	if errors.Is(err, errBroken) {
		s.gone = true
		return nil
	}
	s.sayGoodbye(err)
	s.gone = true
	return nil
}

// drainLimit returns how many octets of content are still read only to be
// dropped. A client that sends more than four times the size limit, and some,
// gets no reply in the end.
func (s *transactions) drainLimit() int64 {
	if s.cfg.MaxSize <= 0 {
		return math.MaxInt64
	}
	return 4*s.cfg.MaxSize + 1<<20 - s.dropped
}

func (s *transactions) floodReply() *envelope.Status {
	s.log.Info("session ended by a limit", "reason", "content far above the size limit")
	return envelope.Reject(552, "5.3.4", "Message exceeds the size limit")
}

func faultStatus(fault error) *envelope.Status {
	switch {
	case errors.Is(fault, errTooBig):
		return envelope.Reject(552, "5.3.4", "Message exceeds the size limit")
	case errors.Is(fault, errNewline):
		return envelope.Reject(550, "5.6.11", "Message has a bare CR or LF")
	}
	return nil
}

// accepted reports whether the backend took responsibility for any recipient.
func (o Outcome) accepted(lmtp bool) bool {
	good := func(st *envelope.Status) bool { return st == nil || st.Code < 400 }
	if !lmtp || len(o.Recipients) == 0 {
		return good(o.Status)
	}
	return slices.ContainsFunc(o.Recipients, good)
}

// replyToContent returns the reply to content. Where each recipient gets one it
// writes them all and returns the first; with PRDR, the one for the message
// that follows them.
func (s *transactions) replyToContent(tx *envelope.Transaction, out Outcome, each, end bool) *envelope.Status {
	usual := ok(250, "2.0.0", "Ok: queued as "+tx.ID.String())
	if tx.Params.PRDR && !each && end && len(tx.Recipients) > 1 {
		return s.replyPRDR(tx, out, usual)
	}
	if !each {
		if s.cfg.Protocol == LMTP && out.Status == nil && len(out.Recipients) > 0 {
			out.Status = out.Recipients[0] // nobody's was good, or all chunks would have been read
		}
		st, _ := backendReply(out.Status, usual)
		return st
	}
	return s.replyEach(tx, out, usual)
}

// replyEach writes the replies of the recipients and returns the first that
// is a success, else the first.
func (s *transactions) replyEach(tx *envelope.Transaction, out Outcome, usual *envelope.Status) *envelope.Status {
	var first *envelope.Status
	for i := range tx.Recipients {
		st := out.Status
		if i < len(out.Recipients) && out.Recipients[i] != nil {
			st = out.Recipients[i]
		}
		st, _ = backendReply(st, usual)
		if s.reply(st) != nil {
			s.gone = true
		}
		if first == nil || first.Code >= 400 && st.Code < 400 {
			first = st
		}
	}
	return first
}

// replyPRDR follows draft-hall-prdr: 353, a reply for each recipient, and
// the one for the message. A message with one recipient has one reply.
func (s *transactions) replyPRDR(tx *envelope.Transaction, out Outcome, usual *envelope.Status) *envelope.Status {
	s.reply(&envelope.Status{Code: 353, Text: "A reply for each recipient follows"})
	return s.replyEach(tx, out, usual)
}

// dotReader reads the content of DATA line by line. It removes the dots that
// the client put in front of dots, and ends at CRLF.CRLF only (RFC 5321 4.5.2,
// 4.1.1.4). It works on the connection's buffer.
type dotReader struct {
	r   *bufio.Reader
	bol bool // a CRLF, or nothing, came before
}

func (d *dotReader) next() ([]byte, error) {
	line, err := d.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, connectionError(err)
	}
	if err != nil && line[len(line)-1] == '\r' {
		// The buffer is full between CR and what may be its LF.
		d.r.UnreadByte() // cannot fail after ReadSlice
		line = line[:len(line)-1]
	}
	first := d.bol
	d.bol = len(line) > 1 && line[len(line)-2] == '\r' && line[len(line)-1] == '\n'
	if !first || line[0] != '.' {
		return line, nil
	}
	if d.bol && len(line) == 3 {
		return nil, io.EOF
	}
	return line[1:], nil
}
