package netline

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"carteiro/core/message/envelope"
)

// MaxLine is the longest line a Conn reads, CRLF included: that of an AUTH
// exchange (RFC 4954 section 4). Sessions set lower limits per verb.
const MaxLine = 12288 + 2

// What ReadLine returns besides errors of the network. After ErrTooLong and
// ErrBadLine the session may go on.
var (
	// ErrTooLong: the line exceeds MaxLine; it was read and dropped.
	ErrTooLong = errors.New("line too long")
	// ErrBadLine: a bare CR or LF, or another control character, is in it.
	ErrBadLine = errors.New("bare CR, bare LF or control character in line")
	// ErrStopping: the server stops and the session is idle.
	ErrStopping = errors.New("server is stopping")
	// ErrTooSlow: content came below the minimum rate.
	ErrTooSlow = errors.New("content comes too slowly")
)

// Conn is one client's connection.
type Conn struct {
	nc         net.Conn
	bufs       *buffers
	r          *bufio.Reader // nil while the client is waited for
	w          *bufio.Writer // nil while nothing is kept in it
	first      *[firstSize]byte
	pending    []byte // of first: read while r was nil, goes into r before all else
	remote     netip.AddrPort
	local      netip.AddrPort
	more       bool // first was filled: the rest can be read at once
	info       *envelope.TLSInfo
	config     *tls.Config // of the handshake that was made
	lastBareLF bool        // the last line ended in a bare LF; skip up to the next CRLF
	reads      int         // from the network
	lineBy     time.Time   // deadline of the line being read; zero in content
	content    pace

	// WriteTimeout is how long one flush may take; default 5 minutes.
	WriteTimeout time.Duration
	// Busy keeps Stop from interrupting a ReadLine: the client is in the middle of
	// something that it may finish.
	Busy bool

	mu       sync.Mutex // guards what follows, and read deadlines against Stop
	stopping bool
	waiting  bool // in a read or a handshake that Stop may interrupt
	aborted  bool
}

// pace is how content comes in.
type pace struct {
	block  time.Duration // for each read
	rate   int64         // octets per second on average, 0: any
	after  time.Duration // from when on rate counts
	octets int64
	waited time.Duration // in reads; the time our own side takes is not the client's fault
}

func newConn(nc net.Conn, bufs *buffers) *Conn {
	return &Conn{nc: nc, bufs: bufs, WriteTimeout: 5 * time.Minute, remote: addrPort(nc.RemoteAddr()), local: addrPort(nc.LocalAddr())}
}

// Remote and Local are the addresses of the connection, with IPv4 in IPv6
// unwrapped; if a trusted proxy made the connection, those that its header
// names.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Local returns the address that the client reached.
func (c *Conn) Local() netip.AddrPort { return c.local }

func addrPort(a net.Addr) netip.AddrPort {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// TLS describes the encryption, nil when there is none.
func (c *Conn) TLS() *envelope.TLSInfo { return c.info }

// Encryption returns the state of the TLS connection and the server's
// configuration of its handshake; nil when there is no encryption.
func (c *Conn) Encryption() (*tls.ConnectionState, *tls.Config) {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	state := tc.ConnectionState()
	return &state, c.config
}

// Content switches to reading content from Reader: each read may take block,
// and once the client was waited for longer than after, rate octets per
// second must have come on average (0: any rate will do).
func (c *Conn) Content(block, after time.Duration, rate int64) {
	c.lineBy = time.Time{}
	c.content = pace{block: block, after: after, rate: rate, octets: c.content.octets, waited: c.content.waited}
}

// NewContent forgets how fast content came so far.
func (c *Conn) NewContent() { c.content = pace{} }

// proxyHeader reads the header of a proxy within timeout. Stop ends it.
func (c *Conn) proxyHeader(timeout time.Duration) (proxyAddrs, error) {
	c.mu.Lock()
	if c.stopping {
		c.mu.Unlock()
		return proxyAddrs{}, ErrStopping
	}
	c.waiting = true
	c.nc.SetReadDeadline(time.Now().Add(timeout))
	c.mu.Unlock()
	ends, err := readProxy(c.nc)
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	return ends, err
}

// StartTLS makes a handshake as the server and continues encrypted. Octets
// that came before it in the clear are dropped. Stop ends a handshake.
func (c *Conn) StartTLS(ctx context.Context, cfg *tls.Config, timeout time.Duration) error {
	if err := c.Flush(); err != nil {
		return fmt.Errorf("before the handshake: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c.mu.Lock()
	if c.stopping {
		c.mu.Unlock()
		return ErrStopping
	}
	c.waiting = true
	c.nc.SetDeadline(time.Time{})
	c.mu.Unlock()
	tc := tls.Server(c.nc, cfg)
	err := tc.HandshakeContext(ctx)
	c.mu.Lock()
	c.waiting = false
	if err == nil {
		c.nc = tc
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("tls handshake: %w", err)
	}
	c.returnReader()
	c.returnWriter()
	c.lastBareLF, c.config = false, cfg
	c.info = describe(tc.ConnectionState())
	return nil
}

func describe(st tls.ConnectionState) *envelope.TLSInfo {
	info := &envelope.TLSInfo{Version: versionName(st.Version), Cipher: tls.CipherSuiteName(st.CipherSuite), SNI: st.ServerName}
	if len(st.VerifiedChains) > 0 {
		info.Subject = st.PeerCertificates[0].Subject.String()
	}
	return info
}

func versionName(v uint16) string {
	switch v {
	case tls.VersionTLS13:
		return "TLS1.3"
	case tls.VersionTLS12:
		return "TLS1.2"
	}
	return tls.VersionName(v)
}

// Stop asks the session to end when it next is idle: a ReadLine that waits
// returns ErrStopping unless Busy.
func (c *Conn) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.waiting {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// Abort closes the connection at once.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping, c.aborted = true, true
	if tc, ok := c.nc.(*tls.Conn); ok {
		tc.NetConn().Close() // without waiting for a write to send close_notify
		return
	}
	c.nc.Close()
}

func (c *Conn) idleStop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping && !c.Busy
}

// Close sends what is buffered and closes. If the client may still be sending,
// linger reads for a moment more, because a reset would destroy the last reply.
func (c *Conn) Close(linger bool) {
	defer c.nc.Close()
	if c.Flush() != nil || !linger {
		return
	}
	hc, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || hc.CloseWrite() != nil {
		return
	}
	if tc, ok := c.nc.(*tls.Conn); ok {
		if raw, ok := tc.NetConn().(interface{ CloseWrite() error }); ok {
			raw.CloseWrite()
		}
	}
	c.mu.Lock()
	if !c.aborted {
		c.nc.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	}
	c.mu.Unlock()
	io.CopyN(io.Discard, c.nc, 256<<10) // the error does not matter: we close
}
