package pipeline_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// A handler that runs after the 250 cannot refuse the message. It knows the session,
// its effects have a separate commit, and it is tried again, also after a restart,
// until it has succeeded once.
func TestAsync(t *testing.T) {
	var asked atomic.Int64
	var fails atomic.Bool
	fails.Store(true)
	policies := func() []hooks.Handler {
		return []hooks.Handler{handlerAt(hooks.ReceiveData, func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, nil }),
			handlerAt(hooks.ReceiveAfter, func(e *hooks.Event) (hooks.Verdict, error) {
				asked.Add(1)
				if err := e.AddEffect(envelope.Effect{Space: "s", Op: envelope.Incr, Key: "ran", N: 1}); err != nil {
					return hooks.Verdict{}, err
				}
				if fails.Load() {
					return hooks.Verdict{}, errors.New("not yet")
				}
				body, err := e.Msg.Body()
				if err != nil {
					return hooks.Verdict{}, err
				}
				defer body.Close()
				text, err := io.ReadAll(body)
				s, tx := e.Session, e.Tx
				if err != nil || string(text) != "hello\r\n" || s.Remote.Addr().String() != "192.0.2.7" || s.Helo != "client.example" ||
					s.Listener != "mx" || !s.Closed.Load() ||
					s.Identity != nil || tx.Sender != "a@a.example" || len(tx.Recipients) != 2 || !tx.Recipients[0].IsLocal ||
					tx.Recipients[1].Address != "bob@our.example" {
					return hooks.Verdict{}, errors.New("not what came")
				}
				if err := e.SetSender("x@x.example"); err == nil {
					return hooks.Verdict{}, errors.New("the sender can be changed")
				}
				return hooks.Verdict{}, nil
			})}
	}
	dir := t.TempDir()
	srv := openTestServer(t, dir, core.Config{}, policies()...)
	srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example", "bob@our.example")
	srv.waitFor("the handler was called", func() bool { return asked.Load() == 1 && srv.InFlight() == 0 })
	srv.waitFor("the mail has arrived", func() bool { return len(srv.mailbox("bob@our.example", "INBOX")) == 1 })
	if n := srv.spoolCount(); n != 1 {
		t.Fatalf("%d messages in the spool, want 1", n)
	}
	srv.stop()
	fails.Store(false)
	srv = openTestServer(t, dir, core.Config{}, policies()...)
	srv.clock.Advance(10 * time.Minute)
	srv.waitFor("it has run", func() bool { return srv.spoolCount() == 0 })
	if v, err := srv.store.Get(context.Background(), "s", "ran"); err != nil || string(v) != "1" || asked.Load() != 2 {
		t.Errorf("ran %s times, called %d times, %v; want 1 and 2", v, asked.Load(), err)
	}
	// For a message that nobody gets the handler does not run.
	drop := handlerAt(hooks.ReceiveRcpt, func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Discard}, nil })
	srv.policies.Swap(&hooks.Generation{ID: "drop", Chain: hooks.NewChain(append(policies(), drop))})
	srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	if asked.Load() != 2 {
		t.Errorf("called %d times, want 2", asked.Load())
	}
	// A handler that always fails is given up when the message expires, without a DSN.
	fails.Store(true)
	srv.policies.Swap(&hooks.Generation{ID: "again", Chain: hooks.NewChain(policies())})
	srv.mustSend(newSession(), "alice@our.example", plainMessage, "bob@our.example", "alice@our.example")
	srv.waitFor("the handler was called", func() bool { return asked.Load() == 3 && srv.InFlight() == 0 })
	srv.clock.Advance(6 * 24 * time.Hour)
	srv.waitFor("it is given up", func() bool { return srv.spoolCount() == 0 })
	if n := len(srv.mailbox("alice@our.example", "INBOX")); n != 2 { // both messages, and no DSN
		t.Errorf("alice has %d messages, want 2", n)
	}
}
