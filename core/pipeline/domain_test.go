package pipeline_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// TestLocalGroupsOfDomains: a message to users of two domains of ours has one group for
// each domain, so that the policies of a domain see only its group.
func TestLocalGroupsOfDomains(t *testing.T) {
	var mu sync.Mutex
	var saw []string
	var handlers []hooks.Handler
	for _, p := range []hooks.Point{hooks.QueueCommit, hooks.DeliverAttempt} {
		for name, info := range map[string]hooks.Info{"of": {Domains: []string{"b.example"}}, "but": {Except: []string{"b.example"}}} {
			info.Point, info.File, info.Line = p, name+".lua", 1
			handlers = append(handlers, goHandler{info, func(e *hooks.Event) (hooks.Verdict, error) {
				mu.Lock()
				defer mu.Unlock()
				saw = append(saw, fmt.Sprintf("%s %s %s %d", p, name, e.Group.Domain, len(e.Group.Recipients)))
				return hooks.Verdict{}, nil
			}})
		}
	}
	srv := newTestServer(t, core.Config{}, handlers...)
	d := srv.accounts
	if err := d.AddDomain(t.Context(), "b.example"); err != nil {
		t.Fatal(err)
	}
	if err := d.AddAccount(t.Context(), "carol@b.example", ""); err != nil {
		t.Fatal(err)
	}
	srv.mustSend(newSession(), "x@x.example", "Subject: x\r\n\r\nx\r\n", "alice@our.example", "carol@b.example", "bob@our.example")
	srv.waitIdle()
	for _, a := range []envelope.Address{"alice@our.example", "bob@our.example", "carol@b.example"} {
		if n := len(srv.mailbox(a, "INBOX")); n != 1 {
			t.Errorf("%s has %d messages, want 1", a, n)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(saw)
	want := []string{"deliver.attempt but our.example 2", "deliver.attempt of b.example 1", "queue.commit but our.example 2",
		"queue.commit of b.example 1"}
	if !slices.Equal(saw, want) {
		t.Errorf("saw %q, want %q", saw, want)
	}
}
