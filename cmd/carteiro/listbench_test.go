package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
)

// listSize is the number of members of the lists that are measured.
const listSize = 10_000

// posted is what one post took: until it was acknowledged, and until the last
// member's copy had gone.
type posted struct{ acknowledged, done time.Duration }

func (p posted) report(b *testing.B) {
	b.ReportMetric(float64(p.done.Nanoseconds())/listSize, "ns/op")
	b.ReportMetric(float64(p.acknowledged.Milliseconds()), "ms-to-250")
	b.ReportMetric(p.done.Seconds(), "s-to-last-copy")
}

// measured posts once and waits for all copies.
func measured(b *testing.B, post func() string, copies func() int) posted {
	b.Helper()
	before, start := copies(), time.Now()
	if reply := post(); !strings.HasPrefix(reply, "250 ") {
		b.Fatal(reply)
	}
	p := posted{acknowledged: time.Since(start)}
	for end := start.Add(30 * time.Minute); copies()-before < listSize; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d copies have gone within half an hour", copies()-before)
		}
	}
	p.done = time.Since(start)
	return p
}

// BenchmarkPeersList posts 4 KiB to 10,000 members on other servers, each with another
// return path, with Carteiro, and with mlmmj and Mailman 3 with Postfix. All deliver to the
// same server. In its second form Carteiro signs each copy (DKIM, RSA); in the third the
// members have their mailboxes here.
func BenchmarkPeersList(b *testing.B) {
	program := need(b, "postfix")
	l := newListRig(b, "")
	members := func(at string) string {
		var out strings.Builder
		for n := range listSize {
			fmt.Fprintf(&out, "m%d@%s\n", n, at)
		}
		return out.String()
	}
	roster := func(list, at string) {
		path := filepath.Join(b.TempDir(), "roster")
		if err := os.WriteFile(path, []byte(members(at)), 0o600); err != nil {
			b.Fatal(err)
		}
		l.make(list, []string{"post=anyone"})
		l.list("import", list, path)
	}
	var accounts []envelope.Address
	for n := range listSize {
		accounts = append(accounts, envelope.Address(fmt.Sprintf("m%d@m.test", n)))
	}
	l.Stop(syscall.SIGTERM)
	if err := l.mailboxes(accounts); err != nil {
		b.Fatal(err)
	}
	if err := l.Start("--test-clock"); err != nil {
		b.Fatal(err)
	}
	roster("plain@l.test", "out.test")
	roster("local@l.test", "m.test")
	roster("signed@m.test", "out.test")
	testserver.PublishDKIM(l.t, l.Server, l.dns, "m.test")
	var peers []listPeer
	if _, err := exec.LookPath("mlmmj-receive"); err == nil {
		peers = append(peers, newMlmmj(b, program, l, members("out.test")))
	}
	if _, err := exec.LookPath("mailman-wrapper"); err == nil {
		peers = append(peers, newMailman(b, program, l, members("out.test")))
	}
	text := func(to string) string {
		return article("m1@out.test", to, "to all") + strings.Repeat(strings.Repeat("carteiro ", 8)+"\n", 4096/73)
	}
	sunk := func() int { return len(l.mx.All()) }
	delivered := func() int { return int(l.metric(`carteiro_delivery_attempts_total{kind="local",result="delivered"}`)) }
	type way struct {
		name string
		run  func() posted
	}
	byUs := func(name, list string, copies func() int) way {
		return way{"carteiro/" + name, func() posted {
			return measured(b, func() string { return l.post("m1@out.test", list, text(list)) }, copies)
		}}
	}
	ways := []way{byUs("elsewhere", "plain@l.test", sunk), byUs("signed", "signed@m.test", sunk), byUs("local", "local@l.test", delivered)}
	for _, p := range peers {
		ways = append(ways, way{p.name + "/elsewhere", func() posted {
			return measured(b, func() string {
				return p.post(b,
					text("list@example.net"))
			}, sunk)
		}})
	}
	for round := range peerRounds {
		for _, w := range ways {
			if round > 0 && !strings.HasPrefix(w.name, "carteiro") { // minutes, each time
				continue
			}
			before := l.disk()
			b.Run(w.name, func(b *testing.B) {
				var p posted
				for b.Loop() {
					p = w.run()
				}
				p.report(b)
				if grown := l.disk() - before; strings.HasPrefix(w.name, "carteiro") {
					b.ReportMetric(float64(grown)/listSize, "B/member")
				}
			})
			l.mx.Take()
			l.WaitQueueEmpty(b)
			for _, p := range peers {
				p.idle(b)
			}
		}
	}
}

// metric is one value of /metrics.
func (l *listRig) metric(name string) (v float64) {
	_, body := l.web("GET", "http://x/metrics", "")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			fmt.Sscan(rest, &v)
		}
	}
	return v
}

// disk is what the store takes.
func (l *listRig) disk() int64 {
	out, err := l.Command("status", "--json").Output()
	var s admin.StatusReport
	if err != nil || json.Unmarshal(out, &s) != nil {
		l.t.Fatalf("status: %v\n%s", err, out)
	}
	return s.Store.Disk
}
