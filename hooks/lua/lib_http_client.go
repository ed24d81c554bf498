package lua

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"carteiro/core/message/envelope"
)

// ErrPrivate: a name leads to addresses of private networks alone, and its
// grant does not say so. Who owns a name decides where it leads.
var ErrPrivate = errors.New("no public address")

// privateKey marks the context of a request whose host was granted as one of a
// private network.
type privateKey struct{}

// NewDoer makes the client that a server gives its scripts: no proxy of the
// environment, no redirects, few connections at once, and to public addresses
// alone, but for hosts that were granted as private. What counts is the address
// that is dialled.
func NewDoer() Doer {
	return &doer{public: newClient(public), private: newClient(nil)}
}

// doer has two clients, so that no request that may go to public addresses
// alone takes over a connection that another one opened.
type doer struct{ public, private *http.Client }

func (d *doer) Do(req *http.Request) (*http.Response, error) {
	if req.Context().Value(privateKey{}) != nil {
		return d.private.Do(req)
	}
	return d.public.Do(req)
}

func newClient(control func(network, address string, c syscall.RawConn) error) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: control}
	return &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConns: 20, MaxConnsPerHost: 20, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// public refuses to connect to what is not of the public Internet.
func public(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !envelope.PublicIP(at.Addr()) {
		return ErrPrivate
	}
	return nil
}

// refusedHost logs that a request was refused, and says what to write.
func (h httpCall) refusedHost(x exchange) error {
	u := h.st.call.source
	where := "http in [scripts]"
	if u.src.Bundle != "" {
		where = "http in the [[bundle]] of " + u.src.Bundle
	}
	err := fmt.Errorf("%w: %s leads to a private network; if that is intended, write %q under %s of the configuration", ErrPrivate, x.host,
		x.host+" private", where)
	e := h.st.generation.engine
	e.Log.WarnContext(h.st.call.ctx, "http request of a policy refused", "host", x.host, "handler", h.st.call.handler.info.Name(), "err", err)
	if e.Refused != nil {
		e.Refused(x.host)
	}
	return err
}

// PrivateHost reports whether a host, "name:port", leads to addresses of
// private networks alone: then requests to it are refused. A name that leads
// nowhere is none. It blocks for the look-up.
func PrivateHost(ctx context.Context, host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return false
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil || len(ips) == 0 {
		return false
	}
	for _, ip := range ips {
		if envelope.PublicIP(ip) {
			return false
		}
	}
	return true
}
