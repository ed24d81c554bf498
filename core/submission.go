package core

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"carteiro/core/message/envelope"
)

// completeSubmission makes a user's message fit to be sent (RFC 6409 8):
// From, Date and Message-ID where they are missing, no Bcc, and of a user who
// logged in only authors that mayBeFrom allows.
func (p *Pipeline) completeSubmission(ctx context.Context, c *content) *envelope.Status {
	h := c.header
	for _, name := range []string{"From", "Sender", "Date", "Message-ID", "Subject", "To", "Cc", "Reply-To"} {
		if h.Count(name) > 1 {
			return envelope.Reject(550, "5.6.0", "more than one "+name+" field")
		}
	}
	h.Remove("Bcc")
	h.Remove("Resent-Bcc")
	if author := c.author(); !h.Has("From") && author != "" {
		h.Append("From", string(author))
	}
	if c.s.Identity != nil {
		if st := p.mayBeFrom(ctx, c); st != nil {
			return st
		}
	}
	now := p.clock.Now()
	if !h.Has("Date") {
		h.Append("Date", now.Format(time.RFC1123Z))
	}
	if !h.Has("Message-ID") {
		h.Append("Message-ID", "<"+c.tx.ID.String()+"@"+p.cfg.Hostname+">")
	}
	return nil
}

// received is our trace field (RFC 5321 4.4). "for" is left out when there is
// more than one recipient, so that it betrays no Bcc.
func (p *Pipeline) received(c *content, now time.Time) string {
	s := c.s
	var b strings.Builder
	utf8 := c.tx.Params.SMTPUTF8
	fmt.Fprintf(&b, "Received: from %s (", atomOr(s.Helo, "unknown", utf8))
	if s.RDNS != "" {
		b.WriteString(atomOr(s.RDNS, "unknown", utf8) + " ")
	}
	fmt.Fprintf(&b, "%s)\r\n\tby %s with %s", literal(s), p.cfg.Hostname, s.With(utf8))
	if s.TLS != nil {
		fmt.Fprintf(&b, " (%s %s)", s.TLS.Version, s.TLS.Cipher)
	}
	fmt.Fprintf(&b, "\r\n\tid %s", c.tx.ID)
	if len(c.tx.Recipients) == 1 && c.tx.Recipients[0].Orig.ASCII() {
		fmt.Fprintf(&b, "\r\n\tfor %s", c.tx.Recipients[0].Orig.Path())
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", now.Format(time.RFC1123Z))
	return b.String()
}

func literal(s *envelope.Session) string {
	ip := s.Remote.Addr().Unmap()
	if ip.Is6() {
		return "[IPv6:" + ip.WithZone("").String() + "]"
	}
	return "[" + ip.String() + "]"
}

// atomOr keeps a name that is safe inside a trace field, and replaces others.
// Letters beyond ASCII are for messages that may have them (RFC 6531 3.7.3).
func atomOr(s, other string, utf8 bool) string {
	if s == "" || len(s) > envelope.MaxDomain {
		return other
	}
	for _, c := range s {
		ascii := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c < 0x80 && strings.IndexByte(".-_[]:", byte(c)) >= 0
		if !ascii && !(utf8 && c >= 0x80 && c != '\uFFFD' && (unicode.IsLetter(c) || unicode.IsMark(c) || unicode.IsDigit(c))) {
			return other
		}
	}
	return s
}
