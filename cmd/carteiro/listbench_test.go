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

	"carteiro/core/admin"
	"carteiro/core/mail"
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
	for end := start.Add(15 * time.Minute); copies()-before < listSize; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d copies have gone within a quarter of an hour", copies()-before)
		}
	}
	p.done = time.Since(start)
	return p
}

// BenchmarkPeersList posts 4 KiB to 10,000 members elsewhere, each with a
// return path of its own, by way of Carteiro, and of mlmmj with Postfix, which
// both hand them to the same server. Carteiro signs each copy (DKIM, RSA) in
// its second form; in the third the members have their mailboxes here.
func BenchmarkPeersList(b *testing.B) {
	program := need(b, "postfix")
	need(b, "mlmmj-receive")
	l := newListLab(b, "")
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
	var accounts []mail.Address
	for n := range listSize {
		accounts = append(accounts, mail.Address(fmt.Sprintf("m%d@m.test", n)))
	}
	l.end(syscall.SIGTERM)
	if err := l.mailboxes(accounts); err != nil {
		b.Fatal(err)
	}
	if err := l.start("--test-clock"); err != nil {
		b.Fatal(err)
	}
	roster("plain@l.test", "out.test")
	roster("local@l.test", "m.test")
	roster("signed@m.test", "out.test")
	l.publish("m.test")
	m := newMlmmj(b, program, l, members("out.test"))
	text := func(to string) string {
		return article("x@out.test", to, "to all") + strings.Repeat(strings.Repeat("carteiro ", 8)+"\n", 4096/73)
	}
	sunk := func() int { return len(l.sink.all()) }
	delivered := func() int { return int(l.metric(`carteiro_delivery_attempts_total{kind="local",result="delivered"}`)) }
	for round := range peerRounds {
		for _, s := range []struct {
			name string
			run  func() posted
		}{
			{"carteiro/elsewhere", func() posted {
				return measured(b, func() string { return l.post("x@out.test", "plain@l.test", text("plain@l.test")) }, sunk)
			}},
			{"mlmmj/elsewhere", func() posted { return measured(b, func() string { return m.post(b, text("list@example.net")) }, sunk) }},
			{"carteiro/signed", func() posted {
				return measured(b, func() string { return l.post("x@out.test", "signed@m.test", text("signed@m.test")) }, sunk)
			}},
			{"carteiro/local", func() posted {
				return measured(b, func() string { return l.post("x@out.test", "local@l.test", text("local@l.test")) }, delivered)
			}},
		} {
			if round > 0 && strings.HasPrefix(s.name, "mlmmj") { // minutes, each time
				continue
			}
			before := l.disk()
			b.Run(s.name, func(b *testing.B) {
				var p posted
				for b.Loop() {
					p = s.run()
				}
				p.report(b)
				if grown := l.disk() - before; strings.HasPrefix(s.name, "carteiro") {
					b.ReportMetric(float64(grown)/listSize, "B/member")
				}
			})
			l.sink.forget()
			l.house.idle(b)
			m.idle(b)
		}
	}
}

// forget drops what came, so that memory does not grow.
func (s *smtpSink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = nil
}

// metric is one value of /metrics.
func (l *listLab) metric(name string) (v float64) {
	_, body := l.web("GET", "http://x/metrics", "")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			fmt.Sscan(rest, &v)
		}
	}
	return v
}

// disk is what the store takes.
func (l *listLab) disk() int64 {
	out, err := l.command("status", "--json").Output()
	var s admin.StatusReport
	if err != nil || json.Unmarshal(out, &s) != nil {
		l.t.Fatalf("status: %v\n%s", err, out)
	}
	return s.Store.Disk
}

// mlmmj is a list of mlmmj, list@example.net, behind Postfix.
type mlmmj struct{ *postfix }

func newMlmmj(b *testing.B, program string, l *listLab, members string) *mlmmj {
	b.Helper()
	p := newPostfix(b)
	dir := filepath.Join(p.dir, "list")
	p.more = fmt.Sprintf("in_flow_delay = 0\nsmtpd_client_connection_count_limit = 0\ntransport_maps = inline:{ { list@example.net = mlmmj:list }, { out.test = smtp:[127.0.0.1]:%s } }\nvirtual_mailbox_maps = inline:{ list@example.net=list/ }\n"+
		"mlmmj_destination_recipient_limit = 1\nsmtp_tls_security_level = none\nrecipient_delimiter = +\n", l.sink.port)
	p.services = fmt.Sprintf("mlmmj unix - n n - - pipe flags=ORhu user=nobody argv=/usr/bin/mlmmj-receive -F -L %s/\n", dir)
	h := newHouse(b, "") // for its certificate
	p.start(b, program, h)
	for _, sub := range []string{"incoming", "queue/discarded", "archive", "text", "subconf", "unsubconf", "bounce", "control", "moderation", "subscribers.d", "digesters.d", "requeue", "nomailsubs.d"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o777); err != nil {
			b.Fatal(err)
		}
	}
	for name, text := range map[string]string{"control/listaddress": "list@example.net\n", "control/relayhost": "127.0.0.1\n", "control/smtpport": p.port + "\n", "control/owner": "owner@example.net\n",
		"control/tocc": "", "control/noarchive": "", "control/delimiter": "+\n", "subscribers.d/m": members, "index": "0"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			b.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(b.Context(), "chown", "-R", "nobody", dir).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return &mlmmj{p}
}

// post gives a message to Postfix, which hands it to mlmmj.
func (m *mlmmj) post(b *testing.B, text string) string {
	reply, err := sendSMTP("127.0.0.1:"+m.port, "EHLO client.test", "x@out.test", []string{"list@example.net"}, text)
	if err != nil {
		b.Fatal(err)
	}
	return reply
}
