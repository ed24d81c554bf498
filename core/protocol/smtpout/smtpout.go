// Package smtpout hands messages to other servers: SMTP to MX hosts,
// submission to a smarthost, LMTP to a delivery agent (RFC 5321, RFC 2033).
//
// A recipient of a Transfer is open, settled (a host gave a reply that counts,
// or no reply of any host could change the outcome), or in doubt (the end of
// the content was sent and no reply came). Hosts are tried while recipients are
// open:
//
//	connect fails, a bad greeting, EHLO or STARTTLS     open, next address
//	4xx to MAIL, the connection lost before the end     open, next address
//	5xx to MAIL; any reply to RCPT, DATA or content     settled
//	connection lost after the end of the content        in doubt: deferred
//	452 4.5.3 to RCPT, others accepted                  open, same connection
//
// A recipient that is still open when no host is left is deferred; it is
// refused if every host refused for ever: 521 or 554 as a greeting or to EHLO,
// no REQUIRETLS (RFC 8689), no such host, no public address. This package
// stores nothing. The caller of Send records the outcomes; after a crash before
// that, the peer gets the message again.
//
// Each reply belongs to one command, with pipelining too. A host that
// violates the protocol counts as failed. The text of a peer's reply is
// returned without control characters.
//
// The package looks up no MX records, keeps no queue, limits no rates and
// converts no bodies.
package smtpout

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"carteiro/core/message/envelope"
)

// Resolver finds the addresses of a host. The errors are those of core/service/dns.
type Resolver interface {
	A(ctx context.Context, host string) ([]netip.Addr, error)
	AAAA(ctx context.Context, host string) ([]netip.Addr, error)
}

// Client sends. It is safe for concurrent use; connections that are not in
// use are shared between calls of Send.
type Client struct {
	cfg      Config
	sessions tls.ClientSessionCache
	pool     pool

	mu        sync.Mutex
	tlsFailed map[netip.AddrPort]time.Time // where TLS failed lately, until when
}

// New makes a Client; it opens no connection. Close it when it is no longer
// needed.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg.withDefaults(), sessions: tls.NewLRUClientSessionCache(sessionCache), tlsFailed: map[netip.AddrPort]time.Time{}}
	c.pool.idle = map[poolKey][]*idleConn{}
	return c
}

// Close ends the connections that wait for more mail, and waits until they have
// ended. Running calls of Send continue, but leave no connections behind.
func (c *Client) Close() { c.pool.close() }

// Send makes mail transactions with the hosts of hop until every recipient
// has an outcome, and returns one for each in their order. It blocks until
// then or until ctx ends; recipients without an outcome are then deferred.
// t.Open is called once for each transaction, and once more if the header
// section must be read.
func (c *Client) Send(ctx context.Context, hop envelope.NextHop, t envelope.Transfer) []envelope.Outcome {
	a := &attempt{client: c, hop: hop, t: t, out: make([]envelope.Outcome, len(t.Recipients)), state: make([]state, len(t.Recipients))}
	for _, h := range sortHosts(hop) {
		if !a.mayContinue(ctx) {
			break
		}
		a.tryHost(ctx, h)
	}
	return a.finish(ctx)
}

// sortHosts returns the hosts by preference, those of one preference in random
// order (RFC 5321 5.1).
func sortHosts(hop envelope.NextHop) []envelope.Host {
	hosts := slices.Clone(hop.Hosts)
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b envelope.Host) int { return a.Preference - b.Preference })
	for i, h := range hosts {
		if h.Port == 0 {
			hosts[i].Port = defaultPort(hop)
		}
	}
	return hosts[:min(len(hosts), maxHosts)]
}

func defaultPort(hop envelope.NextHop) int {
	switch {
	case hop.LMTP:
		return 24
	case hop.Implicit:
		return 465
	}
	return 25
}

// tlsFailedLately reports whether TLS failed at addr not long ago.
func (c *Client) tlsFailedLately(addr netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.tlsFailed[addr]
	return ok && c.cfg.Now().Before(until)
}

func (c *Client) noteTLSFailure(addr netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tlsFailed) >= maxTLSFailed {
		clear(c.tlsFailed)
	}
	c.tlsFailed[addr] = c.cfg.Now().Add(tlsFailedFor)
}
