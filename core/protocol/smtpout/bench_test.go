package smtpout

import (
	"fmt"
	"testing"
	"time"

	"carteiro/core/protocol/smtpin"
)

// BenchmarkDelay is one message to ten recipients at a peer 20 ms away.
func BenchmarkDelay(b *testing.B) {
	var to []string
	for i := range 10 {
		to = append(to, fmt.Sprintf("r%d@example.com", i))
	}
	for name, ext := range map[string][]string{"pipelining": {"PIPELINING"}, "plain": nil} {
		b.Run(name, func(b *testing.B) {
			h, _ := runPeer(b, any4, func(p *peer) { counting(p, 20*time.Millisecond, ext...) })
			c := benchClient(b, Config{})
			for b.Loop() {
				if out := c.Send(b.Context(), hop(h), transfer(to...)); out[9].Status.Code != 250 {
					b.Fatalf("outcomes %+v", out)
				}
			}
		})
	}
}

// BenchmarkMessages is small messages, one after the other, to a server on
// loopback, over TLS and in the clear, on one connection and on many.
func BenchmarkMessages(b *testing.B) {
	for _, encrypted := range []bool{false, true} {
		for name, idle := range map[string]int{"reuse": 2, "anew": -1} {
			b.Run(fmt.Sprintf("tls=%v/%s", encrypted, name), func(b *testing.B) {
				cfg := smtpin.Config{}
				if encrypted {
					cfg.TLS = serverTLS()
				}
				h, _ := serve(b, cfg)
				c := benchClient(b, Config{MaxIdle: idle})
				for b.Loop() {
					if out := c.Send(b.Context(), hop(h), transfer("b@example.com")); out[0].Status.Code != 250 || (out[0].TLS != "") != encrypted {
						b.Fatalf("outcomes %+v", out)
					}
				}
			})
		}
	}
}
