package pipeline_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/operate"
	"carteiro/core/store"
)

func TestOperations(t *testing.T) {
	h := newHouse(t, core.Config{})
	ctx := t.Context()
	down := true
	h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		if down {
			return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	send := func() envelope.ID {
		id := h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
		h.idle()
		return id
	}
	one := func(f operate.Filter) int {
		t.Helper()
		q, err := h.Queue(ctx, f, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(q)
	}
	a, b, c := send(), send(), send()
	if one(operate.Filter{Status: "deferred"}) != 3 || one(operate.Filter{Domain: "out.example", Sender: "alice@our.example"}) != 3 ||
		one(operate.Filter{To: "y@out.example"}) != 0 || one(operate.Filter{OlderThan: time.Hour}) != 0 {
		t.Error("filters select wrongly")
	}
	if err := h.Operate(ctx, operate.OpHold, a, "wait"); err != nil {
		t.Fatal(err)
	}
	if one(operate.Filter{Status: "held"}) != 1 {
		t.Error("hold")
	}
	if err := h.Operate(ctx, operate.OpDrop, b, ""); err != nil {
		t.Fatal(err)
	}
	if err := h.Operate(ctx, operate.OpBounce, c, ""); err != nil {
		t.Fatal(err)
	}
	h.until("the DSN", func() bool { return len(h.box("alice@our.example", "INBOX")) == 1 })
	if got := h.box("alice@our.example", "INBOX")[0]; !strings.Contains(got, "returned by the postmaster") {
		t.Errorf("DSN: %s", got)
	}
	n := len(h.sink.all())
	h.clock.Advance(time.Hour)
	h.idle()
	if len(h.sink.all()) != n {
		t.Error("a held message was tried")
	}
	down = false
	if err := h.Operate(ctx, operate.OpRelease, a, ""); err != nil {
		t.Fatal(err)
	}
	h.until("delivery after release", func() bool { return h.spooled() == 0 })
	if err := h.Operate(ctx, operate.OpHold, a, ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a message that has gone: %v", err)
	}
}

func TestRetryNow(t *testing.T) {
	h := newHouse(t, core.Config{})
	h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
	}
	id := h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
	h.until("a try", func() bool { return len(h.sink.all()) == 1 })
	h.idle()
	if err := h.Operate(t.Context(), operate.OpRetry, id, ""); err != nil {
		t.Fatal(err)
	}
	h.until("another try", func() bool { return len(h.sink.all()) == 2 })
}
