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

// What runs behind the 250 cannot refuse, knows what the session was, has its
// own commit, and is tried again, over a restart too, until it has run once.
func TestAsync(t *testing.T) {
	var asked atomic.Int64
	var fails atomic.Bool
	fails.Store(true)
	policies := func() []hooks.Handler {
		return []hooks.Handler{at(hooks.ReceiveData, func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, nil }),
			at(hooks.ReceiveAfter, func(e *hooks.Event) (hooks.Verdict, error) {
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
	h := openHouse(t, dir, core.Config{}, policies()...)
	h.accept(session(), "a@a.example", plain, "alice@our.example", "bob@our.example")
	h.until("it was asked", func() bool { return asked.Load() == 1 && h.InFlight() == 0 })
	h.until("the mail has arrived", func() bool { return len(h.box("bob@our.example", "INBOX")) == 1 })
	if n := h.spooled(); n != 1 {
		t.Fatalf("%d messages in the spool", n)
	}
	h.stop()
	fails.Store(false)
	h = openHouse(t, dir, core.Config{}, policies()...)
	h.clock.Advance(10 * time.Minute)
	h.until("it has run", func() bool { return h.spooled() == 0 })
	if v, err := h.store.Get(context.Background(), "s", "ran"); err != nil || string(v) != "1" || asked.Load() != 2 {
		t.Errorf("ran %s times, asked %d, %v", v, asked.Load(), err)
	}
	// Mail that nobody gets runs nothing.
	drop := at(hooks.ReceiveRcpt, func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Discard}, nil })
	h.gen.Swap(&hooks.Generation{ID: "drop", Chain: hooks.NewChain(append(policies(), drop))})
	h.accept(session(), "a@a.example", plain, "alice@our.example")
	h.idle()
	if asked.Load() != 2 {
		t.Errorf("asked %d times", asked.Load())
	}
	// One that never runs ends with the message, and nobody is told.
	fails.Store(true)
	h.gen.Swap(&hooks.Generation{ID: "again", Chain: hooks.NewChain(policies())})
	h.accept(session(), "alice@our.example", plain, "bob@our.example", "alice@our.example")
	h.until("it was asked", func() bool { return asked.Load() == 3 && h.InFlight() == 0 })
	h.clock.Advance(6 * 24 * time.Hour)
	h.until("it is given up", func() bool { return h.spooled() == 0 })
	if n := len(h.box("alice@our.example", "INBOX")); n != 2 { // both messages, and no report
		t.Errorf("alice has %d messages", n)
	}
}
