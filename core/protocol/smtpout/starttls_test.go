package smtpout

import (
	"crypto/tls"
	"testing"

	"carteiro/core/message/envelope"
)

func TestSTARTTLS(t *testing.T) {
	start := func(p *peer) bool { return p.hello("STARTTLS") && p.want("STARTTLS") }
	inClear := func(p *peer) {
		if p.hello("STARTTLS") && p.step("MAIL", "250 ok") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
			p.message()
			p.say("250 taken")
			p.eof()
		}
	}
	tests := []struct {
		name        string
		policy      envelope.TLSPolicy
		first       func(p *peer)
		want        string
		connections int32
	}{
		{"handshake fails", envelope.TLSMay, func(p *peer) {
			if start(p) {
				p.say("220 go")
				p.r.ReadByte()
				p.say("TLS is not available")
			}
		}, "250", 2},
		{"handshake fails, verify", envelope.TLSVerify, func(p *peer) {
			if start(p) {
				p.say("220 go")
				p.r.ReadByte()
				p.say("TLS is not available")
			}
		}, "451 4.7.5", 1},
		{"injected reply", envelope.TLSMay, func(p *peer) {
			if start(p) {
				p.say("220 go", "250-injected", "250 DSN")
				if rest := p.eof(); rest != "" {
					t.Errorf("sent %q", rest)
				}
			}
		}, "451 4.7.5", 1},
		{"refused after all", envelope.TLSMay, func(p *peer) {
			if start(p) {
				p.say("454 4.7.0 not now")
				if p.step("MAIL", "250 ok") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
					p.message()
					p.say("250 taken")
				}
			}
		}, "250", 1},
		{"refused after all, verify", envelope.TLSVerify, func(p *peer) {
			if start(p) {
				p.say("454 4.7.0 not now")
				p.eof()
			}
		}, "451 4.7.10", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, n := runPeer(t, any4, func(p *peer) { p.t = t; tt.first(p) }, func(p *peer) { p.t = t; inClear(p) })
			nh := hop(h)
			nh.TLS = tt.policy
			c := client(t, Config{MaxIdle: -1})
			if out := c.Send(t.Context(), nh, transfer("b@example.com")); codes(out) != tt.want || n.Load() != tt.connections {
				t.Fatalf("outcome %+v over %d connections, want %s over %d", out, n.Load(), tt.want, tt.connections)
			}
			if tt.connections == 2 {
				out := c.Send(t.Context(), nh, transfer("b@example.com"))
				if codes(out) != "250" || n.Load() != 3 {
					t.Errorf("that TLS fails was forgotten: %+v, %d connections", out, n.Load())
				}
			}
		})
	}
}

// What was offered before the handshake does not count after it.
func TestOffersInTheClearAreVoid(t *testing.T) {
	h, _ := runPeer(t, any4, func(p *peer) {
		if !p.hello("STARTTLS", "DSN", "SIZE 10") || !p.step("STARTTLS", "220 go") {
			return
		}
		tc := tls.Server(p.nc, serverTLS())
		p.nc = tc
		p.r.Reset(tc)
		if p.want("EHLO") && p.offer("8BITMIME") && p.step("MAIL FROM:<a@example.org>\r\n", "250 ok") && p.step("RCPT", "250 ok") &&
			p.step("DATA", "354 go") {
			p.message()
			p.say("250 taken")
		}
	})
	tr := transfer("b@example.com")
	tr.Ret = "FULL"
	out := client(t, Config{}).Send(t.Context(), hop(h), tr)
	if codes(out) != "250" || !out[0].NoDSN || out[0].TLS != "TLS1.3" {
		t.Errorf("outcome %+v", out)
	}
}
