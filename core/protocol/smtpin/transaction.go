package smtpin

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"carteiro/core/message/envelope"
)

// MAIL begins a transaction.
func (s *transactions) MAIL(ctx context.Context, arg string) *envelope.Status {
	st := s.openTransaction(ctx, arg)
	s.forgivable = 0
	if st.Code >= 400 && s.s.ESMTP {
		s.forgivable = s.cfg.MaxRecipients + 1
	}
	return st
}

// noTransaction refuses a command that needs a transaction. Behind a refused
// MAIL it is no error of the client, which may have sent all in one go (RFC
// 2920).
func (s *transactions) noTransaction() *envelope.Status {
	if s.forgivable > 0 {
		s.forgivable--
		return envelope.Reject(503, "5.5.1", "Send MAIL first")
	}
	return s.protocolError(503, "5.5.1", "Send MAIL first")
}

func (s *transactions) openTransaction(ctx context.Context, arg string) *envelope.Status {
	if st := s.checkMAIL(); st != nil {
		return st
	}
	inner, params, found := cutPath(arg, "FROM")
	if !found {
		return s.protocolError(501, "5.5.2", "Syntax: MAIL FROM:<address> [parameters]")
	}
	if params != "" && !s.s.ESMTP {
		return s.protocolError(555, "5.5.4", "Parameters need EHLO")
	}
	p, err := parseMailParams(params, offers{requireTLS: s.s.TLS != nil, auth: s.mayAuth(), prdr: s.cfg.Protocol != LMTP,
		hold: s.holdLimit(), now: s.cfg.Now()})
	if err != nil {
		return s.paramError(err)
	}
	var sender envelope.Address
	if inner != "" {
		var st *envelope.Status
		if sender, st = s.parsePath(inner, p.SMTPUTF8, "5.1.7"); st != nil {
			return st
		}
	}
	if s.cfg.MaxSize > 0 && p.Size > s.cfg.MaxSize {
		return envelope.Reject(552, "5.3.4", "Message exceeds the size limit")
	}
	if !s.s.Trusted && !s.cfg.Limits.Message(s.s.Remote.Addr()) {
		s.log.Info("command refused by a limit", "reason", "messages of the address")
		return envelope.Reject(450, "4.7.1", "Too many messages, slow down")
	}
	tx := &envelope.Transaction{ID: envelope.NewID(s.cfg.Now()), Sender: sender, Params: p, Meta: make(map[string]any)}
	s.tx = tx // set first, so that the transaction is ended after a panic in Mail
	reply, accepted := backendReply(s.backend.Mail(ctx, s.s, tx), ok(250, "2.1.0", "Ok"))
	if !accepted {
		s.tx = nil
	}
	return reply
}

func (s *transactions) checkMAIL() *envelope.Status {
	switch {
	case !s.greeted:
		return s.protocolError(503, "5.5.1", "Send HELO or EHLO first")
	case s.tx != nil:
		return s.protocolError(503, "5.5.1", "Nested MAIL")
	case s.cfg.Protocol == Submission && s.s.Identity == nil:
		if s.mayAuth() {
			return s.protocolError(530, "5.7.0", "Authentication required")
		}
		return s.protocolError(530, "5.7.0", "Use STARTTLS and authenticate first")
	}
	return nil
}

// RCPT adds a recipient.
func (s *transactions) RCPT(ctx context.Context, arg string) *envelope.Status {
	if s.tx == nil {
		return s.noTransaction()
	}
	inner, params, found := cutPath(arg, "TO")
	if !found {
		return s.protocolError(501, "5.5.2", "Syntax: RCPT TO:<address> [parameters]")
	}
	if params != "" && !s.s.ESMTP {
		return s.protocolError(555, "5.5.4", "Parameters need EHLO")
	}
	notify, orcpt, err := parseRcptParams(params, s.tx.Params.SMTPUTF8)
	if err != nil {
		return s.paramError(err)
	}
	// RFC 5321 4.5.1: postmaster without a domain, in any case, is ours.
	to := s.cfg.Postmaster
	if !strings.EqualFold(inner, "postmaster") {
		var st *envelope.Status
		if to, st = s.parsePath(inner, s.tx.Params.SMTPUTF8, "5.1.3"); st != nil {
			return st
		}
	}
	if len(s.tx.Recipients) >= s.cfg.MaxRecipients {
		return envelope.Reject(452, "4.5.3", "Too many recipients")
	}
	if !s.s.Trusted && !s.cfg.Limits.Recipient(s.s.Remote.Addr()) {
		s.log.Info("command refused by a limit", "reason", "recipients of the address")
		return envelope.Reject(450, "4.7.1", "Too many recipients, slow down")
	}
	r := &envelope.Recipient{N: uint32(len(s.tx.Recipients)), Address: to, Orig: to, ORcpt: orcpt, Notify: notify}
	reply, accepted := backendReply(s.backend.Rcpt(ctx, s.s, s.tx, r), ok(250, "2.1.5", "Ok"))
	if accepted {
		s.tx.Recipients = append(s.tx.Recipients, r)
	}
	return reply
}

// parsePath parses the inside of a path; the status is the reply to an invalid one.
func (s *transactions) parsePath(inner string, utf8ok bool, enhanced string) (envelope.Address, *envelope.Status) {
	if !utf8ok && !envelope.Address(inner).ASCII() && utf8.ValidString(inner) {
		return "", s.protocolError(553, "5.6.7", "Address needs SMTPUTF8")
	}
	a, err := parseMailbox(inner)
	if err != nil {
		return "", s.protocolError(501, enhanced, "Bad address syntax")
	}
	return a, nil
}

func (s *transactions) paramError(err error) *envelope.Status {
	if errors.Is(err, errParam) {
		return s.protocolError(555, "5.5.4", "Parameter not recognized")
	}
	return s.protocolError(501, "5.5.4", strings.TrimPrefix(err.Error(), errSyntax.Error()+": "))
}
