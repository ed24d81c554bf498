// Package pop3 serves a mailbox over POP3 (all of RFC 1939, with CAPA, STLS,
// SASL, response codes, PIPELINING, UTF8 and LANG: RFC 2449, 2595, 5034, 3206,
// 6856). Messages are sent as they are stored, with UTF8 and without it.
//
// A session is in the AUTHORIZATION state until a login, then in TRANSACTION
// with the maildrop locked, and after QUIT in UPDATE. Only there messages are
// removed. A session that ends in any other way removes nothing.
//
// The maildrop is the content of the folder at login: STAT uses the counters
// read then, and the first command that needs it loads the table of messages.
// Messages that arrive later have higher UIDs and are left out. Octet counts
// are those of what is sent, without the dots of byte-stuffing: messages in a
// mailbox end in CRLF.
//
// It does not know accounts or passwords: a Backend verifies credentials. Only
// INBOX is served, because POP3 has no folders.
package pop3

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/netline"
	"carteiro/core/protocol/sasl"
	"carteiro/core/store"
)

// Backend judges clients. A nil *envelope.Status is success. For one session,
// calls come one at a time; ctx ends with the session.
type Backend interface {
	sasl.Logins
	Connect(ctx context.Context, s *envelope.Session) *envelope.Status
	// Auth judges a login and slows guesses down. Identity.User is the owner
	// of the mailbox to open; Extra["readonly"] true forbids DELE. A Status of
	// 535 is shown as [AUTH], one below 500 as [SYS/TEMP].
	Auth(ctx context.Context, s *envelope.Session, cred *envelope.Credentials) (*envelope.Identity, *envelope.Status)
	// Close is called once for each session whose Connect was called;
	// s.Closed is set and the maildrop is unlocked.
	Close(s *envelope.Session)
}

// Config is one listener's settings. What is called a default replaces a zero.
type Config struct {
	Name     string // of the listener
	Hostname string

	TLS          *tls.Config    // nil: none
	Implicit     bool           // TLS from the first octet
	InsecureAuth bool           // USER, PASS and AUTH without TLS
	APOP         bool           // offered in the greeting, with and without TLS
	ProxyFrom    []netip.Prefix // clients that begin with a PROXY header, always

	MaxConnections  int // 0: any number
	MaxErrors       int // of a session, failed logins included; default 10
	MaxIdleCommands int // of NOOP, RSET, CAPA, UTF8, LANG and USER in a row; default 1000
	Limits          *netline.Limits

	// LoginDelay is the least time between two logins to one mailbox (RFC 2449
	// 6.5); default none.
	LoginDelay time.Duration

	Idle      time.Duration // the autologout timer, default 10 minutes
	Write     time.Duration // each write, default 5 minutes
	Handshake time.Duration // of TLS, default 1 minute
	Grace     time.Duration // for a running command when Serve is to end; default 30 s

	Log     *slog.Logger
	Now     func() time.Time
	Observe Observe
}

// Observe are callbacks for metrics, each may be nil. They are called from
// many goroutines and must not block. verb is one of a fixed set.
type Observe struct {
	Open      func(listener string)
	Refused   func(listener string) // above a limit on connections
	Closed    func(listener string, lasted time.Duration)
	Command   func(listener, verb string, ok bool, took time.Duration)
	Auth      func(listener, mechanism string, ok bool)
	Retrieved func(listener string, octets int64)
	Deleted   func(listener string, messages int)
}

// Server is one listener's settings, its backend and the mailboxes.
type Server struct {
	cfg     Config
	backend Backend
	boxes   store.Mailboxes
	line    *netline.Server
	open    netline.Sessions
	delay   loginDelay
	buffers bufferPool
}

// New makes a Server; nothing runs until Serve.
func New(cfg Config, b Backend, boxes store.Mailboxes) *Server {
	cfg = cfg.withDefaults()
	srv := &Server{cfg: cfg, backend: b, boxes: boxes}
	srv.line = &netline.Server{
		Name:               cfg.Name,
		ProxyFrom:          cfg.ProxyFrom,
		MaxConnections:     cfg.MaxConnections,
		Limits:             cfg.Limits,
		Grace:              cfg.Grace,
		TLS:                cfg.TLS,
		Implicit:           cfg.Implicit,
		Handshake:          cfg.Handshake,
		Log:                cfg.Log,
		TooManyReply:       "-ERR [SYS/TEMP] too many connections, try later\r\n",
		TooManyFromIPReply: "-ERR [SYS/TEMP] too many connections from your address\r\n",
		Handle:             srv.session,
	}
	if f := cfg.Observe.Refused; f != nil {
		srv.line.Refused = func() { f(cfg.Name) }
	}
	return srv
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Idle, 10*time.Minute)
	def(&c.Write, 5*time.Minute)
	def(&c.Handshake, time.Minute)
	def(&c.Grace, 30*time.Second)
	if c.MaxIdleCommands == 0 {
		c.MaxIdleCommands = 1000
	}
	if c.MaxErrors == 0 {
		c.MaxErrors = 10
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Serve accepts on ln until ctx ends. Then idle sessions are closed, a running
// command has Config.Grace to finish, and Serve returns when all sessions are
// gone. It closes ln; the error is that of a listener that failed.
func (srv *Server) Serve(ctx context.Context, ln net.Listener) error {
	return srv.line.Serve(ctx, ln)
}

// Kick closes the connections of the sessions that match, at once and without
// a reply, and returns how many. Nothing is deleted and the maildrop is free
// again when the running command ends. match gets copies that are as old as
// the session's greeting or login, without Meta, and must not block.
func (srv *Server) Kick(match func(*envelope.Session) bool) int { return srv.open.Kick(match) }
