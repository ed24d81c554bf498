package smtpout

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"carteiro/core/message/envelope"
)

func TestPrivate(t *testing.T) {
	for text, want := range map[string]bool{
		"192.0.2.1": false, "8.8.8.8": false, "172.32.0.1": false, "100.128.0.1": false, "2001:db8::1": false, "2600::1": false,
		"127.0.0.1": true, "127.9.9.9": true, "10.0.0.1": true, "172.16.0.1": true, "192.168.1.1": true, "169.254.169.254": true,
		"100.64.0.1": true, "0.0.0.0": true, "0.1.2.3": true, "224.0.0.1": true, "255.255.255.255": true, "198.18.0.1": true,
		"::1": true, "::": true, "fe80::1": true, "fd00::1": true, "fec0::1": true, "ff02::1": true, "::7f00:1": true,
		"64:ff9b::a00:1": true, "64:ff9b::808:808": false, "2002:7f00:1::": true, "2002:808:808::1": false,
	} {
		if got := isPrivate(netip.MustParseAddr(text)); got != want {
			t.Errorf("private(%s) = %v", text, got)
		}
	}
}

// TestHostsThatCannotBeTried: none of these may see a connection.
func TestHostsThatCannotBeTried(t *testing.T) {
	open, n := runPeer(t, any4, accept)
	r := resolver(t)
	at := func(name string) envelope.Host { return envelope.Host{Name: name, Port: open.Port} }
	conf := func(h envelope.NextHop) envelope.NextHop { h.Configured = true; return h }
	from := func(h envelope.NextHop, source string) envelope.NextHop { h.Source = source; return h }
	tests := []struct {
		name string
		hop  envelope.NextHop
		want string
	}{
		{"loopback by MX", hop(open), "550 5.4.4 down"},
		{"loopback as a literal", hop(at("127.0.0.1")), "550 5.4.4 down"},
		{"loopback in brackets", hop(at("[::ffff:127.0.0.1]")), "550 5.4.4 down"},
		{"localhost", hop(at("localhost")), "550 5.4.4 down"},
		{"private", hop(at("private.example")), "550 5.4.4 down"},
		{"no such host", hop(at("nowhere.example")), "550 5.4.4 down"},
		{"host without address", hop(at("empty.example")), "550 5.4.4 down"},
		{"lookup fails", hop(at("broken.example")), "451 4.4.3 down"},
		{"one for now, one for ever", inOrder(at("broken.example"), at("nowhere.example")), "451 4.4.3 down"},
		{"one for ever, one for now", inOrder(at("nowhere.example"), at("broken.example")), "451 4.4.3 down"},
		{"configured, no such host", conf(hop(at("nowhere.example"))), "451 4.4.4 down"},
		{"no hosts", hop(), "451 4.4.4 down"},
		{"source of another family", from(conf(hop(at("127.0.0.1"))), "::1"), "451 4.4.4 down"},
		{"source that is none", from(conf(hop(at("127.0.0.1"))), "eth0"), "451 4.3.5 down"},
		{"source that is not ours", from(conf(hop(at("127.0.0.1"))), "192.0.2.99"), "451 4.4.1 down"},
	}
	c := New(Config{Hostname: "out.example.org", Resolver: r})
	defer c.Close()
	for _, tt := range tests {
		if got := codes(c.Send(t.Context(), tt.hop, transfer("b@example.com"))); got != tt.want || n.Load() != 0 {
			t.Errorf("%s: %s, want %s; %d connections", tt.name, got, tt.want, n.Load())
		}
	}
	if got := codes(c.Send(t.Context(), conf(hop(open)), transfer("b@example.com"))); got != "250" || n.Load() != 1 {
		t.Errorf("a configured next hop: %s", got)
	}
}

func inOrder(hosts ...envelope.Host) envelope.NextHop {
	for i := range hosts {
		hosts[i].Preference = i
	}
	return hop(hosts...)
}

// free returns a port on which nobody listens.
func free(t *testing.T) int {
	ln, err := net.Listen("tcp", any4)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func TestNobodyAnswers(t *testing.T) {
	down := envelope.Host{Name: "mx.example.com", Port: free(t)}
	c := client(t, Config{})
	out := c.Send(t.Context(), hop(down), transfer("b@example.com", "c@example.com"))
	if codes(out) != "451 4.4.1 down, 451 4.4.1 down" || out[0].Host != "" {
		t.Errorf("outcomes %+v", out)
	}
	// The reply of a host says more than a failed connection to another one.
	h, _ := runPeer(t, any4, func(p *peer) { p.say("450 4.3.2 busy") })
	h.Preference = 5
	down.Preference = 10
	if out := c.Send(t.Context(), hop(down, h), transfer("b@example.com")); codes(out) != "450 4.3.2" || out[0].Host == "" {
		t.Errorf("outcomes %+v", out)
	}
}

func TestOtherFamilyAndOtherAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 on loopback")
	}
	ln.Close()
	for _, tt := range []struct{ name, host, listen string }{
		{"IPv6 refused, IPv4 works", "both.example.com", any4},
		{"IPv6 works", "both.example.com", "[::1]:0"},
		{"localhost", "localhost", any4},
		{"one of two addresses", "two.example.com", "127.0.0.2:0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, n := runPeer(t, tt.listen, accept)
			h.Name = tt.host
			out := client(t, Config{}).Send(t.Context(), hop(h), transfer("b@example.com"))
			if codes(out) != "250" || n.Load() != 1 {
				t.Errorf("outcome %+v, %d connections", out, n.Load())
			}
		})
	}
}

// A host that is busy at one address may not be at another.
func TestBusyAtOneAddress(t *testing.T) {
	busy, n := runPeer(t, any4, func(p *peer) { p.say("450 4.3.2 busy") })
	other, m := runPeer(t, fmt.Sprintf("127.0.0.2:%d", busy.Port), accept)
	other.Name = "two.example.com"
	c := client(t, Config{MaxIdle: -1})
	for range 5 {
		if out := c.Send(t.Context(), hop(other), transfer("b@example.com")); codes(out) != "250" {
			t.Errorf("outcome %+v", out)
		}
	}
	if m.Load() != 5 {
		t.Errorf("%d connections to one address, %d to the other", n.Load(), m.Load())
	}
}

// An address that does not answer holds up the next one for the head start
// only.
func TestHeadStart(t *testing.T) {
	ln, err := net.Listen("tcp", any4)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	works := ln.Addr().(*net.TCPAddr).AddrPort()
	c := client(t, Config{Timeouts: Timeouts{Connect: 20 * time.Second, Fallback: 50 * time.Millisecond, Final: 3 * time.Second}})
	silent := silentAddr(t)
	began := time.Now()
	nc, addr, rest, err := c.dialFirst(t.Context(), []netip.AddrPort{silent, works}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if addr != works || len(rest) != 1 || rest[0] != silent {
		t.Errorf("connected to %v, left %v", addr, rest)
	}
	if d := time.Since(began); d < 40*time.Millisecond || d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

// silentAddr returns an address that drops SYNs: the queue of its listener, which
// accepts nothing, is full.
func silentAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*syscall.SockaddrInet4).Port))
	for range 16 {
		nc, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { nc.Close() })
	}
	t.Skip("this system does not drop SYNs of a full queue")
	return addr
}

func TestOrder(t *testing.T) {
	hosts := []envelope.Host{
		{Name: "c", Preference: 20},
		{Name: "a", Preference: 10},
		{Name: "b", Preference: 10},
		{Name: "d", Preference: 30},
	}
	seen := map[string]bool{}
	for range 200 {
		var names []string
		for _, h := range sortHosts(envelope.NextHop{Hosts: hosts, LMTP: true}) {
			names = append(names, h.Name)
			if h.Port != 24 {
				t.Fatalf("port %d", h.Port)
			}
		}
		seen[strings.Join(names, "")] = true
	}
	if len(seen) != 2 || !seen["abcd"] || !seen["bacd"] {
		t.Errorf("orders %v", seen)
	}
}

func TestConnectionsOfOneSendAreLimited(t *testing.T) {
	var n atomic.Int32
	var hosts []envelope.Host
	for range 12 {
		h, _ := runPeer(t, any4, func(*peer) { n.Add(1) })
		runPeer(t, fmt.Sprintf("127.0.0.2:%d", h.Port), func(*peer) { n.Add(1) })
		h.Name = "two.example.com"
		hosts = append(hosts, h)
	}
	out := client(t, Config{}).Send(t.Context(), hop(hosts...), transfer("b@example.com"))
	if codes(out) != "451 4.4.2" || n.Load() > maxTries {
		t.Errorf("outcome %s after %d connections", codes(out), n.Load())
	}
}

// Of two connections that come about at once, the one that is not used is
// closed.
func TestRaceLeavesNothingOpen(t *testing.T) {
	var closed atomic.Int32
	wait := func(p *peer) { p.eof(); closed.Add(1) }
	h, n := runPeer(t, any4, wait)
	_, m := runPeer(t, fmt.Sprintf("127.0.0.2:%d", h.Port), wait)
	addrs := []netip.AddrPort{
		netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", h.Port)),
		netip.MustParseAddrPort(fmt.Sprintf("127.0.0.2:%d", h.Port)),
	}
	c := client(t, Config{Timeouts: Timeouts{Connect: time.Second, Fallback: 1, Final: time.Second}})
	for range 50 {
		nc, _, _, err := c.dialFirst(t.Context(), addrs, "")
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	for end := time.Now().Add(3 * time.Second); closed.Load() < n.Load()+m.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d connections were closed", closed.Load(), n.Load()+m.Load())
		}
	}
	if n.Load()+m.Load() <= 50 {
		t.Skip("no two connections came about at once")
	}
}
