package smtpin

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/netline"
)

// Protocols of a listener.
const (
	SMTP       = "smtp"
	Submission = "submission" // AUTH before MAIL
	LMTP       = "lmtp"       // a status per recipient after the content
)

// Newlines says what happens to content with a bare CR or LF.
type Newlines int

// Reject refuses the message with 550 5.6.11 after all of it was read.
// Normalise makes each bare CR and each bare LF a CRLF; what ends the content
// and what is dot-stuffed was decided before, on the octets as they came.
const (
	Reject Newlines = iota
	Normalise
)

// Limits and their settings, which listeners share.
type (
	Limits       = netline.Limits
	LimitsConfig = netline.LimitsConfig
	Rate         = netline.Rate
)

// NewLimits makes Limits that take the time from now (nil: the system's clock).
func NewLimits(cfg LimitsConfig, now func() time.Time) *Limits { return netline.NewLimits(cfg, now) }

// Config is one listener's settings. What New calls a default replaces a zero.
type Config struct {
	Name       string           // of the listener, as logs and sessions show it
	Protocol   string           // SMTP, Submission or LMTP
	Hostname   string           // in the greeting and EHLO
	Postmaster envelope.Address // completes <postmaster>; default postmaster@Hostname

	TLS          *tls.Config // nil: none. Callbacks in it make certificates exchangeable
	Implicit     bool        // TLS from the first octet
	InsecureAuth bool        // AUTH without TLS, for loopback and tests
	RelayFrom    []netip.Prefix
	ProxyFrom    []netip.Prefix // clients that begin with a PROXY header, always
	XclientFrom  []netip.Prefix // clients that may use XCLIENT

	MaxSize        int64 // octets of a message, exactly so many pass; 0: any
	MaxConnections int   // 0: any number
	MaxRecipients  int   // of a transaction; default 1000
	MaxErrors      int   // of a session, of syntax, order and login; default 10
	MaxNonMail     int   // commands that lead to no message (NOOP, RSET, EHLO, VRFY, HELP) from one message to the next; default 100
	MaxHold        time.Duration
	Limits         *Limits
	BareNewlines   Newlines
	// GreetDelay is how long a client outside RelayFrom waits for the greeting;
	// one that sends something before it gets 554. RFC 5321 3.1 forbids that, and
	// programs that only send spam do it. Default: no delay, and then nobody can
	// speak too early.
	GreetDelay time.Duration

	Timeouts  Timeouts
	MinRate   int64         // octets per second of content; default 100, below 0: any
	RateAfter time.Duration // MinRate counts from then on; default 1 minute
	Grace     time.Duration // for content that is coming when Serve is to end; default 30 s

	Log     *slog.Logger
	Now     func() time.Time
	Observe Observe
}

// Timeouts of RFC 5321 4.5.3.2; the defaults are those it asks for.
type Timeouts struct {
	Command   time.Duration // from one command to the next, 5 minutes
	DataBlock time.Duration // each read of content, 3 minutes
	Write     time.Duration // each write, 5 minutes
	Handshake time.Duration // of TLS, 1 minute
}

// Observe are callbacks for metrics, each may be nil. They are called from
// many goroutines and must not block. verb is one of a fixed set.
type Observe struct {
	Open    func(listener string)
	Refused func(listener string) // above a limit on connections
	Closed  func(listener string, lasted time.Duration)
	Command func(listener, verb string, code int, took time.Duration)
	Content func(listener string, octets int64, code int, took time.Duration)
	Auth    func(listener, mechanism string, ok bool)
	TLS     func(listener string, ok bool)
	// Dialogue returns the function that gets each command, without passwords, and
	// its reply (nil if it has several lines); nil while nobody watches.
	Dialogue func() func(s *envelope.Session, command string, reply *envelope.Status)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Timeouts.Command, 5*time.Minute)
	def(&c.Timeouts.DataBlock, 3*time.Minute)
	def(&c.Timeouts.Write, 5*time.Minute)
	def(&c.Timeouts.Handshake, time.Minute)
	def(&c.RateAfter, time.Minute)
	def(&c.Grace, 30*time.Second)
	if c.Protocol == "" {
		c.Protocol = SMTP
	}
	if c.MaxRecipients == 0 {
		c.MaxRecipients = 1000
	}
	if c.MaxErrors == 0 {
		c.MaxErrors = 10
	}
	if c.MaxNonMail == 0 {
		c.MaxNonMail = 100
	}
	if c.MinRate == 0 {
		c.MinRate = 100
	}
	if c.Postmaster == "" {
		c.Postmaster = envelope.Address("postmaster@" + c.Hostname)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
