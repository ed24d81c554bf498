package smtpin

import (
	"context"
	"strconv"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/sasl"
)

// HELO handles HELO, EHLO and LHLO. LMTP has only LHLO (RFC 2033 4.1).
func (s *session) HELO(ctx context.Context, verb, name string) *envelope.Status {
	if (verb == "LHLO") != (s.cfg.Protocol == LMTP) {
		return s.protocolError(500, "5.5.1", "This port uses another protocol")
	}
	if name == "" || envelope.CheckDomain(name) != nil || !envelope.Address(name).ASCII() {
		return s.protocolError(501, "5.5.4", verb+" needs a domain or an address literal")
	}
	s.endTransaction()
	s.s.ESMTP = verb != "HELO"
	s.s.Helo = name
	st := s.backend.Helo(ctx, s.s, name)
	reply, accepted := backendReply(st, &envelope.Status{Code: 250, Text: s.cfg.Hostname})
	if !accepted {
		s.greeted = false
		return reply
	}
	s.greeted = true
	text := s.cfg.Hostname
	if st != nil && st.Text != "" {
		text += " " + st.Text
	}
	if verb == "HELO" {
		s.multilineReply(250, text)
	} else {
		s.multilineReply(250, append([]string{text}, s.extensions()...)...)
	}
	if reply.Close {
		s.gone = true
	}
	return nil
}

// extensions returns the EHLO keywords as they hold now.
func (s *session) extensions() []string {
	size := "SIZE"
	if s.cfg.MaxSize > 0 {
		size += " " + strconv.FormatInt(s.cfg.MaxSize, 10)
	}
	ext := []string{"PIPELINING", size, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING",
		"BINARYMIME", "DSN", "MT-PRIORITY", "DELIVERBY", "LIMITS RCPTMAX=" + strconv.Itoa(s.cfg.MaxRecipients)}
	if s.cfg.Protocol != LMTP {
		ext = append(ext, "PRDR")
	}
	if s.offersHold() {
		until := s.cfg.Now().Add(s.cfg.MaxHold).UTC().Format("2006-01-02T15:04:05Z")
		ext = append(ext, "FUTURERELEASE "+strconv.FormatInt(int64(s.cfg.MaxHold.Seconds()), 10)+" "+until)
	}
	if s.s.TLS != nil {
		ext = append(ext, "REQUIRETLS")
	} else if s.cfg.TLS != nil {
		ext = append(ext, "STARTTLS")
	}
	if s.xclient {
		ext = append(ext, "XCLIENT "+xclientAttributes)
	}
	if s.mayAuth() && s.s.Identity == nil {
		ext = append(ext, "AUTH "+strings.Join(sasl.Mechanisms(s.backend, s.c), " "))
	}
	return ext
}

// offersHold reports whether FUTURERELEASE is offered: only for submission (RFC 4865 5).
func (s *transactions) offersHold() bool { return s.cfg.Protocol == Submission && s.cfg.MaxHold > 0 }

func (s *transactions) holdLimit() time.Duration {
	if s.offersHold() {
		return s.cfg.MaxHold
	}
	return 0
}

// STARTTLS follows RFC 3207. Whoever sent octets in the clear after the command
// cannot know what will be said in TLS: the session ends, and they are never
// read.
func (s *session) STARTTLS(ctx context.Context, arg string) *envelope.Status {
	switch {
	case s.s.TLS != nil:
		return s.protocolError(503, "5.5.1", "TLS is already in use")
	case s.cfg.TLS == nil:
		return s.protocolError(502, "5.5.1", "Command not implemented")
	case arg != "":
		return s.protocolError(501, "5.5.4", "STARTTLS takes no argument")
	case s.c.Buffered() > 0:
		s.log.Info("plaintext behind starttls", "octets", s.c.Buffered())
		return closing(s.protocolError(554, "5.5.1", "Nothing may be pipelined after STARTTLS"))
	}
	s.endTransaction()
	s.reply(ok(220, "", "Ready to start TLS"))
	err := s.c.StartTLS(ctx, s.cfg.TLS, s.cfg.Timeouts.Handshake)
	if f := s.cfg.Observe.TLS; f != nil {
		f(s.s.Listener, err == nil)
	}
	if err != nil {
		s.log.Info("tls failed", "err", quoteError(err), "verb", "STARTTLS")
		s.gone = true
		return nil
	}
	// RFC 3207 4.2: what the client said before is forgotten.
	s.greeted, s.s.ESMTP, s.s.Helo, s.s.Identity = false, false, "", nil
	s.s.TLS = s.c.TLS()
	s.open.Put(s.c, s.s)
	return nil
}
