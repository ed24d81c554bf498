package netline

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"carteiro/core/message/printable"
)

// Server accepts connections and runs one goroutine for each.
type Server struct {
	Name           string // of the listener, for the log
	MaxConnections int    // over all listeners of this server, 0: any number
	Limits         *Limits
	ProxyFrom      []netip.Prefix // clients in them begin with a PROXY header, always
	Grace          time.Duration  // for what is running when Serve is to end
	TLS            *tls.Config
	Implicit       bool          // TLS from the first octet
	Handshake      time.Duration // limit of a TLS handshake
	Log            *slog.Logger

	// TooManyReply and Greedy are the lines, with CRLF, for a client above
	// MaxConnections and one above its own limit; Refused counts both.
	TooManyReply, TooManyFromIPReply string
	Refused                          func()

	// Handle runs a session to its end and recovers its panics. ctx ends when the
	// server's grace is over; c.ReadLine returns ErrStopping when the server
	// stops.
	Handle func(ctx context.Context, c *Conn)

	mu   sync.Mutex
	open int // connections now
	bufs buffers
}

// Serve accepts until ctx ends. Then it stops idle sessions, gives busy ones
// Grace, closes those that are left, and returns when all sessions have ended.
// It closes ln. The error is that of a listener that failed.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	sessions, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop, halt := context.WithCancel(ctx)
	defer halt()
	var wg sync.WaitGroup
	mine := &connSet{conns: make(map[*Conn]struct{})}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-stop.Done()
		ln.Close()
	}()
	err := s.accept(stop, ln, func(nc net.Conn, release func()) {
		c := newConn(nc, &s.bufs)
		mine.add(c)
		wg.Go(func() {
			defer release()
			defer mine.remove(c)
			defer nc.Close()
			s.serve(sessions, c)
		})
	})
	halt()
	<-closed
	mine.each((*Conn).Stop)
	s.finish(&wg, cancel, mine)
	return err
}

// finish waits for the sessions and aborts them when the grace is over.
func (s *Server) finish(wg *sync.WaitGroup, cancel func(), mine *connSet) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	timer := time.NewTimer(s.Grace)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		cancel()
		mine.each((*Conn).Abort)
		<-done
	}
}

func (s *Server) accept(ctx context.Context, ln net.Listener, start func(net.Conn, func())) error {
	pause := 5 * time.Millisecond
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			if release, ok := s.admit(nc); ok {
				start(nc, release)
			}
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		default:
			// Out of descriptors, or a client that left at once: sessions
			// that end make room again.
			s.Log.Warn("accept failed", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
		}
	}
}

// admit applies the limits. A refused client gets a reply, unless it expects
// TLS first. A proxy's connection is counted for the client that the proxy will
// name.
func (s *Server) admit(nc net.Conn) (release func(), ok bool) {
	addr := addrPort(nc.RemoteAddr()).Addr()
	if !s.countConn() {
		s.refuse(nc, addr, s.TooManyReply, "connections of the listener")
		return nil, false
	}
	if s.isProxy(addr) {
		return s.uncountConn, true
	}
	free, why := s.Limits.Acquire(addr)
	if why != "" {
		s.uncountConn()
		s.refuse(nc, addr, s.TooManyFromIPReply, why)
		return nil, false
	}
	return func() { free(); s.uncountConn() }, true
}

func (s *Server) refuse(nc net.Conn, client netip.Addr, line, reason string) {
	s.Log.Info("connection refused", "listener", s.Name, "client", client.String(), "reason", reason)
	if s.Refused != nil {
		s.Refused()
	}
	if !s.Implicit {
		nc.SetDeadline(time.Now().Add(time.Second))
		nc.Write([]byte(line)) // an empty send buffer takes it; the error does not matter
	}
	nc.Close()
}

func (s *Server) isProxy(a netip.Addr) bool {
	for _, p := range s.ProxyFrom {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (s *Server) serve(ctx context.Context, c *Conn) {
	if s.isProxy(c.Remote().Addr()) {
		free, ok := s.readProxyHeader(c)
		if !ok {
			return
		}
		defer free()
	}
	if s.Implicit {
		if err := c.StartTLS(ctx, s.TLS, s.Handshake); err != nil {
			s.Log.Info("tls failed", "listener", s.Name, "client", c.Remote().Addr().String(), "err", printable.Quote(err.Error()))
			return
		}
	}
	defer c.returnReader()
	defer c.returnWriter()
	s.Handle(ctx, c)
}

// readProxyHeader takes the addresses of the client from the PROXY header. A
// proxy that sends none is refused: its address must not be taken for the
// client's.
func (s *Server) readProxyHeader(c *Conn) (free func(), ok bool) {
	proxy := c.Remote().Addr()
	ends, err := c.proxyHeader(s.Handshake)
	if err != nil {
		s.Log.Info("connection refused", "listener", s.Name, "client", proxy.String(), "reason", "PROXY header", "err",
			printable.Quote(err.Error()))
		return nil, false
	}
	if !ends.known {
		return func() {}, true
	}
	c.remote, c.local = ends.remote, ends.local
	free, why := s.Limits.Acquire(c.remote.Addr())
	if why != "" {
		s.refuse(c.nc, c.remote.Addr(), s.TooManyFromIPReply, why)
		return nil, false
	}
	return free, true
}

// countConn counts a connection of the whole server and reports whether it is
// within MaxConnections.
func (s *Server) countConn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.MaxConnections > 0 && s.open >= s.MaxConnections {
		return false
	}
	s.open++
	return true
}

func (s *Server) uncountConn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}
