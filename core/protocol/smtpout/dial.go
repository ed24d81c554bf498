package smtpout

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// dialResult is how one attempt to connect ended.
type dialResult struct {
	i   int
	nc  net.Conn
	err error
}

// dialFirst connects to the first address that answers. An address gets a head
// start over the one after it, which is tried too when the first fails or
// takes long (RFC 8305 5). rest are the addresses that may still be tried:
// those that did not fail. race returns when nothing of it runs any more.
func (c *Client) dialFirst(
	ctx context.Context,
	addrs []netip.AddrPort,
	source string,
) (nc net.Conn, addr netip.AddrPort, rest []netip.AddrPort, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan dialResult, len(addrs))
	failed := make([]bool, len(addrs))
	started, running := 0, 0
	timer := time.NewTimer(c.cfg.Timeouts.Fallback)
	defer timer.Stop()
	start := func() {
		if started == len(addrs) {
			return
		}
		i := started
		started++
		running++
		timer.Reset(c.cfg.Timeouts.Fallback)
		go func() {
			nc, err := c.dial(ctx, addrs[i], source)
			results <- dialResult{i, nc, err}
		}()
	}
	start()
	winner := -1
	for running > 0 {
		select {
		case r := <-results:
			running--
			switch {
			case r.err == nil && winner < 0:
				winner, nc = r.i, r.nc
				cancel()
			case r.err == nil:
				r.nc.Close()
			case winner < 0:
				failed[r.i], err = true, r.err
				start()
			}
		case <-timer.C:
			if winner < 0 {
				start()
			}
		}
	}
	if winner < 0 {
		return nil, netip.AddrPort{}, nil, err
	}
	for i, a := range addrs {
		if i != winner && !failed[i] {
			rest = append(rest, a)
		}
	}
	return nc, addrs[winner], rest, nil
}

func (c *Client) dial(ctx context.Context, addr netip.AddrPort, source string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.cfg.Timeouts.Connect}
	if ip := c.source(addr.Addr(), source); ip.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
	}
	began := time.Now()
	nc, err := d.DialContext(ctx, "tcp", addr.String())
	if f := c.cfg.Observe.Connect; f != nil && (err == nil || ctx.Err() == nil) {
		f(err == nil, time.Since(began))
	}
	return nc, err
}

// source returns the own address for a connection to ip; invalid: the system's
// choice.
func (c *Client) source(ip netip.Addr, chosen string) netip.Addr {
	if chosen != "" {
		a, _ := netip.ParseAddr(chosen) // addresses has checked it
		return a.Unmap()
	}
	var fit []netip.Addr
	for _, a := range c.cfg.Source {
		if a.Unmap().Is4() == ip.Is4() {
			fit = append(fit, a.Unmap())
		}
	}
	if len(fit) == 0 {
		return netip.Addr{}
	}
	return fit[rand.N(len(fit))]
}
