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

// data is DATA: 354, the content, one reply (in LMTP one per recipient).
func (s *session) data(ctx context.Context, arg string) *envelope.Status {
	switch {
	case arg != "":
		return s.bad(501, "5.5.4", "DATA takes no argument")
	case s.tx == nil:
		return s.noMail()
	case len(s.tx.Recipients) == 0:
		s.junk++
		return envelope.Reject(503, "5.5.1", "No valid recipients") // each was refused, or none was named
	case s.tx.Params.Body == "BINARYMIME":
		return s.bad(503, "5.5.1", "BINARYMIME needs BDAT")
	}
	s.reply(&envelope.Status{Code: 354, Text: "End data with <CR><LF>.<CR><LF>"})
	s.receiving()
	return s.take(ctx, &dotted{r: s.c.Reader(), bol: true}, true)
}

// receiving switches the connection from commands to content.
func (s *session) receiving() {
	s.c.Busy = true
	s.c.NewContent()
	s.resume()
}

func (s *session) resume() {
	s.c.Content(s.cfg.Timeouts.DataBlock, s.cfg.RateAfter, s.cfg.MinRate)
}

// take hands content to the backend and gives the reply; nil when it is
// written already, or when nobody is left to read it. all tells that what the
// backend leaves is read to the end even if the message is refused.
func (s *session) take(ctx context.Context, src pieces, all bool) *envelope.Status {
	defer func() { s.c.Busy = false }()
	c := &content{src: src, max: s.cfg.MaxSize, mode: s.cfg.BareNewlines, binary: s.tx.Params.Body == "BINARYMIME"}
	_, c.lined = src.(*dotted)
	start := time.Now()
	tx := s.tx
	out := s.backend.Data(ctx, s.s, tx, c)
	taken := c.fault == nil && out.taken(s.cfg.Protocol == LMTP)
	if all || taken {
		c.drain(s.spare())
		s.wasted += c.dropped
	}
	if c.end != nil && c.end != io.EOF && !errors.Is(c.end, errFlood) {
		s.endTransaction()
		return s.lost(c.end)
	}
	if st := faultStatus(c.fault); st != nil {
		out = Outcome{Status: st}
	}
	if errors.Is(c.end, errFlood) {
		out = Outcome{Status: closing(s.tooBig())}
	}
	each := s.cfg.Protocol == LMTP && atEnd(src)
	reply := s.outcome(tx, out, each, atEnd(src))
	s.endTransaction()
	if reply.Code < 400 {
		s.junk, s.wasted = 0, 0
	}
	if f := s.cfg.Observe.Content; f != nil {
		f(s.s.Listener, c.size, reply.Code, time.Since(start))
	}
	if each {
		return nil
	}
	return reply
}

// atEnd tells whether the client waits for the reply to the message. A BDAT
// that is not the LAST gets one reply in LMTP too.
func atEnd(src pieces) bool {
	ch, isBdat := src.(*chunks)
	return !isBdat || ch.last
}

// lost ends or goes on after content that did not come whole. A sequence of
// BDATs that another command broke off leaves that command pending, and the
// session goes on; otherwise the connection is of no more use.
func (s *session) lost(err error) *envelope.Status {
	if s.pending != nil {
		return nil
	}
	s.log.Info("content cut short", "err", quoteError(err))
	if errors.Is(err, errBroken) {
		s.gone = true
		return nil
	}
	s.over(err)
	s.gone = true
	return nil
}

// spare is how many octets of content are still read only to be dropped. Who
// sends more than four times what a message may have, and some, is not worth
// the reply that it would get in the end.
func (s *session) spare() int64 {
	if s.cfg.MaxSize <= 0 {
		return math.MaxInt64
	}
	return 4*s.cfg.MaxSize + 1<<20 - s.wasted
}

func (s *session) tooBig() *envelope.Status {
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

// taken tells whether the backend took responsibility for any recipient.
func (o Outcome) taken(lmtp bool) bool {
	good := func(st *envelope.Status) bool { return st == nil || st.Code < 400 }
	if !lmtp || len(o.Recipients) == 0 {
		return good(o.Status)
	}
	return slices.ContainsFunc(o.Recipients, good)
}

// outcome is the reply to content. Where each recipient gets one it writes
// them all and returns the first; with PRDR, the one for the message that
// follows them.
func (s *session) outcome(tx *envelope.Transaction, out Outcome, each, end bool) *envelope.Status {
	usual := ok(250, "2.0.0", "Ok: queued as "+tx.ID.String())
	if tx.Params.PRDR && !each && end && len(tx.Recipients) > 1 {
		return s.perRecipient(tx, out, usual)
	}
	if !each {
		if s.cfg.Protocol == LMTP && out.Status == nil && len(out.Recipients) > 0 {
			out.Status = out.Recipients[0] // nobody's was good, or all chunks would have been read
		}
		st, _ := answer(out.Status, usual)
		return st
	}
	return s.eachReply(tx, out, usual)
}

// eachReply writes the replies of the recipients and returns the first that
// is a success, else the first.
func (s *session) eachReply(tx *envelope.Transaction, out Outcome, usual *envelope.Status) *envelope.Status {
	var first *envelope.Status
	for i := range tx.Recipients {
		st := out.Status
		if i < len(out.Recipients) && out.Recipients[i] != nil {
			st = out.Recipients[i]
		}
		st, _ = answer(st, usual)
		if s.reply(st) != nil {
			s.gone = true
		}
		if first == nil || first.Code >= 400 && st.Code < 400 {
			first = st
		}
	}
	return first
}

// perRecipient follows draft-hall-prdr: 353, a reply for each recipient, and
// the one for the message. A message with one recipient has one reply.
func (s *session) perRecipient(tx *envelope.Transaction, out Outcome, usual *envelope.Status) *envelope.Status {
	s.reply(&envelope.Status{Code: 353, Text: "A reply for each recipient follows"})
	return s.eachReply(tx, out, usual)
}

// dotted reads the content of DATA line by line: it takes the dots away that
// the client put in front of dots, and ends at CRLF.CRLF and nothing else
// (RFC 5321 4.5.2, 4.1.1.4). It works on the connection's buffer.
type dotted struct {
	r   *bufio.Reader
	bol bool // a CRLF, or nothing, came before
}

func (d *dotted) next() ([]byte, error) {
	line, err := d.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, cut(err)
	}
	if err != nil && line[len(line)-1] == '\r' {
		// The buffer is full between CR and what may be its LF.
		d.r.UnreadByte() // cannot fail behind ReadSlice
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
