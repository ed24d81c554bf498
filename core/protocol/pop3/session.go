package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
	"carteiro/core/protocol/netline"
)

// session is one connection. All of it belongs to the session's goroutine.
type session struct {
	authState
	prefetch     prefetch
	idleCommands int // commands in a row that do nothing
}

// connection sends replies, reads commands, and knows when the session has to end.
type connection struct {
	*Server
	c      *netline.Conn
	log    *slog.Logger
	s      *envelope.Session
	errors int
	ended  bool // nothing more is read
	gone   bool // nor written
}

// authState is a session's first state (RFC 1939 section 4), and the maildrop
// to which it leads.
type authState struct {
	connection
	stamp string // of the greeting, for APOP
	user  string // of USER, until PASS
	drop  *maildrop
}

func (srv *Server) session(ctx context.Context, c *netline.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.WriteTimeout = srv.cfg.Write
	now := srv.cfg.Now()
	id := envelope.NewID(now).String()
	s := &session{authState: authState{connection: connection{Server: srv, c: c, s: &envelope.Session{
		ID: id, Listener: srv.cfg.Name, Protocol: "pop3",
		Remote: c.Remote(), Local: c.Local(), TLS: c.TLS(),
		Started: now, Meta: make(map[string]any),
	}}}}
	s.log = srv.cfg.Log.With("session", id, "listener", srv.cfg.Name, "client", s.s.Remote.Addr().String())
	srv.open.Put(c, s.s)
	if srv.cfg.APOP {
		s.stamp = "<" + id + "@" + srv.cfg.Hostname + ">"
	}
	start := time.Now()
	if f := srv.cfg.Observe.Open; f != nil {
		f(srv.cfg.Name)
	}
	defer func() {
		cancel()
		srv.open.Remove(c)
		s.close()
		if f := srv.cfg.Observe.Closed; f != nil {
			f(srv.cfg.Name, time.Since(start))
		}
	}()
	defer s.recoverPanic()
	s.run(ctx)
}

// recoverPanic ends only this session after a panic. The maildrop is unlocked and nothing
// is deleted.
func (s *connection) recoverPanic() {
	if r := recover(); r != nil {
		s.log.Error("panic in session", "panic", printable.Quote(fmt.Sprint(r)), "stack", string(debug.Stack()))
		s.err("[SYS/TEMP] internal error, closing")
	}
}

func (s *session) close() {
	s.s.Closed.Store(true)
	s.dropPrefetch()
	if s.drop != nil {
		s.safely(s.drop.unlock)
	}
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

func (s *session) run(ctx context.Context) {
	if st := s.backend.Connect(ctx, s.s); st != nil && st.Code >= 400 {
		s.err(respCode(st) + st.Text)
		return
	}
	s.ok(strings.TrimRight(s.cfg.Hostname+" POP3 ready "+s.stamp, " "))
	for !s.ended {
		s.prefetchNext(ctx)
		line, err := s.c.ReadLine(s.cfg.Idle)
		switch {
		case errors.Is(err, netline.ErrTooLong):
			s.protocolError("line too long")
		case errors.Is(err, netline.ErrBadLine):
			s.protocolError("lines end in CRLF and hold no other control characters")
		case err != nil:
			s.connectionEnded(err)
		default:
			s.runCommand(ctx, string(line))
		}
	}
}

// connectionEnded ends the session without UPDATE. After the autologout timer
// it closes without a reply (RFC 1939 section 3).
func (s *connection) connectionEnded(err error) {
	s.ended = true
	var ne net.Error
	switch {
	case errors.Is(err, netline.ErrStopping):
		s.err("[SYS/TEMP] server is shutting down")
	case errors.As(err, &ne) && ne.Timeout():
		s.log.Info("client timed out")
		s.gone = true
	default:
		s.gone = true
		if !errors.Is(err, io.EOF) {
			s.log.Debug("connection lost", "err", printable.Quote(err.Error()))
		}
	}
}

func (s *connection) ok(text string) bool {
	s.line("+OK", text)
	return true
}

func (s *connection) err(text string) bool {
	s.line("-ERR", text)
	return false
}

// protocolError returns a refusal that counts; too many end the session.
func (s *connection) protocolError(text string) bool {
	s.errors++
	if s.errors > s.cfg.MaxErrors {
		s.log.Info("session ended by a limit", "reason", "errors", "last", printable.Quote(text))
		s.ended = true
		text = "[SYS/TEMP] too many errors, closing"
	}
	return s.err(text)
}

func (s *connection) line(word, text string) {
	w := s.c.Writer()
	w.WriteString(word) // an error of the writer stays and meets the next flush
	if text != "" {
		w.WriteByte(' ')
		w.WriteString(printable.Reply(text, false))
	}
	w.WriteString("\r\n")
}

// respCode returns the response code of RFC 2449 and RFC 3206 for a refusal.
func respCode(st *envelope.Status) string {
	switch {
	case st.Code == 535:
		return "[AUTH] "
	case st.Code < 500:
		return "[SYS/TEMP] "
	}
	return "[SYS/PERM] "
}
