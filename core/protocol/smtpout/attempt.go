package smtpout

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"carteiro/core/message/envelope"
)

type state uint8

// States of a recipient; the package comment says what changes it.
const (
	open    state = iota
	settled       // its outcome is in out
)

// attempt is one Send.
type attempt struct {
	client *Client
	hop    envelope.NextHop
	t      envelope.Transfer

	out       []envelope.Outcome // of an open recipient: why the best host so far failed
	state     []state
	connected bool  // a connection came about
	tries     int   // connections tried
	header    *bool // whether the header section is ASCII, once looked at
}

// useResult is what the use of a connection came to.
type useResult uint8

const (
	done   useResult = iota // no recipient is left open that this host could settle
	failed                  // the next address may do better
	stale                   // the connection was gone before it was used: as if it had not been there
)

// openRcpts returns the recipients that are open.
func (a *attempt) openRcpts() []int {
	var out []int
	for i, s := range a.state {
		if s == open {
			out = append(out, i)
		}
	}
	return out
}

func (a *attempt) mayContinue(ctx context.Context) bool {
	return ctx.Err() == nil && a.tries < maxTries && slices.Contains(a.state, open)
}

// settle gives recipients that are open their outcome.
func (a *attempt) settle(o envelope.Outcome, rcpts ...int) {
	for _, i := range rcpts {
		if a.state[i] == open {
			a.out[i], a.state[i] = o, settled
		}
	}
}

// noteFailure records why a host did not settle the open recipients. Of several
// reasons it keeps that of a host that replied rather than that of one that did
// not, and a temporary one rather than a permanent one.
func (a *attempt) noteFailure(host string, st *envelope.Status) {
	for _, i := range a.openRcpts() {
		old := &a.out[i]
		oldLater, newLater := old.Status.Code < 500, st.Code < 500
		if old.Status.Code == 0 || newLater && !oldLater || newLater == oldLater && (host != "" || old.Host == "") {
			*old = envelope.Outcome{Status: *st, Host: host}
		}
	}
}

// finish gives every recipient an outcome.
func (a *attempt) finish(ctx context.Context) []envelope.Outcome {
	for _, i := range a.openRcpts() {
		o := &a.out[i]
		switch {
		case ctx.Err() != nil:
			*o = envelope.Outcome{Status: *envelope.Defer(451, "4.4.2", "delivery was interrupted", ctx.Err()), Host: o.Host}
			continue
		case o.Status.Code == 0 && len(a.hop.Hosts) == 0:
			o.Status = *envelope.Defer(451, "4.4.4", "no host to deliver to", nil)
		case o.Status.Code == 0:
			o.Status = *envelope.Defer(451, "4.4.1", "the limit of connections for one attempt is reached", nil)
		}
		o.Down = !a.connected
	}
	return a.out
}

// tryHost tries the addresses of a host until one has settled all recipients.
func (a *attempt) tryHost(ctx context.Context, h envelope.Host) {
	addrs, st := a.client.addresses(ctx, a.hop, h)
	if st != nil {
		a.noteFailure("", st)
		return
	}
	for len(addrs) > 0 && a.mayContinue(ctx) {
		c := a.takePooled(ctx, h, addrs)
		if c == nil {
			if c, addrs = a.connect(ctx, h, addrs); c == nil {
				continue
			}
		}
		v := a.send(c)
		a.release(c, v)
		if v == stale {
			if !slices.Contains(addrs, c.addr) {
				addrs = append([]netip.AddrPort{c.addr}, addrs...)
			}
			continue
		}
		addrs = slices.DeleteFunc(addrs, func(x netip.AddrPort) bool { return x == c.addr })
	}
}

// connParams returns how to speak at addr.
func (a *attempt) connParams(addr netip.AddrPort) connParams {
	m := connParams{
		lmtp:       a.hop.LMTP,
		implicit:   a.hop.Implicit,
		policy:     a.hop.TLS,
		requireTLS: a.t.RequireTLS,
		user:       a.hop.User,
		password:   a.hop.Password,
	}
	if m.requireTLS {
		m.policy = envelope.TLSVerify // RFC 8689 4.2.1
	}
	if m.policy != envelope.TLSVerify && m.policy != envelope.TLSNone {
		m.policy = envelope.TLSMay
		m.skipTLS = !m.implicit && a.client.tlsFailedLately(addr)
	}
	return m
}

func (a *attempt) poolKey(h envelope.Host, addr netip.AddrPort) poolKey {
	return poolKey{addr: addr, name: h.Name, connParams: a.connParams(addr), source: a.hop.Source}
}

// takePooled returns a connection that waits at one of the addresses, or nil.
func (a *attempt) takePooled(ctx context.Context, h envelope.Host, addrs []netip.AddrPort) *conn {
	for _, addr := range addrs {
		if c := a.client.pool.take(a.poolKey(h, addr)); c != nil {
			a.connected = true
			c.hop = a.hop.Name
			c.stopGuard = c.dropWhenDone(ctx)
			if f := a.client.cfg.Observe.Reused; f != nil {
				f()
			}
			return c
		}
	}
	return nil
}

// connect makes a connection to one of the addresses and prepares it for MAIL;
// rest are the addresses that are left. c is nil if that failed.
func (a *attempt) connect(ctx context.Context, h envelope.Host, addrs []netip.AddrPort) (c *conn, rest []netip.AddrPort) {
	a.tries++
	nc, addr, rest, err := a.client.dialFirst(ctx, addrs, a.hop.Source)
	if err != nil {
		a.noteFailure("", envelope.Defer(451, "4.4.1", "cannot connect to "+h.Name, err))
		return nil, nil
	}
	a.connected = true
	c, st := a.setUp(ctx, h, nc, a.poolKey(h, addr))
	if st != nil && errors.Is(st.Err, errHandshake) {
		// Better in the clear than not at all (RFC 7435 3), since nothing
		// more is demanded; a new connection, for this one is in no state.
		a.client.noteTLSFailure(addr)
		a.client.cfg.Log.InfoContext(ctx, "tls failed, trying in the clear", "id", a.t.ID.String(), "host", h.Name, "err", st.Err)
		if nc, err = a.client.dial(ctx, addr, a.hop.Source); err == nil {
			c, st = a.setUp(ctx, h, nc, a.poolKey(h, addr))
		}
	}
	if st != nil {
		a.noteFailure(h.Name, st)
		return nil, rest
	}
	return c, rest
}

// setUp sets a connection up, or ends it.
func (a *attempt) setUp(ctx context.Context, h envelope.Host, nc net.Conn, key poolKey) (*conn, *envelope.Status) {
	c := newConn(&a.client.cfg, nc)
	c.key, c.hop, c.host, c.addr = key, a.hop.Name, h, key.addr
	c.stopGuard = c.dropWhenDone(ctx)
	st := c.setUp(ctx, key.connParams, a.client.sessions)
	if st == nil {
		return c, nil
	}
	a.release(c, failed)
	return nil, st
}

// send makes transactions on c while it settles recipients.
func (a *attempt) send(c *conn) useResult {
	if a.t.RequireTLS && !(c.verified && c.ext.has("REQUIRETLS")) {
		a.noteFailure(c.host.Name, noRequireTLS(c.host.Name))
		return failed
	}
	w := a.refuseUnsupported(c)
	for {
		rcpts := a.openRcpts()
		if len(rcpts) == 0 {
			return done
		}
		x := &transaction{a: a, c: c, params: w, rcpts: rcpts[:min(len(rcpts), c.rcptMax)]}
		if v := x.run(); v != done {
			return v
		}
		if c.dead || c.isUsedUp() {
			return stale // for recipients that are left over, if any
		}
	}
}

// release keeps a connection that can be used again, and ends every other.
func (a *attempt) release(c *conn, v useResult) {
	switch {
	case !c.stopGuard() || c.dead:
		c.drop()
	case v != done || c.isUsedUp():
		c.quit()
	default:
		a.client.pool.put(c, a.client.cfg.MaxIdle, a.client.cfg.IdleTimeout)
	}
}
