package netline

import (
	"net/netip"
	"sync"
	"time"
)

// Rate is a number of events per time; N 0 means no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// LimitsConfig says what one client may do: an IPv4 address or an IPv6 /64.
// Zero values set no limit.
type LimitsConfig struct {
	Connections  int // at once
	Network      int // connections at once of an IPv4 /24 or an IPv6 /48
	Total        int // connections at once of all clients that are not exempt
	Messages     Rate
	Recipients   Rate
	AuthFailures Rate
	// Exempt are networks whose clients nothing is counted for.
	Exempt []netip.Prefix
}

func (c *LimitsConfig) isExempt(a netip.Addr) bool {
	for _, p := range c.Exempt {
		if p.Contains(a.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// Limits counts what clients do, over all listeners that share it. A nil
// *Limits limits nothing. It is safe for concurrent use and never blocks.
type Limits struct {
	cfg LimitsConfig
	now func() time.Time

	mu      sync.Mutex
	clients map[netip.Addr]*client
	nets    map[netip.Prefix]int // connections, without zeros
	total   int
	sweepAt int // when there are so many clients, forget the idle ones
}

type client struct {
	conns                      int
	messages, recipients, auth bucket
}

// bucket is a token bucket that starts full; used counts the tokens taken.
type bucket struct {
	used float64
	at   time.Time
}

const minSweep = 1024

// NewLimits makes Limits that take the time from now (nil: the system's).
func NewLimits(cfg LimitsConfig, now func() time.Time) *Limits {
	if now == nil {
		now = time.Now
	}
	return &Limits{cfg: cfg, now: now, clients: make(map[netip.Addr]*client), nets: make(map[netip.Prefix]int), sweepAt: minSweep}
}

// Acquire counts a connection. Where reason is "" it may be served, and
// release must be called once when it ends; else reason says which limit it
// would exceed.
func (l *Limits) Acquire(addr netip.Addr) (release func(), reason string) {
	if l == nil || l.cfg.isExempt(addr) || l.cfg.Connections <= 0 && l.cfg.Network <= 0 && l.cfg.Total <= 0 {
		return func() {}, ""
	}
	key, network := clientKey(addr), networkKey(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(key)
	switch {
	case l.cfg.Connections > 0 && c.conns >= l.cfg.Connections:
		return nil, "connections of the address"
	case l.cfg.Network > 0 && l.nets[network] >= l.cfg.Network:
		return nil, "connections of the network"
	case l.cfg.Total > 0 && l.total >= l.cfg.Total:
		return nil, "connections in all"
	}
	c.conns++
	l.nets[network]++
	l.total++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.conns--
		l.total--
		if l.nets[network]--; l.nets[network] == 0 {
			delete(l.nets, network)
		}
		if l.isIdle(c, l.now()) && l.clients[key] == c {
			delete(l.clients, key)
		}
	}, ""
}

// Message counts a message and reports whether it may be sent now.
func (l *Limits) Message(addr netip.Addr) bool {
	return l.take(addr, func(c *client, cfg *LimitsConfig) (*bucket, Rate) { return &c.messages, cfg.Messages }, true)
}

// Recipient counts a recipient and reports whether it may be named now.
func (l *Limits) Recipient(addr netip.Addr) bool {
	return l.take(addr, func(c *client, cfg *LimitsConfig) (*bucket, Rate) { return &c.recipients, cfg.Recipients }, true)
}

// MayAuth reports whether the client may try another login; AuthFailed counts a
// failure.
func (l *Limits) MayAuth(addr netip.Addr) bool {
	return l.take(addr, func(c *client, cfg *LimitsConfig) (*bucket, Rate) { return &c.auth, cfg.AuthFailures }, false)
}

// AuthFailed counts a failed login.
func (l *Limits) AuthFailed(addr netip.Addr) {
	l.take(addr, func(c *client, cfg *LimitsConfig) (*bucket, Rate) { return &c.auth, cfg.AuthFailures }, true)
}

func (l *Limits) take(addr netip.Addr, which func(*client, *LimitsConfig) (*bucket, Rate), count bool) bool {
	if l == nil || l.cfg.isExempt(addr) {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, rate := which(&client{}, &l.cfg); rate.N <= 0 || rate.Per <= 0 {
		return true
	}
	b, rate := which(l.client(clientKey(addr)), &l.cfg)
	now := l.now()
	b.leak(rate, now)
	if b.used+1 > float64(rate.N) {
		return false
	}
	if count {
		b.used++
	}
	return true
}

func (b *bucket) leak(r Rate, now time.Time) {
	if d := now.Sub(b.at); d > 0 && r.Per > 0 {
		b.used = max(0, b.used-float64(r.N)*d.Seconds()/r.Per.Seconds())
	}
	b.at = now
}

// client finds or makes an entry; l.mu is held.
func (l *Limits) client(key netip.Addr) *client {
	if c := l.clients[key]; c != nil {
		return c
	}
	if len(l.clients) >= l.sweepAt {
		l.sweep()
	}
	c := &client{}
	l.clients[key] = c
	return c
}

// sweep forgets clients without connections whose buckets are full again, so
// that memory follows the clients of the last minutes. l.mu is held.
func (l *Limits) sweep() {
	now := l.now()
	for key, c := range l.clients {
		if l.isIdle(c, now) {
			delete(l.clients, key)
		}
	}
	l.sweepAt = max(minSweep, 2*len(l.clients))
}

func (l *Limits) isIdle(c *client, now time.Time) bool {
	c.messages.leak(l.cfg.Messages, now)
	c.recipients.leak(l.cfg.Recipients, now)
	c.auth.leak(l.cfg.AuthFailures, now)
	return c.conns == 0 && c.messages.used == 0 && c.recipients.used == 0 && c.auth.used == 0
}

func clientKey(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // 64 is valid for every IPv6 address
		return p.Addr()
	}
	return a
}

func networkKey(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits) // valid for every address of the kind
	return p
}
