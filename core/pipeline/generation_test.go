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

// replace puts other policies in force, as a reload does.
func (h *house) replace(id string, handlers ...hooks.Handler) {
	if old := h.gen.Swap(&hooks.Generation{ID: id, Chain: hooks.NewChain(handlers)}); old != nil {
		old.Retire(h.clock.Now())
	}
}

// A transaction keeps the generation that it began with for ten minutes after
// a reload, and not for as long as the client pleases.
func TestOutlivedTransaction(t *testing.T) {
	h := newHouse(t, core.Config{})
	open := func() (*envelope.Session, *envelope.Transaction) {
		s, tx := session(), &envelope.Transaction{Sender: "a@a.example"}
		if st := h.Mail(t.Context(), s, tx); st != nil {
			t.Fatal(st)
		}
		return s, tx
	}
	rcpt := func(s *envelope.Session, tx *envelope.Transaction) *envelope.Status {
		r := &envelope.Recipient{Address: "alice@our.example"}
		st := h.Rcpt(t.Context(), s, tx, r)
		if st == nil {
			tx.Recipients = append(tx.Recipients, r)
		}
		return st
	}
	s, tx := open()
	slow, slowTx := open()
	h.replace("new")
	h.clock.Advance(9 * time.Minute)
	if st := rcpt(s, tx); st != nil {
		t.Errorf("after nine minutes: %v", st)
	}
	if st := rcpt(slow, slowTx); st != nil {
		t.Errorf("after nine minutes: %v", st)
	}
	if st, _ := h.Data(t.Context(), s, tx, strings.NewReader(plain)); st != nil {
		t.Errorf("after nine minutes: %v", st)
	}
	h.clock.Advance(2 * time.Minute)
	if st := rcpt(slow, slowTx); st == nil || st.Code != 451 {
		t.Errorf("RCPT after eleven minutes: %v", st)
	}
	if st, _ := h.Data(t.Context(), slow, slowTx, strings.NewReader(plain)); st == nil || st.Code != 451 {
		t.Errorf("DATA after eleven minutes: %v", st)
	}
	h.End(s, tx)
	h.End(slow, slowTx)
	s, tx = open()
	if st := rcpt(s, tx); st != nil {
		t.Errorf("the next transaction: %v", st)
	}
	h.End(s, tx)
	h.until("the message is there", func() bool { return len(h.box("alice@our.example", "INBOX")) == 1 })
}

// What is in the queue is asked about by the policies in force, and routes
// that others gave are not remembered.
func TestQueuedMailMeetsTheGenerationInForce(t *testing.T) {
	var asked atomic.Int32
	to := func(host string) hooks.Handler {
		return at(hooks.RouteResolve, func(*hooks.Event) (hooks.Verdict, error) {
			asked.Add(1)
			return hooks.Verdict{Action: hooks.RouteTo, Route: &hooks.Route{Hosts: []string{host}, TTL: time.Hour}}, nil
		})
	}
	h := newHouse(t, core.Config{Retry: []time.Duration{time.Minute}}, to("old.example"))
	h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: x\r\n\r\ntext\r\n", "x@out.example")
	tries := func(n int) {
		t.Helper()
		h.until("it is tried", func() bool { return len(h.sink.all()) == n })
		h.idle()
	}
	tries(1)
	h.clock.Advance(2 * time.Minute)
	tries(2)
	if asked.Load() != 1 {
		t.Errorf("route.resolve was asked %d times for one domain", asked.Load())
	}
	h.replace("new", to("new.example"))
	h.clock.Advance(2 * time.Minute)
	tries(3)
	for i, want := range []string{"old.example", "old.example", "new.example"} {
		if got := h.sink.all()[i].hop.Hosts[0].Name; got != want {
			t.Errorf("try %d went to %s, want %s", i+1, got, want)
		}
	}
}
