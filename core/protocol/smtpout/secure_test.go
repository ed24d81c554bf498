package smtpout

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/smtpin"
)

// startTLS is a peer that encrypts and then offers ext.
func startTLS(p *peer, ext ...string) bool {
	if !p.hello("STARTTLS") || !p.step("STARTTLS", "220 go") {
		return false
	}
	tc := tls.Server(p.nc, serverTLS())
	p.nc = tc
	p.r.Reset(tc)
	return p.want("EHLO") && p.offer(ext...)
}

// REQUIRETLS must be offered by a host whose certificate is good; of two
// hosts the one that does so gets the message.
func TestRequireTLSFindsTheHost(t *testing.T) {
	without, _ := runPeer(t, any4, func(p *peer) {
		if startTLS(p, "8BITMIME") {
			p.step("QUIT", "221 bye")
		}
	})
	tr := transfer("b@example.com")
	tr.RequireTLS = true
	c := client(t, Config{})
	if out := c.Send(t.Context(), hop(without), tr); codes(out) != "550 5.7.30" {
		t.Errorf("outcome %+v", out)
	}
	with, k := serve(t, smtpin.Config{TLS: serverTLS()})
	with.Preference = 10
	if out := c.Send(t.Context(), hop(without, with), tr); codes(out) != "250" || !k.messages()[0].tx.Params.RequireTLS {
		t.Errorf("outcome %+v", out)
	}
	down := envelope.Host{Name: "mx.example.com", Port: free(t)}
	if out := c.Send(t.Context(), hop(without, down), tr); codes(out) != "451 4.4.1" {
		t.Errorf("the other host may do better tomorrow: %+v", out)
	}
}

func TestLOGIN(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script func(p *peer)
		want   string
	}{
		{"LOGIN", func(p *peer) {
			if p.hello("AUTH=LOGIN") && p.step("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6") &&
				p.step("YWxpY2U=\r\n", "334 UGFzc3dvcmQ6") && p.step("c2VjcmV0\r\n", "235 ok") {
				p.step("MAIL", "550 5.7.1 no")
				p.step("RSET", "250 ok")
			}
		}, "550 5.7.1"},
		{"a question too many", func(p *peer) {
			if p.hello("AUTH LOGIN") && p.step("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6") &&
				p.step("YWxpY2U=\r\n", "334 UGFzc3dvcmQ6") && p.step("c2VjcmV0\r\n", "334 YWdhaW4/") {
				p.step("*\r\n", "501 5.7.0 cancelled")
			}
		}, "451 4.7.0"},
		{"PLAIN first", func(p *peer) {
			if p.hello("AUTH LOGIN PLAIN") {
				p.step("AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", "535 5.7.8 no")
			}
		}, "451 4.7.8"},
		{"no base64", func(p *peer) {
			if p.hello("AUTH LOGIN") && p.step("AUTH LOGIN\r\n", "334 ???") {
				p.eof()
			}
		}, "451 4.5.0"},
		{"success with another code", func(p *peer) {
			if p.hello("AUTH PLAIN") {
				p.step("AUTH", "250 ok")
			}
		}, "451 4.5.0"},
		{"gone", func(p *peer) {
			if p.hello("AUTH PLAIN") {
				p.want("AUTH")
			}
		}, "451 4.4.2"},
		{"nothing known", func(p *peer) {
			if p.hello("AUTH CRAM-MD5") {
				p.step("QUIT", "221 bye")
			}
		}, "451 4.7.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := runPeer(t, any4, func(p *peer) { p.t = t; tt.script(p) })
			nh := hop(h)
			nh.User, nh.Password = "alice", "secret"
			if out := client(t, Config{}).Send(t.Context(), nh, transfer("b@example.com")); codes(out) != tt.want {
				t.Errorf("outcome %+v, want %s", out, tt.want)
			}
		})
	}
}

// A password goes in the clear to loopback only.
func TestEnough(t *testing.T) {
	at := func(ip, version string) *conn {
		return &conn{addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 25), tls: version, host: envelope.Host{Name: "h"}}
	}
	login := connParams{policy: envelope.TLSMay, user: "alice"}
	tests := []struct {
		c    *conn
		m    connParams
		want int
	}{
		{at("192.0.2.1", ""), login, 451},
		{at("192.0.2.1", ""), connParams{policy: envelope.TLSNone, user: "alice"}, 451},
		{at("192.0.2.1", "TLS1.3"), login, 0},
		{at("127.0.0.1", ""), login, 0},
		{at("::1", ""), login, 0},
		{at("127.0.0.1", ""), connParams{policy: envelope.TLSVerify}, 451},
		{at("127.0.0.1", ""), connParams{policy: envelope.TLSVerify, requireTLS: true}, 550},
		{at("192.0.2.1", ""), connParams{policy: envelope.TLSMay}, 0},
	}
	for _, tt := range tests {
		got := 0
		if st := tt.c.checkTLS(tt.m); st != nil {
			got = st.Code
		}
		if got != tt.want {
			t.Errorf("%v, %+v: %d, want %d", tt.c.addr, tt.m, got, tt.want)
		}
	}
}

func TestSource(t *testing.T) {
	from := make(chan string, 2)
	h, _ := runPeer(t, any4, func(p *peer) {
		from <- p.nc.RemoteAddr().String()
		p.say("554 no")
	})
	c := client(t, Config{Source: []netip.Addr{netip.MustParseAddr("127.0.0.7"), netip.MustParseAddr("2001:db8::1")}})
	nh := hop(h)
	c.Send(t.Context(), nh, transfer("b@example.com"))
	nh.Source = "127.0.0.8"
	c.Send(t.Context(), nh, transfer("b@example.com"))
	if a, b := <-from, <-from; !strings.HasPrefix(a, "127.0.0.7:") || !strings.HasPrefix(b, "127.0.0.8:") {
		t.Errorf("connections from %s and %s", a, b)
	}
}

// LMTP counts its replies by the recipients that were accepted.
func TestLMTPOddities(t *testing.T) {
	begin := func(p *peer) bool {
		p.say("220 peer")
		return p.want("LHLO") && p.offer("PIPELINING") && p.want("MAIL") && p.want("RCPT") && p.want("RCPT") && p.want("DATA")
	}
	for _, tt := range []struct {
		name   string
		script func(p *peer)
		want   string
	}{
		{"lost between two replies", func(p *peer) {
			if begin(p) {
				p.say("250 ok", "250 ok", "250 ok", "354 go")
				p.message()
				p.say("250 2.1.5 first")
			}
		}, "250, 451 4.4.2"},
		{"DATA accepted without recipients", func(p *peer) {
			if begin(p) {
				p.say("250 ok", "550 5.1.1 no", "550 5.1.1 no", "354 go")
				if rest := p.eof(); rest != "" {
					t.Errorf("the peer got %q", rest)
				}
			}
		}, "550 5.1.1, 550 5.1.1"},
		{"LHLO refused", func(p *peer) {
			p.say("220 peer")
			p.step("LHLO", "500 5.5.1 this is SMTP")
			p.step("QUIT", "221 bye")
		}, "451 4.5.1, 451 4.5.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, n := runPeer(t, any4, func(p *peer) { p.t = t; tt.script(p) })
			nh := hop(h, h)
			nh.LMTP = true
			if tt.name == "LHLO refused" {
				nh = envelope.NextHop{Hosts: []envelope.Host{h}, LMTP: true}
			}
			out := client(t, Config{}).Send(t.Context(), nh, transfer("b@example.com", "c@example.com"))
			if codes(out) != tt.want || n.Load() != 1 {
				t.Errorf("outcome %+v, want %s; %d connections", out, tt.want, n.Load())
			}
		})
	}
}

// Many senders share a Client; connections are shared too, none is used by
// two at once, and no more than MaxIdle are kept.
func TestConcurrentSends(t *testing.T) {
	h, k := serve(t, smtpin.Config{TLS: serverTLS()})
	c := client(t, Config{MaxIdle: 3})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if out := c.Send(t.Context(), hop(h), transfer("b@example.com", "refused@example.com")); codes(out) != "250, 550 5.1.1" {
					t.Errorf("outcomes %+v", out)
				}
			}
		})
	}
	wg.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept) != 80 || k.sessions >= 80 {
		t.Errorf("%d messages in %d sessions", len(k.kept), k.sessions)
	}
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.pool.total > 3 || c.pool.total < 1 {
		t.Errorf("%d connections are kept", c.pool.total)
	}
}

func TestTLSFailureIsForgottenInTime(t *testing.T) {
	now := time.Now()
	c := New(Config{Now: func() time.Time { return now }})
	addr := netip.MustParseAddrPort("192.0.2.1:25")
	c.noteTLSFailure(addr)
	if !c.tlsFailedLately(addr) {
		t.Error("forgotten at once")
	}
	now = now.Add(tlsFailedFor)
	if c.tlsFailedLately(addr) {
		t.Error("remembered for ever")
	}
}
