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

// greedy runs out of its budget on mail whose subject is "dear".
func greedy(p hooks.Point, asked *atomic.Int32) handler {
	return handler{hooks.Info{Point: p, File: "greedy.lua", Line: 7}, func(e *hooks.Event) (hooks.Verdict, error) {
		if v, _ := e.Msg.Header.Get("Subject"); v != "dear" {
			return hooks.Verdict{}, nil
		}
		asked.Add(1)
		return hooks.Verdict{}, fmt.Errorf("%w: %w: more than 5000000 instructions: greedy.lua:9", hooks.ErrHook, hooks.ErrExhausted)
	}}
}

func dear(n int) string {
	return fmt.Sprintf("From: a@a.example\r\nMessage-ID: <%d@a.example>\r\nSubject: dear\r\n\r\nhello http://a.example/ and "+
		"https://a.example/\r\n", n)
}

func from(ip string) *envelope.Session {
	s := session()
	s.Remote = netip.AddrPortFrom(netip.MustParseAddr(ip), 1025)
	return s
}

// A message that three times within a day runs a policy out of its budget is
// taken and kept apart, and the postmaster is told.
func TestExhaustedIsQuarantined(t *testing.T) {
	for _, p := range []hooks.Point{hooks.ReceiveHeaders, hooks.ReceiveData, hooks.QueueExpand, hooks.QueueCommit} {
		t.Run(string(p), func(t *testing.T) {
			var asked atomic.Int32
			h := newHouse(t, core.Config{}, greedy(p, &asked))
			send := func() *envelope.Status {
				defer h.clock.Advance(2 * time.Minute)
				return h.offer(from("198.51.100.7"), &envelope.Transaction{Sender: "a@a.example"}, dear(1), "bob@our.example")
			}
			for n := range 2 {
				if st := send(); st == nil || st.Code != 451 {
					t.Fatalf("try %d is answered %v, want 451", n+1, st)
				}
			}
			if st := h.offer(from("198.51.100.7"), &envelope.Transaction{Sender: "a@a.example"}, dear(2), "bob@our.example"); st == nil ||
				st.Code != 451 {
				t.Errorf("another message is answered %v, want 451", st)
			}
			h.clock.Advance(2 * time.Minute)
			if st := send(); st != nil {
				t.Fatalf("the third try is answered %v, want 250", st)
			}
			h.until("the postmaster is told", func() bool { return len(h.box("alice@our.example", "INBOX")) == 1 })
			notice := h.box("alice@our.example", "INBOX")[0]
			for _, want := range []string{"greedy.lua:7 ran out of its budget on it 3 times", `subject "dear"`, "1 parts, 2 links",
				"carteiro queue release "} {
				if !strings.Contains(notice, want) && !(p == hooks.ReceiveHeaders && strings.Contains(want, "links")) {
					t.Errorf("no %q in the notice:\n%s", want, notice)
				}
			}
			if st := send(); st != nil {
				t.Errorf("the fourth try is answered %v, want 250", st)
			}
			if got := h.box("bob@our.example", "INBOX"); len(got) != 0 {
				t.Errorf("bob has it: %q", got)
			}
			found, err := h.Queue(t.Context(), operate.Filter{Status: "quarantine"}, 0)
			if err != nil || len(found) != 2 {
				t.Fatalf("%d messages in quarantine, want 2, %v", len(found), err)
			}
			for _, f := range found {
				if err := h.Operate(t.Context(), operate.OpRelease, f.Envelope.ID, ""); err != nil {
					t.Fatal(err)
				}
			}
			h.Nudge()
			h.until("both are delivered", func() bool { return len(h.box("bob@our.example", "INBOX")) == 2 })
			if got := len(h.box("alice@our.example", "INBOX")); got != 1 {
				t.Errorf("the postmaster is told %d times, want once", got)
			}
		})
	}
}

// The failures of a message are forgotten after a day.
func TestExhaustedIsForgotten(t *testing.T) {
	var asked atomic.Int32
	h := newHouse(t, core.Config{}, greedy(hooks.ReceiveData, &asked))
	for n := range 6 {
		if st := h.offer(from("198.51.100.7"), &envelope.Transaction{Sender: "a@a.example"}, dear(1), "bob@our.example"); st == nil ||
			st.Code != 451 {
			t.Fatalf("try %d is answered %v, want 451", n+1, st)
		}
		h.clock.Advance(25 * time.Hour)
	}
}

// Mail of one network that runs a policy out of its budget costs neither others
// their delivery nor the server more than a few calls.
func TestExhaustedByOneNetwork(t *testing.T) {
	var asked atomic.Int32
	h := newHouse(t, core.Config{}, greedy(hooks.ReceiveData, &asked))
	for n := range 60 {
		if st := h.offer(from(fmt.Sprintf("198.51.100.%d", n)), &envelope.Transaction{Sender: "a@a.example"}, dear(n),
			"bob@our.example"); st == nil || st.Code != 451 {
			t.Fatalf("message %d is answered %v, want 451", n, st)
		}
	}
	if n := asked.Load(); n > 6 { // the minute may have changed in between
		t.Errorf("the policy was asked %d times, want 3", n)
	}
	h.accept(from("203.0.113.9"), "b@b.example", plain, "bob@our.example")
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "bob@our.example")
	if st := h.offer(from("198.51.100.7"), &envelope.Transaction{Sender: "c@a.example"}, plain, "bob@our.example"); st == nil ||
		st.Code != 451 {
		t.Errorf("other mail of that network is answered %v, want 451 until the minute is over", st)
	}
	h.clock.Advance(2 * time.Minute)
	h.accept(from("198.51.100.7"), "c@a.example", plain, "bob@our.example")
}

// From many networks it costs at most three calls for each in a minute, and
// twenty networks at once are taken for an ill policy, which rests.
func TestExhaustedByManyNetworks(t *testing.T) {
	var asked atomic.Int32
	h := newHouse(t, core.Config{}, greedy(hooks.ReceiveData, &asked))
	for n := range 10 {
		for net := range 30 {
			ip := fmt.Sprintf("10.0.%d.%d", net, n+1)
			if st := h.offer(from(ip), &envelope.Transaction{Sender: "a@a.example"}, dear(30*n+net), "bob@our.example"); st == nil ||
				st.Code != 451 {
				t.Fatalf("answer %v, want 451", st)
			}
		}
	}
	if n := asked.Load(); n > 2*3*30 {
		t.Errorf("the policy was asked about %d of 300 messages, want at most three of each network", n)
	}
}
