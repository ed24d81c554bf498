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
	srv := newTestServer(t, core.Config{})
	ctx := t.Context()
	down := true
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		if down {
			return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	send := func() envelope.ID {
		id := srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
		srv.waitIdle()
		return id
	}
	one := func(f operate.Filter) int {
		t.Helper()
		q, err := srv.Queue(ctx, f, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(q)
	}
	a, b, c := send(), send(), send()
	if one(operate.Filter{Status: "deferred"}) != 3 || one(operate.Filter{Domain: "out.example", Sender: "alice@our.example"}) != 3 ||
		one(operate.Filter{To: "y@out.example"}) != 0 || one(operate.Filter{OlderThan: time.Hour}) != 0 {
		t.Error("a filter selects the wrong number of messages")
	}
	if err := srv.Operate(ctx, operate.OpHold, a, "wait"); err != nil {
		t.Fatal(err)
	}
	if one(operate.Filter{Status: "held"}) != 1 {
		t.Error("want one message with status held after hold")
	}
	if err := srv.Operate(ctx, operate.OpDrop, b, ""); err != nil {
		t.Fatal(err)
	}
	if err := srv.Operate(ctx, operate.OpBounce, c, ""); err != nil {
		t.Fatal(err)
	}
	srv.waitFor("the DSN", func() bool { return len(srv.mailbox("alice@our.example", "INBOX")) == 1 })
	if got := srv.mailbox("alice@our.example", "INBOX")[0]; !strings.Contains(got, "returned by the postmaster") {
		t.Errorf("no \"returned by the postmaster\" in the DSN: %s", got)
	}
	n := len(srv.transport.messages())
	srv.clock.Advance(time.Hour)
	srv.waitIdle()
	if len(srv.transport.messages()) != n {
		t.Error("a held message was tried")
	}
	down = false
	if err := srv.Operate(ctx, operate.OpRelease, a, ""); err != nil {
		t.Fatal(err)
	}
	srv.waitFor("delivery after release", func() bool { return srv.spoolCount() == 0 })
	if err := srv.Operate(ctx, operate.OpHold, a, ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("hold of a delivered message: got %v, want ErrNotFound", err)
	}
}

func TestRetryNow(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
	}
	id := srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
	srv.waitFor("a try", func() bool { return len(srv.transport.messages()) == 1 })
	srv.waitIdle()
	if err := srv.Operate(t.Context(), operate.OpRetry, id, ""); err != nil {
		t.Fatal(err)
	}
	srv.waitFor("another try", func() bool { return len(srv.transport.messages()) == 2 })
}
