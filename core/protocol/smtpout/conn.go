package smtpout

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

const (
	readSize  = 4 << 10
	writeSize = 32 << 10
)

// conn is one connection, used by one goroutine at a time. It is dropped as
// soon as anything goes wrong on it.
type conn struct {
	cfg  *Config
	key  poolKey
	hop  string // for traces
	host envelope.Host
	addr netip.AddrPort

	raw net.Conn
	nc  net.Conn // raw, or TLS over it
	r   *bufio.Reader
	w   *bufio.Writer

	ext          extensions
	tls          string      // version
	verified     bool        // the certificate is good for host.Name
	transactions int         // transactions
	dead         bool        // of no use any more, not even for QUIT
	stopGuard    func() bool // see guard
	rcptMax      int         // recipients of a transaction, as far as known
}

func newConn(cfg *Config, nc net.Conn) *conn {
	c := &conn{cfg: cfg, raw: nc}
	c.useConn(nc)
	return c
}

// useConn reads and writes nc from now on; nothing that was buffered is kept.
func (c *conn) useConn(nc net.Conn) {
	c.nc = nc
	c.r = bufio.NewReaderSize(nc, readSize)
	c.w = bufio.NewWriterSize(deadlineWriter{c}, writeSize)
}

// deadlineWriter gives each write its own deadline.
type deadlineWriter struct{ c *conn }

func (b deadlineWriter) Write(p []byte) (int, error) {
	b.c.nc.SetWriteDeadline(time.Now().Add(b.c.cfg.Timeouts.Block))
	return b.c.nc.Write(p)
}

// dropWhenDone drops the connection when ctx ends; the function that it returns
// cancels that.
func (c *conn) dropWhenDone(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, c.drop)
}

// isUsedUp reports whether the host takes no more transactions (RFC 9422 4.1).
func (c *conn) isUsedUp() bool {
	n := c.ext.limit("MAILMAX")
	return n > 0 && c.transactions >= n
}

// drop closes without a word. It may be called from any goroutine.
func (c *conn) drop() { c.raw.Close() }

// bufferLine adds a command to what the next flush sends.
func (c *conn) bufferLine(line string) {
	c.trace("> ", line)
	c.w.WriteString(line) // an error of the writer stays and meets the flush
	c.w.WriteString("\r\n")
}

func (c *conn) trace(dir, line string) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(c.hop, printable.Reply(dir+line, true))
	}
}

// read waits for one reply.
func (c *conn) read(timeout time.Duration) (reply, error) {
	c.nc.SetReadDeadline(time.Now().Add(timeout))
	rep, err := readReply(c.r)
	if err != nil {
		return rep, err
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(rep.String(), "\r\n"), "\r\n") {
		c.trace("< ", line)
	}
	return rep, nil
}

// ask sends one command and waits for its reply.
func (c *conn) ask(line string, timeout time.Duration) (reply, error) {
	c.bufferLine(line)
	if err := c.w.Flush(); err != nil {
		return reply{}, err
	}
	return c.read(timeout)
}

// quit ends the connection with QUIT (RFC 5321 4.1.1.10), in a short time.
func (c *conn) quit() {
	defer c.nc.Close()
	c.trace("> ", "QUIT")
	c.nc.SetDeadline(time.Now().Add(c.cfg.Timeouts.Quit))
	if _, err := c.nc.Write([]byte("QUIT\r\n")); err == nil {
		readReply(c.r) // the reply does not matter
	}
}

// lost returns the status for an error of the connection during step.
func (c *conn) lost(step string, err error) *envelope.Status {
	c.dead = true
	where := c.host.Name + " " + step
	err = fmt.Errorf("%s during %s: %w", c.addr, step, err)
	switch {
	case errors.Is(err, errGarbage):
		return envelope.Defer(451, "4.5.0", "no valid reply from "+where, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return envelope.Defer(451, "4.4.2", "timed out at "+where, err)
	}
	return envelope.Defer(451, "4.4.2", "connection lost at "+where, err)
}

// handshake makes TLS. A certificate that is not good for the host's name
// ends it if verify is set; else any will do (RFC 7435).
func (c *conn) handshake(ctx context.Context, verify bool, cache tls.ClientSessionCache) error {
	cfg := &tls.Config{ServerName: asciiDomain(strings.Trim(c.host.Name, "[]")), RootCAs: c.cfg.RootCAs, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: !verify, ClientSessionCache: cache}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Handshake)
	defer cancel()
	c.nc.SetDeadline(time.Time{})
	tc := tls.Client(c.raw, cfg)
	err := tc.HandshakeContext(ctx)
	version := ""
	if err == nil {
		version = versionName(tc.ConnectionState().Version)
	}
	if f := c.cfg.Observe.TLS; f != nil {
		f(version, err == nil)
	}
	if err != nil {
		c.trace("! ", "TLS: "+err.Error())
		return err
	}
	c.trace("! ", version)
	c.tls, c.verified = version, verify
	c.useConn(tc)
	return nil
}

func versionName(v uint16) string {
	if v == tls.VersionTLS12 || v == tls.VersionTLS13 {
		return map[uint16]string{tls.VersionTLS12: "TLS1.2", tls.VersionTLS13: "TLS1.3"}[v]
	}
	return tls.VersionName(v)
}
