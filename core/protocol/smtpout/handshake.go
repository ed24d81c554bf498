package smtpout

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"

	"carteiro/core/message/envelope"
)

// connParams says how to set up a connection.
type connParams struct {
	lmtp, implicit bool
	policy         envelope.TLSPolicy // TLSMay, TLSVerify or TLSNone
	requireTLS     bool               // REQUIRETLS: without verified TLS the message is not for this host
	skipTLS        bool               // do not try TLS, it failed before
	user, password string
}

// errHandshake marks a handshake that failed where none was demanded.
var errHandshake = errors.New("tls handshake failed")

// setUp brings the connection from its first octet to the point where MAIL is
// allowed. A status that wraps errHandshake means that a new connection may be
// tried without TLS.
func (c *conn) setUp(ctx context.Context, m connParams, cache tls.ClientSessionCache) *envelope.Status {
	if m.implicit {
		if st := c.encrypt(ctx, m, cache); st != nil {
			return st
		}
	}
	rep, err := c.read(c.cfg.Timeouts.Greeting)
	switch {
	case err != nil:
		return c.lost("greeting", err)
	case rep.code != 220:
		return refusedStatus(rep)
	}
	if st := c.ehlo(m.lmtp); st != nil {
		return st
	}
	if !m.implicit && m.policy != envelope.TLSNone && !m.skipTLS {
		if st := c.startTLS(ctx, m, cache); st != nil {
			return st
		}
	}
	if st := c.checkTLS(m); st != nil {
		return st
	}
	if m.user != "" {
		return c.login(m)
	}
	return nil
}

// refusedStatus returns the status for a host that refuses the whole session.
// 521 (RFC 7504) and 554 are permanent; every other 5xx may be a mistake that
// is corrected tomorrow, and bouncing all mail because of it would be worse.
func refusedStatus(rep reply) *envelope.Status {
	st := rep.status()
	switch {
	case rep.code < 400:
		return envelope.Defer(451, "4.5.0", "unexpected reply: "+st.Reply(), nil)
	case rep.code == 521, rep.code == 554:
		return st
	}
	return makeTransient(st)
}

// ehlo is EHLO, or HELO for a host that does not know it, or LHLO.
func (c *conn) ehlo(lmtp bool) *envelope.Status {
	verb := "EHLO"
	if lmtp {
		verb = "LHLO"
	}
	rep, err := c.ask(verb+" "+c.cfg.Hostname, c.cfg.Timeouts.Greeting)
	c.ext = extensions{}
	if err == nil && rep.code/100 == 5 && rep.code != 521 && rep.code != 554 && !lmtp {
		rep, err = c.ask("HELO "+c.cfg.Hostname, c.cfg.Timeouts.Greeting)
		rep.lines = rep.lines[:min(1, len(rep.lines))]
	}
	switch {
	case err != nil:
		return c.lost(verb, err)
	case rep.code != 250:
		return refusedStatus(rep)
	}
	c.ext = parseExtensions(rep.lines[1:])
	c.rcptMax = c.cfg.MaxRecipients
	if n := c.ext.limit("RCPTMAX"); n > 0 {
		c.rcptMax = min(n, maxRecipients)
	}
	return nil
}

// startTLS encrypts if the host offers it. If the host withdraws the offer, the
// connection stays in the clear, unless checkTLS objects.
func (c *conn) startTLS(ctx context.Context, m connParams, cache tls.ClientSessionCache) *envelope.Status {
	if !c.ext.has("STARTTLS") {
		return nil
	}
	rep, err := c.ask("STARTTLS", c.cfg.Timeouts.Greeting)
	switch {
	case err != nil:
		return c.lost("STARTTLS", err)
	case rep.code == 421:
		return rep.status()
	case rep.code != 220:
		return nil
	case c.r.Buffered() > 0:
		// Whoever put it there wants it read as if it came encrypted.
		c.dead = true
		return envelope.Defer(451, "4.7.5", "plain text after the reply to STARTTLS", nil)
	}
	if st := c.encrypt(ctx, m, cache); st != nil {
		return st
	}
	return c.ehlo(m.lmtp) // what was offered in the clear is void (RFC 3207 4.2)
}

func (c *conn) encrypt(ctx context.Context, m connParams, cache tls.ClientSessionCache) *envelope.Status {
	err := c.handshake(ctx, m.policy == envelope.TLSVerify, cache)
	if err == nil {
		return nil
	}
	c.dead = true
	text := "TLS handshake with " + c.host.Name + " failed"
	if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
		text = "certificate of " + c.host.Name + " is not valid"
		if m.requireTLS {
			return &envelope.Status{Code: 550, Enhanced: "5.7.30", Text: text + ", but REQUIRETLS needs a valid one", Err: err}
		}
	}
	if m.policy != envelope.TLSVerify && !m.implicit {
		err = errors.Join(errHandshake, err)
	}
	return envelope.Defer(451, "4.7.5", text, err)
}

// checkTLS returns a status if the connection is less encrypted than required.
func (c *conn) checkTLS(m connParams) *envelope.Status {
	switch {
	case c.tls != "":
		return nil
	case m.requireTLS:
		return noRequireTLS(c.host.Name)
	case m.policy == envelope.TLSVerify:
		return envelope.Defer(451, "4.7.10", "host "+c.host.Name+" offers no TLS, but TLS is required", nil)
	case m.user != "" && !c.addr.Addr().IsLoopback():
		return envelope.Defer(451, "4.7.10", "host "+c.host.Name+" offers no TLS, but a login needs it", nil)
	}
	return nil
}

func noRequireTLS(host string) *envelope.Status {
	return envelope.Reject(550, "5.7.30", "host "+host+" does not support REQUIRETLS")
}

// mechanisms in the order of preference.
func (c *conn) chooseMechanism() string {
	i := slices.IndexFunc(mechanisms[:], c.ext.auth)
	if i < 0 {
		return ""
	}
	return mechanisms[i]
}
