package pipeline_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/operate"
	"carteiro/hooks"
)

// exhaustedHandler exceeds its budget for mail whose subject is "dear".
func exhaustedHandler(p hooks.Point, asked *atomic.Int32) goHandler {
	return goHandler{hooks.Info{Point: p, File: "greedy.lua", Line: 7}, func(e *hooks.Event) (hooks.Verdict, error) {
		if v, _ := e.Msg.Header.Get("Subject"); v != "dear" {
			return hooks.Verdict{}, nil
		}
		asked.Add(1)
		return hooks.Verdict{}, fmt.Errorf("%w: %w: more than 5000000 instructions: greedy.lua:9", hooks.ErrHook, hooks.ErrExhausted)
	}}
}

func expensiveMessage(n int) string {
	return fmt.Sprintf("From: a@a.example\r\nMessage-ID: <%d@a.example>\r\nSubject: dear\r\n\r\nhello http://a.example/ and "+
		"https://a.example/\r\n", n)
}

func sessionFrom(ip string) *envelope.Session {
	s := newSession()
	s.Remote = netip.AddrPortFrom(netip.MustParseAddr(ip), 1025)
	return s
}

// A message that makes a policy exceed its budget three times within a day is accepted
// and quarantined, and the postmaster gets a notice.
func TestExhaustedIsQuarantined(t *testing.T) {
	for _, p := range []hooks.Point{hooks.ReceiveHeaders, hooks.ReceiveData, hooks.QueueExpand, hooks.QueueCommit} {
		t.Run(string(p), func(t *testing.T) {
			var asked atomic.Int32
			srv := newTestServer(t, core.Config{}, exhaustedHandler(p, &asked))
			send := func() *envelope.Status {
				defer srv.clock.Advance(2 * time.Minute)
				return srv.send(sessionFrom("198.51.100.7"), &envelope.Transaction{Sender: "a@a.example"}, expensiveMessage(1), "bob@our.example")
			}
			for n := range 2 {
				if st := send(); st == nil || st.Code != 451 {
					t.Fatalf("try %d is answered %v, want 451", n+1, st)
				}
			}
			st := srv.send(sessionFrom("198.51.100.7"), &envelope.Transaction{Sender: "a@a.example"}, expensiveMessage(2), "bob@our.example")
			if st == nil || st.Code != 451 {
				t.Errorf("the first try of another message is answered %v, want 451", st)
			}
			srv.clock.Advance(2 * time.Minute)
			if st := send(); st != nil {
				t.Fatalf("the third try is answered %v, want 250", st)
			}
			srv.waitFor("the postmaster is told", func() bool { return len(srv.mailbox("alice@our.example", "INBOX")) == 1 })
			notice := srv.mailbox("alice@our.example", "INBOX")[0]
			for _, want := range []string{"greedy.lua:7 ran out of its budget on it 3 times", `subject "dear"`, "1 parts, 2 links",
				"carteiro queue release "} {
				if !strings.Contains(notice, want) && !(p == hooks.ReceiveHeaders && strings.Contains(want, "links")) {
					t.Errorf("no %q in the notice:\n%s", want, notice)
				}
			}
			if st := send(); st != nil {
				t.Errorf("the fourth try is answered %v, want 250", st)
			}
			if got := srv.mailbox("bob@our.example", "INBOX"); len(got) != 0 {
				t.Errorf("bob got a quarantined message: %q", got)
			}
			found, err := srv.Queue(t.Context(), operate.Filter{Status: "quarantine"}, 0)
			if err != nil || len(found) != 2 {
				t.Fatalf("%d messages in quarantine, want 2, %v", len(found), err)
			}
			for _, f := range found {
				if err := srv.Operate(t.Context(), operate.OpRelease, f.Envelope.ID, ""); err != nil {
					t.Fatal(err)
				}
			}
			srv.Nudge()
			srv.waitFor("both are delivered", func() bool { return len(srv.mailbox("bob@our.example", "INBOX")) == 2 })
			if got := len(srv.mailbox("alice@our.example", "INBOX")); got != 1 {
				t.Errorf("the postmaster got %d notices, want 1", got)
			}
		})
	}
}

// The failures of a message are forgotten after a day.
func TestExhaustedIsForgotten(t *testing.T) {
	var asked atomic.Int32
	srv := newTestServer(t, core.Config{}, exhaustedHandler(hooks.ReceiveData, &asked))
	for n := range 6 {
		st := srv.send(sessionFrom("198.51.100.7"), &envelope.Transaction{Sender: "a@a.example"}, expensiveMessage(1), "bob@our.example")
		if st == nil || st.Code != 451 {
			t.Fatalf("try %d is answered %v, want 451", n+1, st)
		}
		srv.clock.Advance(25 * time.Hour)
	}
}

// If mail of one network makes a policy exceed its budget, mail of others is still
// delivered, and the policy is called only a few times.
func TestExhaustedByOneNetwork(t *testing.T) {
	var asked atomic.Int32
	srv := newTestServer(t, core.Config{}, exhaustedHandler(hooks.ReceiveData, &asked))
	for n := range 60 {
		if st := srv.send(sessionFrom(fmt.Sprintf("198.51.100.%d", n)), &envelope.Transaction{Sender: "a@a.example"}, expensiveMessage(n),
			"bob@our.example"); st == nil || st.Code != 451 {
			t.Fatalf("message %d is answered %v, want 451", n, st)
		}
	}
	if n := asked.Load(); n > 6 { // the minute may have changed in between
		t.Errorf("the policy was called %d times, want at most 6", n)
	}
	srv.mustSend(sessionFrom("203.0.113.9"), "b@b.example", plainMessage, "bob@our.example")
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "bob@our.example")
	st := srv.send(sessionFrom("198.51.100.7"), &envelope.Transaction{Sender: "c@a.example"}, plainMessage, "bob@our.example")
	if st == nil || st.Code != 451 {
		t.Errorf("other mail of that network is answered %v, want 451 until the minute is over", st)
	}
	srv.clock.Advance(2 * time.Minute)
	srv.mustSend(sessionFrom("198.51.100.7"), "c@a.example", plainMessage, "bob@our.example")
}

// With many networks the policy is called at most three times for each in a minute. If
// mail of twenty networks fails at once, the policy itself is at fault, and is not
// called for a while.
func TestExhaustedByManyNetworks(t *testing.T) {
	var asked atomic.Int32
	srv := newTestServer(t, core.Config{}, exhaustedHandler(hooks.ReceiveData, &asked))
	for n := range 10 {
		for net := range 30 {
			ip := fmt.Sprintf("10.0.%d.%d", net, n+1)
			st := srv.send(sessionFrom(ip), &envelope.Transaction{Sender: "a@a.example"}, expensiveMessage(30*n+net), "bob@our.example")
			if st == nil || st.Code != 451 {
				t.Fatalf("answer %v, want 451", st)
			}
		}
	}
	if n := asked.Load(); n > 2*3*30 {
		t.Errorf("the policy was called for %d of 300 messages, want at most three of each network", n)
	}
}
