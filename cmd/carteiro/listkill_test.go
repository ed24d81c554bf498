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

	"carteiro/cmd/carteiro/internal/testserver"
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
	l := newListRig(t, "")
	l.Stop(syscall.SIGTERM)
	if err := l.mailboxes(accounts); err != nil {
		t.Fatal(err)
	}
	if err := l.Start("--test-clock"); err != nil {
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
		for len(l.mx.All()) < (kills+1)*remote/4 {
			time.Sleep(time.Millisecond)
		}
		l.Stop(syscall.SIGKILL)
		inFlight += 20 // connections to one destination
		if err := l.Start("--test-clock"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.mx.All()); n >= remote {
		t.Errorf("the fan-out was over before the second kill: %d copies", n)
	}
	l.WaitQueueEmptyWithin(l.t, 2*time.Minute)
	copies, ids := map[string]int{}, map[string]bool{}
	for _, m := range l.mx.All() {
		for _, to := range m.To {
			copies[to]++
		}
		ids[testserver.Header(m.LF(), "Message-ID")] = true
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
	l.Stop(syscall.SIGTERM)
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

// open opens the store of a server that does not run.
func (l *listRig) open() (*server, error) {
	cfg, err := config.Load(l.ConfigFile())
	if err != nil {
		return nil, err
	}
	return openServer(l.t.Context(), cfg, serverOptions{offline: true, log: io.Discard})
}

// mailboxes makes accounts that nobody logs in to.
func (l *listRig) mailboxes(accounts []envelope.Address) error {
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
func (l *listRig) counts(accounts []envelope.Address) (map[envelope.Address]int64, error) {
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
