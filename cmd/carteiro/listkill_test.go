package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/core/store"
)

// Test 9: killed in the middle of the fan-out to 10,000 members, twice. No
// member is missed, no local one gets a second copy, and a remote one gets
// one only if it was in flight.
func TestListKilled(t *testing.T) {
	const remote, localOnes = 9000, 1000
	var accounts []envelope.Address
	var roster strings.Builder
	for n := range localOnes {
		accounts = append(accounts, envelope.Address(fmt.Sprintf("m%d@l.test", n)))
		fmt.Fprintf(&roster, "m%d@l.test\n", n)
	}
	for n := range remote {
		fmt.Fprintf(&roster, "r%d@out.test\n", n)
	}
	l := newListLab(t, "")
	l.end(syscall.SIGTERM)
	if err := l.mailboxes(accounts); err != nil {
		t.Fatal(err)
	}
	if err := l.start("--test-clock"); err != nil {
		t.Fatal(err)
	}
	l.make("big@l.test", []string{"post=anyone"})
	path := filepath.Join(t.TempDir(), "roster")
	if err := os.WriteFile(path, []byte(roster.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	l.list("import", "big@l.test", path)
	if reply := l.post("x@out.test", "big@l.test", article("x@out.test", "big@l.test", "to all")); !strings.HasPrefix(reply, "250 ") {
		t.Fatal(reply)
	}
	inFlight := 0
	for kills := range 2 {
		for len(l.sink.all()) < (kills+1)*remote/4 {
			time.Sleep(time.Millisecond)
		}
		l.end(syscall.SIGKILL)
		inFlight += 20 // connections to one destination
		if err := l.start("--test-clock"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.sink.all()); n >= remote {
		t.Errorf("the fan-out was over before the second kill: %d copies", n)
	}
	l.drained()
	copies, ids := map[string]int{}, map[string]bool{}
	for _, m := range l.sink.all() {
		for _, to := range m.to {
			copies[to]++
		}
		ids[value(m.text, "Message-ID")] = true
	}
	twice := 0
	for n := range remote {
		if c := copies[fmt.Sprintf("r%d@out.test", n)]; c == 0 {
			t.Errorf("r%d got nothing", n)
		} else {
			twice += c - 1
		}
	}
	if twice > inFlight || len(ids) != 1 {
		t.Errorf("%d copies too many, at most %d were in flight; Message-IDs %v", twice, inFlight, ids)
	}
	l.end(syscall.SIGTERM)
	counts, err := l.counts(accounts)
	if err != nil {
		t.Fatal(err)
	}
	for a, n := range counts {
		if n != 1 {
			t.Errorf("%s has %d copies", a, n)
		}
	}
	t.Logf("%d remote members, %d of them twice; %d local ones, each once; killed twice", remote, twice, len(counts))
}

// drained waits until the queue is empty.
func (l *listLab) drained() {
	l.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := l.command("queue", "summary", "--json").Output()
		if err == nil && strings.TrimSpace(string(out)) == "[]" {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("%v\n%s", err, out)
		}
	}
}

// open opens the store of a server that does not run.
func (l *listLab) open() (*server, error) {
	cfg, err := config.Load(l.config())
	if err != nil {
		return nil, err
	}
	return openServer(l.t.Context(), cfg, serverOptions{offline: true, log: io.Discard})
}

// mailboxes makes accounts that nobody logs in to.
func (l *listLab) mailboxes(accounts []envelope.Address) error {
	s, err := l.open()
	if err != nil {
		return err
	}
	defer s.close()
	for _, a := range accounts {
		if err := s.directory.AddAccount(l.t.Context(), a, ""); err != nil {
			return err
		}
	}
	return nil
}

// counts is how many messages each account has.
func (l *listLab) counts(accounts []envelope.Address) (map[envelope.Address]int64, error) {
	s, err := l.open()
	if err != nil {
		return nil, err
	}
	defer s.close()
	out := map[envelope.Address]int64{}
	for _, a := range accounts {
		info, err := s.store.Mailbox(l.t.Context(), a, store.Inbox)
		if err != nil {
			return nil, err
		}
		out[a] = info.Count
	}
	return out, nil
}
