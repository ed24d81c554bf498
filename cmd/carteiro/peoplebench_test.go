package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/scripts"
)

// peopleBatch is how many messages a server takes before it is the next one's
// turn, and peopleTurns how many turns each has.
const (
	peopleBatch = 6000
	peopleTurns = 9
)

// BenchmarkPeopleBundles compares servers with bundles for people with one
// that has none, by the messages that come in and are delivered to 100 users
// in a second, and by the processor time of each. Everybody is away and has a
// delegate, and where it says "forwarding" everybody's mail goes to somebody
// else instead. One of 100 messages is answered, the others come from a sender
// who was.
//
// The servers take turns in any order, each a new one, so that what else
// happens on the machine happens to all of them; ratios are medians over the
// turns.
func BenchmarkPeopleBundles(b *testing.B) {
	servers := []*peopleServer{{name: "none"}, {name: "autoreply", bundles: []string{"autoreply"}},
		{name: "delegate", bundles: []string{"delegate"}},
		{name: "forward", bundles: []string{"forward"}}, {name: "all", bundles: []string{"forward", "autoreply", "delegate"}},
		{name: "forwarding", bundles: []string{"forward", "autoreply", "delegate"}, forwarding: true}}
	for range b.N * peopleTurns {
		for _, i := range rand.Perm(len(servers)) {
			servers[i].turn(b)
		}
	}
	none := servers[0]
	for _, s := range servers {
		b.ReportMetric(peopleBatch/median(s.took).Seconds(), s.name+"-msg/s")
		if s != none {
			b.ReportMetric(ratio(none.took, s.took), s.name+"-rate")
			b.ReportMetric(ratio(none.used, s.used), s.name+"-cpu")
		}
	}
}

type peopleServer struct {
	name       string
	bundles    []string
	forwarding bool

	addr       string
	server     *server
	sent       int64
	took, used []time.Duration
}

// turn measures one batch on a new server.
func (p *peopleServer) turn(b *testing.B) {
	full := make([]string, len(p.bundles))
	for i, name := range p.bundles {
		full[i] = "carteiro/" + name
	}
	var stop func()
	p.addr, p.server, stop = startBench(b, scripts.Policy(), full...)
	defer stop()
	p.people(b)
	p.sent = 0
	p.batch(b, 1000)                   // among them the first to each user, which are answered
	time.Sleep(300 * time.Millisecond) // a benchmark's pause, so that replies of the first batch do not run in the second
	runtime.GC()
	began, used := time.Now(), cpu()
	p.batch(b, peopleBatch)
	p.took, p.used = append(p.took, time.Since(began)), append(p.used, cpu()-used)
}

// user is whom the nth message is for.
func (p *peopleServer) user(n int64) envelope.Address {
	return envelope.Address(fmt.Sprintf("u%d@our.example", n%100))
}

// mailbox is where it ends up.
func (p *peopleServer) mailbox(n int64) envelope.Address {
	if p.forwarding {
		return "to" + p.user(n)
	}
	return p.user(n)
}

// people are away, have delegates and forward.
func (p *peopleServer) people(b *testing.B) {
	d := p.server.directory
	for i := range int64(100) {
		if err := d.Set(b.Context(), p.user(i), "vacation", json.RawMessage(`{"active": true, "text": "I am away"}`), false); err != nil {
			b.Fatal(err)
		}
		if err := d.Grant(b.Context(), p.user(i), p.user(i+1), "send-as", time.Time{}); err != nil {
			b.Fatal(err)
		}
		if p.forwarding {
			if err := d.AddAccount(b.Context(), p.mailbox(i), ""); err != nil {
				b.Fatal(err)
			}
			if err := d.Set(b.Context(), p.user(i), "forward", json.RawMessage(fmt.Sprintf(`{"to": [%q]}`, p.mailbox(i))), true); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// batch sends messages over 20 connections and returns when all are delivered.
func (p *peopleServer) batch(b *testing.B, messages int64) {
	var wg sync.WaitGroup
	var next atomic.Int64
	next.Store(p.sent)
	p.sent += messages
	for range 20 {
		c, err := dialBench(p.addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.conn.Close()
		wg.Go(func() {
			for n := next.Add(1); n <= p.sent; n = next.Add(1) {
				from := "a@a.example"
				if n%100 == n/100%100 {
					from = fmt.Sprintf("a%d@a.example", n)
				}
				if err := c.send(from, string(p.user(n)), benchMessage(from, string(p.user(n)), n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for delivered := int64(0); delivered < p.sent && !b.Failed(); {
		delivered = 0
		for i := range int64(100) {
			info, err := p.server.store.Mailbox(b.Context(), p.mailbox(i), "INBOX")
			if err != nil {
				b.Fatal(err)
			}
			delivered += info.Count
		}
		time.Sleep(time.Millisecond)
	}
}

func median(list []time.Duration) time.Duration {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// ratio is the median of what each turn of two servers gives.
func ratio(of, by []time.Duration) float64 {
	list := make([]float64, len(of))
	for i := range of {
		list[i] = float64(of[i]) / float64(by[i])
	}
	slices.Sort(list)
	return list[len(list)/2]
}
