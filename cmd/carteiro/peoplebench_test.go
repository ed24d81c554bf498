package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"carteiro/core/mail"
	"carteiro/scripts"
)

// cpuTime is what this process took of the processors so far: unlike messages
// in a second, it does not depend on what else runs on the machine.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPeopleBundles tells how many messages in a second come in and are
// delivered to 100 users, without and with the bundles for people: with them
// everybody is away, and has a delegate. The first message to each user is
// answered, all later ones come from senders who were.
func BenchmarkPeopleBundles(b *testing.B) {
	for _, bundles := range [][]string{nil, {"autoreply"}, {"delegate"}, {"autoreply", "delegate"}} {
		name := strings.Join(bundles, "+")
		if name == "" {
			name = "none"
		}
		b.Run(name, func(b *testing.B) {
			addr, s := benchServer(b, scripts.Policy(), shipped(bundles)...)
			for i := range 100 {
				user, next := mail.Address(fmt.Sprintf("u%d@our.example", i)), mail.Address(fmt.Sprintf("u%d@our.example", (i+1)%100))
				if err := s.directory.Set(b.Context(), user, "vacation", json.RawMessage(`{"active": true, "text": "I am away"}`), false); err != nil {
					b.Fatal(err)
				}
				if err := s.directory.Grant(b.Context(), user, next, "send-as", time.Time{}); err != nil {
					b.Fatal(err)
				}
			}
			const conns = 20
			var next atomic.Int64
			var wg sync.WaitGroup
			before := cpuTime(b)
			b.ResetTimer()
			for range conns {
				c, err := dialBench(addr)
				if err != nil {
					b.Fatal(err)
				}
				defer c.conn.Close()
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						to := fmt.Sprintf("u%d@our.example", n%100)
						body := "From: a@a.example\r\nTo: " + to + "\r\nSubject: bench\r\nMessage-ID: <1@a.example>\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 28)
						if err := c.send(to, body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			for delivered := int64(0); delivered < int64(b.N); {
				delivered = 0
				for i := range 100 {
					info, err := s.store.Mailbox(b.Context(), mail.Address(fmt.Sprintf("u%d@our.example", i)), "INBOX")
					if err != nil {
						b.Fatal(err)
					}
					delivered += info.Count
				}
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/msg")
		})
	}
}

// shipped are the full names of bundles.
func shipped(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "carteiro/" + n
	}
	return out
}
