package smtpin

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
	"carteiro/core/protocol/netline"
	"carteiro/core/protocol/sasl"
)

func quoteError(err error) string { return printable.Quote(err.Error()) }

// mayAuth reports whether AUTH is offered: not in LMTP, and by default not in
// the clear.
func (s *connection) mayAuth() bool {
	return s.cfg.Protocol != LMTP && (s.s.TLS != nil || s.cfg.InsecureAuth)
}

// AUTH follows RFC 4954.
func (s *session) AUTH(ctx context.Context, arg string) *envelope.Status {
	name, initial, hasInitial := strings.Cut(arg, " ")
	exchange := sasl.Begin(ctx, s.backend, s.c, strings.ToUpper(name))
	switch {
	case s.cfg.Protocol == LMTP || !s.mayAuth() && s.cfg.TLS == nil:
		return s.protocolError(502, "5.5.1", "Command not implemented")
	case !s.greeted || !s.s.ESMTP:
		return s.protocolError(503, "5.5.1", "Send EHLO first")
	case s.s.Identity != nil:
		return s.protocolError(503, "5.5.1", "Already authenticated")
	case s.tx != nil:
		return s.protocolError(503, "5.5.1", "Not during a mail transaction")
	case name == "":
		return s.protocolError(501, "5.5.4", "AUTH needs a mechanism")
	case !s.mayAuth():
		return s.protocolError(538, "5.7.11", "Encryption required, use STARTTLS")
	case exchange == nil:
		return s.protocolError(504, "5.5.4", "Mechanism not supported")
	case !s.cfg.Limits.MayAuth(s.s.Remote.Addr()):
		s.log.Info("too many failed logins")
		return closing(envelope.Defer(421, "4.7.0", "Too many failed logins, try later", nil))
	}
	var response []byte
	if hasInitial {
		var err error
		if response, err = decodeInitial(initial); err != nil {
			return s.protocolError(501, "5.5.2", "Bad base64")
		}
	}
	cred, st := s.exchange(exchange, response)
	if cred == nil {
		return st
	}
	return s.login(ctx, cred)
}

func decodeInitial(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	if s == "" {
		return nil, errors.New("no octets")
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

// exchange runs the mechanism to its credentials, or returns the refusal; it
// returns neither when the connection is lost.
func (s *session) exchange(x sasl.Exchange, response []byte) (*envelope.Credentials, *envelope.Status) {
	for {
		challenge, cred, err := x.Next(response)
		switch {
		case errors.Is(err, sasl.ErrExchange):
			return nil, s.protocolError(501, "5.5.2", "Malformed response")
		case err != nil:
			s.log.Error("login impossible", "err", quoteError(err))
			return nil, envelope.Defer(454, "4.7.0", "Temporary authentication failure", nil)
		case cred != nil:
			return cred, nil
		}
		var st *envelope.Status
		if response, st = s.challenge(challenge); response == nil {
			return nil, st
		}
	}
}

// challenge sends a challenge and reads the response. If there is none, the response is
// nil, and st is the refusal, or nil if the connection is lost.
func (s *session) challenge(challenge []byte) (response []byte, st *envelope.Status) {
	s.reply(&envelope.Status{Code: 334, Text: base64.StdEncoding.EncodeToString(challenge)})
	line, err := s.c.ReadLine(s.cfg.Timeouts.Command)
	switch {
	case errors.Is(err, netline.ErrTooLong):
		return nil, s.protocolError(500, "5.5.6", "Line too long")
	case errors.Is(err, netline.ErrBadLine):
		return nil, s.protocolError(501, "5.5.2", "Bad base64")
	case err != nil:
		s.sayGoodbye(err)
		s.gone = true
		return nil, nil
	case string(line) == "*":
		return nil, s.protocolError(501, "5.7.0", "Authentication cancelled")
	}
	if response, err = base64.StdEncoding.Strict().DecodeString(string(line)); err != nil {
		return nil, s.protocolError(501, "5.5.2", "Bad base64")
	}
	if response == nil {
		response = []byte{}
	}
	return response, nil
}

func (s *session) login(ctx context.Context, cred *envelope.Credentials) *envelope.Status {
	id, st := s.backend.Auth(ctx, s.s, cred)
	reply, accepted := backendReply(st, ok(235, "2.7.0", "Authentication successful"))
	if accepted && id == nil {
		reply, accepted = envelope.Reject(535, "5.7.8", "Authentication credentials invalid"), false
	}
	if f := s.cfg.Observe.Auth; f != nil {
		f(s.s.Listener, cred.Mechanism, accepted)
	}
	if accepted {
		s.s.Identity = id
		s.open.Put(s.c, s.s)
		return reply
	}
	if cred.Token != "" && reply.Code != 421 && !reply.Close {
		// RFC 7628 3.2.2: the client gets the reason, answers with anything, and then
		// gets the failure.
		if resp, _ := s.challenge(sasl.TokenRefused(cred.Mechanism)); resp == nil && s.gone {
			return nil
		}
	}
	if reply.Code >= 500 {
		s.cfg.Limits.AuthFailed(s.s.Remote.Addr())
		if st := s.protocolError(reply.Code, "", ""); st.Code == 421 {
			return st
		}
	}
	return reply
}
