package smtpin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
	"carteiro/core/protocol/netline"
)

// session is one connection. All of it belongs to the session's goroutine.
type session struct {
	transactions
	xclient bool // XCLIENT is believed
}

// connection sends replies, reads commands, and knows when the session has to end.
type connection struct {
	*Server
	c   *netline.Conn
	log *slog.Logger
	s   *envelope.Session
	tx  *envelope.Transaction // nil: none is open

	errors    int
	gone      bool   // the client has gone, or is not worth another reply
	recorded  string // what a command wrote itself instead of returning it, while somebody watches
	recording bool   // so
}

// transactions are the mail transactions of a session, one after the other.
type transactions struct {
	connection

	greeted    bool     // HELO, EHLO or LHLO was accepted
	refused    bool     // Connect refused: only QUIT is left (RFC 5321 3.1)
	forgivable int      // commands without MAIL that a pipelining client did not know to be pointless
	nonMail    int      // commands since the last message that led to none
	dropped    int64    // octets of content since then that were read to be dropped
	pending    *command // what ended a sequence of BDATs, to be run next
}

// errQuit ends a session whose last reply is written.
var errQuit = errors.New("session is over")

func (srv *Server) session(ctx context.Context, c *netline.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.WriteTimeout = srv.cfg.Timeouts.Write
	now := srv.cfg.Now()
	ms := &envelope.Session{
		ID:       envelope.NewID(now).String(),
		Listener: srv.cfg.Name,
		Protocol: srv.cfg.Protocol,
		Remote:   c.Remote(),
		Local:    c.Local(),
		TLS:      c.TLS(),
		Started:  now,
		Meta:     make(map[string]any),
	}
	s := &session{
		transactions: transactions{connection: connection{Server: srv, c: c, s: ms}},
		xclient:      containsAddr(srv.cfg.XclientFrom, ms.Remote.Addr()),
	}
	s.setClient(ms.Remote, ms.Local)
	start := time.Now()
	if f := srv.cfg.Observe.Open; f != nil {
		f(ms.Listener)
	}
	defer func() {
		cancel()
		srv.open.Remove(c)
		s.close()
		if f := srv.cfg.Observe.Closed; f != nil {
			f(ms.Listener, time.Since(start))
		}
	}()
	defer s.recoverPanic()
	s.run(ctx)
}

// setClient records who the client is, and what follows from that.
func (s *connection) setClient(remote, local netip.AddrPort) {
	s.s.Remote, s.s.Local = remote, local
	s.s.Trusted = containsAddr(s.cfg.RelayFrom, remote.Addr())
	s.log = s.cfg.Log.With("session", s.s.ID, "listener", s.s.Listener, "client", remote.Addr().String())
	s.open.Put(s.c, s.s)
}

func containsAddr(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// recoverPanic turns a panic, ours or the backend's, into a 421 for this client
// only. Close and End are still called.
func (s *connection) recoverPanic() {
	if r := recover(); r != nil {
		s.log.Error("panic in session", "panic", printable.Quote(fmt.Sprint(r)), "stack", string(debug.Stack()))
		s.reply(envelope.Reject(421, "4.3.0", "internal error, closing"))
	}
}

func (s *session) close() {
	s.s.Closed.Store(true)
	s.safely(s.endTransaction)
	s.safely(func() { s.backend.Close(s.s) })
	s.c.Close(!s.gone)
	s.log.Debug("session closed")
}

func (s *connection) safely(f func()) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("panic at the end of a session", "panic", printable.Quote(fmt.Sprint(r)), "stack", string(debug.Stack()))
		}
	}()
	f()
}

// endTransaction calls the backend's End; it forgets the transaction first, so
// that a panic in End does not cause a second call.
func (s *transactions) endTransaction() {
	tx := s.tx
	s.tx = nil
	if tx != nil {
		s.backend.End(s.s, tx)
	}
}

func (s *session) run(ctx context.Context) {
	s.log.Debug("session opened")
	greeting := s.banner(ctx)
	over := s.reply(greeting) != nil
	if tell := s.watcher(); tell != nil {
		tell(s.s, "connected", greeting)
	}
	if over {
		return
	}
	for {
		cmd, err := s.nextCommand()
		if err != nil {
			s.sayGoodbye(err)
			return
		}
		if s.runCommand(ctx, cmd) != nil {
			return
		}
	}
}

// banner calls the backend's Connect and sends the greeting.
func (s *session) banner(ctx context.Context) *envelope.Status {
	s.refused = false
	st := s.backend.Connect(ctx, s.s)
	if st == nil {
		st = &envelope.Status{Code: 220, Text: s.cfg.Hostname + " ESMTP"}
		if s.cfg.Protocol == LMTP {
			st.Text = s.cfg.Hostname + " LMTP"
		}
	} else if st.Code < 400 {
		st = &envelope.Status{Code: 220, Text: s.cfg.Hostname + " " + st.Text, Close: st.Close}
	} else {
		s.refused = true
	}
	if d := s.cfg.GreetDelay; d > 0 && !s.refused && !s.s.Trusted && s.c.SpokeEarly(d) {
		s.log.Info("spoke before the greeting")
		s.refused = true
		return envelope.Reject(554, "5.5.1", "You spoke before the greeting")
	}
	return st
}

// nextCommand returns the command to run. It replies to lines that are not
// commands.
func (s *transactions) nextCommand() (command, error) {
	if s.pending != nil {
		cmd := *s.pending
		s.pending = nil
		return cmd, nil
	}
	for {
		line, err := s.c.ReadLine(s.cfg.Timeouts.Command)
		if err == nil {
			cmd, perr := parseCommand(string(line))
			if perr == nil {
				return cmd, nil
			}
			err = perr
		}
		var st *envelope.Status
		switch {
		case errors.Is(err, netline.ErrTooLong):
			st = s.protocolError(500, "5.5.2", "Line too long")
		case errors.Is(err, netline.ErrBadLine):
			st = s.protocolError(500, "5.5.2", "Lines end in CRLF and hold no other control characters")
		case errors.Is(err, errCommand):
			st = s.protocolError(500, "5.5.2", "Command not recognized")
		default:
			return command{}, err
		}
		if err := s.reply(st); err != nil {
			return command{}, err
		}
	}
}

// sayGoodbye sends the last reply for an error that ended the session, if the
// connection still works.
func (s *connection) sayGoodbye(err error) {
	var ne net.Error
	switch {
	case errors.Is(err, errQuit):
	case errors.Is(err, netline.ErrStopping):
		s.reply(envelope.Reject(421, "4.3.2", s.cfg.Hostname+" is shutting down, try later"))
	case errors.Is(err, netline.ErrTooSlow):
		s.log.Info("client too slow", "err", err)
		s.reply(envelope.Reject(421, "4.4.2", "Content comes too slowly"))
	case errors.As(err, &ne) && ne.Timeout():
		s.log.Info("client timed out")
		s.reply(envelope.Reject(421, "4.4.2", s.cfg.Hostname+" timeout, closing"))
	default:
		s.gone = true
		if !errors.Is(err, io.EOF) {
			s.log.Debug("connection lost", "err", printable.Quote(err.Error()))
		}
	}
}
