package pipeline_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// replace loads other policies, as a reload does.
func (srv *testServer) replace(id string, handlers ...hooks.Handler) {
	if old := srv.policies.Swap(&hooks.Generation{ID: id, Chain: hooks.NewChain(handlers)}); old != nil {
		old.Retire(srv.clock.Now())
	}
}

// A transaction keeps the generation that it began with for at most ten minutes after
// a reload.
func TestOutlivedTransaction(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	open := func() (*envelope.Session, *envelope.Transaction) {
		s, tx := newSession(), &envelope.Transaction{Sender: "a@a.example"}
		if st := srv.Mail(t.Context(), s, tx); st != nil {
			t.Fatal(st)
		}
		return s, tx
	}
	rcpt := func(s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
		r := &envelope.Recipient{Address: "alice@our.example"}
		st := srv.Rcpt(t.Context(), s, tx, r)
		if st == nil {
			tx.Recipients = append(tx.Recipients, r)
		}
		return st
	}
	s, tx := open()
	slow, slowTx := open()
	srv.replace("new")
	srv.clock.Advance(9 * time.Minute)
	if st := rcpt(s, tx); st != nil {
		t.Errorf("RCPT after nine minutes: got %v, want 250", st)
	}
	if st := rcpt(slow, slowTx); st != nil {
		t.Errorf("RCPT after nine minutes, second session: got %v, want 250", st)
	}
	if st, _ := srv.Data(t.Context(), s, tx, strings.NewReader(plainMessage)); st != nil {
		t.Errorf("DATA after nine minutes: got %v, want 250", st)
	}
	srv.clock.Advance(2 * time.Minute)
	if st := rcpt(slow, slowTx); st == nil || st.Code != 451 {
		t.Errorf("RCPT after eleven minutes: got %v, want 451", st)
	}
	if st, _ := srv.Data(t.Context(), slow, slowTx, strings.NewReader(plainMessage)); st == nil || st.Code != 451 {
		t.Errorf("DATA after eleven minutes: got %v, want 451", st)
	}
	srv.End(s, tx)
	srv.End(slow, slowTx)
	s, tx = open()
	if st := rcpt(s, tx); st != nil {
		t.Errorf("RCPT of the next transaction: got %v, want 250", st)
	}
	srv.End(s, tx)
	srv.waitFor("the message is there", func() bool { return len(srv.mailbox("alice@our.example", "INBOX")) == 1 })
}

// The current policies run for messages in the queue, and cached routes of earlier
// policies are not used.
func TestQueuedMailMeetsTheGenerationInForce(t *testing.T) {
	var asked atomic.Int32
	to := func(host string) hooks.Handler {
		return handlerAt(hooks.RouteResolve, func(*hooks.Event) (hooks.Verdict, error) {
			asked.Add(1)
			return hooks.Verdict{Action: hooks.RouteTo, Route: &hooks.Route{Hosts: []string{host}, TTL: time.Hour}}, nil
		})
	}
	srv := newTestServer(t, core.Config{Retry: []time.Duration{time.Minute}}, to("old.example"))
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: x\r\n\r\ntext\r\n",
		"x@out.example")
	tries := func(n int) {
		t.Helper()
		srv.waitFor("it is tried", func() bool { return len(srv.transport.messages()) == n })
		srv.waitIdle()
	}
	tries(1)
	srv.clock.Advance(2 * time.Minute)
	tries(2)
	if asked.Load() != 1 {
		t.Errorf("route.resolve ran %d times for one domain, want once", asked.Load())
	}
	srv.replace("new", to("new.example"))
	srv.clock.Advance(2 * time.Minute)
	tries(3)
	for i, want := range []string{"old.example", "old.example", "new.example"} {
		if got := srv.transport.messages()[i].hop.Hosts[0].Name; got != want {
			t.Errorf("attempt %d went to %s, want %s", i+1, got, want)
		}
	}
}
