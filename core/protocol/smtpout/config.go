package smtpout

import (
	"crypto/x509"
	"log/slog"
	"net/netip"
	"time"
)

// Config is what admins and tests set about sending. New replaces zeros with
// the defaults.
type Config struct {
	Hostname string // in EHLO
	Resolver Resolver
	// AllowPrivate allows loopback, private, link-local and shared (RFC 6598)
	// addresses for hosts that were found by MX; configured next hops may always
	// have them.
	AllowPrivate bool
	// Source are our addresses to send from. One of the right family is taken at
	// random; if there is none, the system chooses.
	Source  []netip.Addr
	RootCAs *x509.CertPool // for TLSVerify; nil: the system's

	Timeouts      Timeouts
	MaxRecipients int           // of a transaction; default 100, at least what RFC 5321 4.5.3.1.8 asks servers to take
	MaxIdle       int           // connections per host kept for more mail; default 2, below 0: none
	IdleTimeout   time.Duration // for how long; default 30 s

	Log     *slog.Logger
	Now     func() time.Time
	Observe Observe
	// Trace gets each line of a dialogue, with "> " or "< " in front, or "! " if
	// it is about TLS. Content is one line with its size, secrets are left out,
	// and long lines are cut. It must not block.
	Trace func(hop, line string)
}

// Timeouts of RFC 5321 4.5.3.2 for clients; the defaults are those it asks
// for, where it asks for one.
type Timeouts struct {
	Connect   time.Duration // 30 s
	Fallback  time.Duration // until the next address is tried too, 300 ms (RFC 8305 5)
	Handshake time.Duration // of TLS, 1 minute
	Greeting  time.Duration // and EHLO, STARTTLS, AUTH; 5 minutes
	Mail      time.Duration // 5 minutes
	Rcpt      time.Duration // 5 minutes
	Data      time.Duration // until 354, 2 minutes
	Block     time.Duration // each write, 3 minutes
	Final     time.Duration // the reply to the content, 10 minutes
	Quit      time.Duration // 2 s; nothing depends on it
}

// Observe are callbacks for metrics, each may be nil. They are called from
// many goroutines and must not block.
type Observe struct {
	Connect func(ok bool, took time.Duration)
	TLS     func(version string, ok bool) // version is "" for a handshake that failed
	Reused  func()                        // a transaction on a connection that was there
	// Content is called for the reply to content; code is 0 when none came,
	// the first recipient's in LMTP.
	Content func(octets int64, recipients, code int, took time.Duration)
}

// Limits of what one Send tries and the Client remembers.
const (
	maxHosts     = 20 // of a next hop
	maxAddresses = 8  // of a host
	maxTries     = 20 // connections in one Send
	maxTLSFailed = 10_000
	tlsFailedFor = 10 * time.Minute
	maxIdleTotal = 500
	sessionCache = 256
)

func (c Config) withDefaults() Config {
	c.Timeouts = c.Timeouts.withDefaults()
	for n, v := range map[*int]int{&c.MaxRecipients: 100, &c.MaxIdle: 2} {
		if *n == 0 {
			*n = v
		}
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (t Timeouts) withDefaults() Timeouts {
	for d, v := range map[*time.Duration]time.Duration{
		&t.Connect: 30 * time.Second, &t.Fallback: 300 * time.Millisecond, &t.Handshake: time.Minute,
		&t.Greeting: 5 * time.Minute, &t.Mail: 5 * time.Minute, &t.Rcpt: 5 * time.Minute,
		&t.Data: 2 * time.Minute, &t.Block: 3 * time.Minute, &t.Final: 10 * time.Minute, &t.Quit: 2 * time.Second,
	} {
		if *d == 0 {
			*d = v
		}
	}
	return t
}
