package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carteiro/core"
	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/pipeline/policyrun"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
)

// faultyStore is a real store in memory of which single writes can be made to
// fail or panic, and which counts what is handed out.
type faultyStore struct {
	store.Store
	reserved, drafts atomic.Int64

	write func() error // asked at each write of a draft; nil: none fails

	mu     sync.Mutex
	faults map[string]func() error // by operation; each is for one call
}

// fail lets the next n calls of an operation fail.
func (s *faultyStore) fail(op string, n int, f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = func() error {
		if n--; n <= 0 {
			delete(s.faults, op)
		}
		return f()
	}
}

func (s *faultyStore) fault(op string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.faults[op]; f != nil {
		return f()
	}
	return nil
}

// broken tells how many operations are still to fail.
func (s *faultyStore) broken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

func (s *faultyStore) Reserve(size int64) (func(), error) {
	if err := s.fault("reserve"); err != nil {
		return nil, err
	}
	release, err := s.Store.Reserve(size)
	if err != nil {
		return nil, err
	}
	s.reserved.Add(1)
	return func() { s.reserved.Add(-1); release() }, nil
}

func (s *faultyStore) Draft(ctx context.Context) store.Draft {
	s.drafts.Add(1)
	return &faultyDraft{Draft: s.Store.Draft(ctx), s: s}
}

func (s *faultyStore) Commit(ctx context.Context, effects []envelope.Effect, messages ...*store.Message) error {
	if err := s.fault("commit"); err != nil {
		return err
	}
	return s.unwrapped(messages, func() error { return s.Store.Commit(ctx, effects, messages...) })
}

func (s *faultyStore) Settle(ctx context.Context, x *store.Settlement) error {
	if err := s.fault("settle"); err != nil {
		return err
	}
	return s.unwrapped(x.Messages, func() error { return s.Store.Settle(ctx, x) })
}

func (s *faultyStore) Apply(ctx context.Context, effects []envelope.Effect) ([]int64, error) {
	if err := s.fault("apply"); err != nil {
		return nil, err
	}
	return s.Store.Apply(ctx, effects)
}

func (s *faultyStore) AppendTrail(ctx context.Context, id envelope.ID, entries []envelope.TrailEntry) error {
	if err := s.fault("trail"); err != nil {
		return err
	}
	return s.Store.AppendTrail(ctx, id, entries)
}

// unwrapped gives the real store its own drafts.
func (s *faultyStore) unwrapped(messages []*store.Message, write func() error) error {
	for _, m := range messages {
		d, ok := m.Draft.(*faultyDraft)
		if !ok {
			continue
		}
		m.Draft = d.Draft
		defer func() { m.Draft = d }()
	}
	return write()
}

type faultyDraft struct {
	store.Draft
	s    *faultyStore
	once sync.Once
}

func (d *faultyDraft) Write(p []byte) (int, error) {
	if err := d.s.fault("draft"); err != nil {
		return 0, err
	}
	if d.s.write != nil {
		if err := d.s.write(); err != nil {
			return 0, err
		}
	}
	return d.Draft.Write(p)
}

func (d *faultyDraft) Discard() {
	d.once.Do(func() { d.s.drafts.Add(-1) })
	d.Draft.Discard()
}

// faultyHouse is a house over such a store.
func faultyHouse(t *testing.T, handlers ...hooks.Handler) (*house, *faultyStore) {
	t.Helper()
	h := &house{t: t, sink: &sink{}, clock: &clock.Clock{}}
	faulty := &faultyStore{faults: map[string]func() error{}}
	h.furnish(badgerstore.Options{InMemory: true}, func(s store.Store) store.Store { faulty.Store = s; return faulty }, core.Config{},
		func(*badgerstore.Store) []hooks.Handler { return handlers })
	return h, faulty
}

// nothingLeft checks that nothing is held when all is done.
func (h *house) nothingLeft(s *faultyStore) {
	h.t.Helper()
	h.until("drafts and reservations are given back", func() bool { return s.drafts.Load() == 0 && s.reserved.Load() == 0 })
	h.until("mailboxes are let go of", func() bool { return h.LockedMailboxes() == 0 })
	if n := s.broken(); n != 0 {
		h.t.Errorf("%d faults did not happen", n)
	}
}

// visitAll plays a session through every hook and returns its first refusal.
// The peer refuses bad@out.example, so that there is a DSN to alice.
func (h *house) visitAll() *envelope.Status {
	h.t.Helper()
	h.sink.mu.Lock()
	h.sink.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if r.Address == "bad@out.example" {
			return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no"}}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	h.sink.mu.Unlock()
	s, ctx := user("alice@our.example"), h.t.Context()
	s.Identity = nil
	defer h.Close(s)
	if st := h.Connect(ctx, s); st != nil {
		return st
	}
	if st := h.Helo(ctx, s, "client.example"); st != nil {
		return st
	}
	id, st := h.Auth(ctx, s, &envelope.Credentials{Mechanism: "PLAIN", User: "alice@our.example", Password: "secret"})
	if st != nil {
		return st
	}
	s.Identity = id
	return h.offer(s, &envelope.Transaction{Sender: "alice@our.example"}, "From: alice@our.example\r\n\r\nhello\r\n", "bob@our.example",
		"x@out.example", "bad@out.example")
}

// arrived checks that a visit's message reached everybody exactly n times.
func (h *house) arrived(n int) {
	h.t.Helper()
	h.until("bob's copy, the peer's and alice's DSN", func() bool {
		h.t.Helper()
		return h.spooled() == 0 && len(h.box("bob@our.example", "INBOX")) >= n && len(h.box("alice@our.example", "INBOX")) >= n
	})
	if bob, alice, out := len(h.box("bob@our.example", "INBOX")), len(h.box("alice@our.example", "INBOX")),
		len(h.sink.all()); bob != n || alice != n || out != n {
		h.t.Errorf("bob has %d, alice %d DSNs, the peer %d, want %d of each", bob, alice, out, n)
	}
}

var errFault = errors.New("a fault of the test")

// TestHookFaults: at every hook, an error and a panic cost the verb at hand
// before the 250, and nothing after it.
func TestHookFaults(t *testing.T) {
	for _, spec := range hooks.Specs() {
		for kind, fault := range map[string]func() error{"error": func() error { return errFault },
			"panic": func() error { panic("a panic of the test") }} {
			t.Run(string(spec.Point)+"/"+kind, func(t *testing.T) {
				leak := goleak.IgnoreCurrent()
				var asked atomic.Int64
				broken := handler{hooks.Info{Point: spec.Point, File: "policy.lua", Line: 1, Every: time.Hour, Path: "/x", Command: "x"},
					func(*hooks.Event) (hooks.Verdict, error) {
						asked.Add(1)
						return hooks.Verdict{}, fault()
					}}
				h, s := faultyHouse(t, broken)
				st := h.visitAll()
				h.besides(spec.Point, broken.info, &asked)
				if before := spec.Fail == hooks.FailDefer; before {
					if st == nil || st.Code != spec.Status.Code {
						t.Errorf("answer %v, want %d", st, spec.Status.Code)
					}
					if n := h.spooled() + len(h.sink.all()) + len(h.box("bob@our.example", "INBOX")); n != 0 {
						t.Errorf("%d traces of a message that was not accepted", n)
					}
				} else if st != nil {
					t.Errorf("refused: %v", st)
				} else {
					h.arrived(1)
				}
				if asked.Load() == 0 {
					t.Error("the hook was not asked")
				}
				delivered := len(h.sink.all())
				h.gen.Swap(&hooks.Generation{ID: "mended", Chain: hooks.NewChain(nil)})
				if st := h.visitAll(); st != nil {
					t.Errorf("the next session is refused: %v", st)
				}
				h.arrived(delivered + 1)
				h.nothingLeft(s)
				h.stop()
				goleak.VerifyNone(t, leak)
			})
		}
	}
}

// besides asks the hooks that no message meets.
func (h *house) besides(p hooks.Point, info hooks.Info, asked *atomic.Int64) {
	h.t.Helper()
	switch p {
	case hooks.WebRequest:
		if got, ok := h.Web(h.t.Context(), "scripts", &hooks.Request{Path: "/x"}); !ok || got.Status != 500 ||
			strings.Contains(got.Body, "test") {
			h.t.Errorf("the page is %+v, %v", got, ok)
		}
	case hooks.AdminCommand:
		if got, err := h.Command(h.t.Context(), &hooks.Command{Name: "x"}); err == nil || errors.Is(err, policyrun.ErrNoCommand) {
			h.t.Errorf("the command gives %+v, %v", got, err)
		}
	case hooks.ReceiveAfter: // asked again until a reload takes it away
		h.until("the handler was asked", func() bool { return asked.Load() > 0 && h.InFlight() == 0 })
		h.gen.Swap(&hooks.Generation{ID: "without it", Chain: hooks.NewChain(nil)})
		h.clock.Advance(time.Hour)
	case hooks.ObserveEvent:
		h.until("the event is told", func() bool { return asked.Load() > 0 })
	case hooks.TimerTick:
		h.until("the timer is known", func() bool {
			_, err := h.store.Get(h.t.Context(), timerSpace, timerName(info.Key(), ""))
			return err == nil
		})
		for n := range int64(2) {
			h.clock.Advance(time.Hour)
			h.until("the timer runs", func() bool { return asked.Load() == n+1 })
		}
	}
}

// effects is a policy whose effects are applied at RCPT, and with the message
// at receive.data.
func effects() []hooks.Handler {
	add := func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.AddEffect(envelope.Effect{Space: "s", Op: envelope.Incr, Key: string(e.Point), N: 1})
	}
	return []hooks.Handler{at(hooks.ReceiveMail, add), at(hooks.ReceiveData, add), at(hooks.DeliverLocal, add)}
}

// TestStoreFaults: a write that fails or panics costs the message at hand its
// 250, or an attempt; then everything arrives, in mailboxes exactly once.
func TestStoreFaults(t *testing.T) {
	tests := []struct {
		op      string
		times   int
		refused int // code; 0: accepted, and tried again later
	}{
		{"reserve", 1, 451}, {"draft", 1, 451}, {"commit", 1, 451}, {"apply", 1, 451},
		{"settle", 1, 0}, {"settle", 2, 0}, {"settle", 3, 0},
	}
	for _, tt := range tests {
		for kind, fault := range map[string]func() error{"error": func() error { return errFault },
			"panic": func() error { panic("a panic of the test") }} {
			if tt.op == "reserve" && kind == "panic" {
				continue // before a transaction there is nothing to be held; the adapter answers 421
			}
			t.Run(tt.op+"/"+kind, func(t *testing.T) {
				leak := goleak.IgnoreCurrent()
				h, s := faultyHouse(t, effects()...)
				s.fail(tt.op, tt.times, fault)
				st := h.visitAll()
				if tt.refused == 0 && st != nil || tt.refused != 0 && (st == nil || st.Code != tt.refused) {
					t.Errorf("answer %v, want %d", st, tt.refused)
				}
				if tt.refused != 0 {
					if n := h.spooled() + len(h.sink.all()) + len(h.box("bob@our.example", "INBOX")); n != 0 {
						t.Errorf("%d traces of a message that was not accepted", n)
					}
					if st := h.visitAll(); st != nil {
						t.Fatalf("the next session is refused: %v", st)
					}
				}
				h.until("the fault", func() bool { return s.broken() == 0 })
				h.until("rest", func() bool { return h.InFlight() == 0 })
				h.clock.Advance(core.DefaultRetry[0] + time.Minute)
				h.until("the end", func() bool {
					h.clock.Advance(core.DefaultRetry[0])
					return h.spooled() == 0
				})
				if bob, alice := len(h.box("bob@our.example", "INBOX")), len(h.box("alice@our.example", "INBOX")); bob != 1 || alice != 1 {
					t.Errorf("bob has %d, alice %d DSNs, want one each", bob, alice)
				}
				if v, err := h.store.Get(t.Context(), "s", string(hooks.DeliverLocal)); err != nil || string(v) != "2" { // bob's copy and alice's DSN
					t.Errorf("effects of deliver.local: %q, %v, want 2", v, err)
				}
				h.nothingLeft(s)
				h.stop()
				goleak.VerifyNone(t, leak)
			})
		}
	}
}

// TestUnrecordedAttemptRests: an outcome that the store does not take is not
// a reason to send the message again at once.
func TestUnrecordedAttemptRests(t *testing.T) {
	h, s := faultyHouse(t)
	s.fail("settle", 2, func() error { return errFault }) // the outcome, and the postponement
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
	h.until("the fault", func() bool { return s.broken() == 0 && h.InFlight() == 0 })
	for range 20 {
		h.clock.Advance(time.Second)
		h.Nudge()
		time.Sleep(5 * time.Millisecond)
	}
	if n := len(h.sink.all()); n != 1 {
		t.Errorf("sent %d times within seconds", n)
	}
	h.clock.Advance(core.DefaultRetry[0])
	h.until("the second try", func() bool { return h.spooled() == 0 })
	if n := len(h.sink.all()); n != 2 {
		t.Errorf("sent %d times, want 2", n)
	}
	h.nothingLeft(s)
}

// TestTrailFaults: a trail that cannot be kept holds nothing up.
func TestTrailFaults(t *testing.T) {
	for kind, fault := range map[string]func() error{"error": func() error { return errFault },
		"panic": func() error { panic("a panic of the test") }} {
		h, s := faultyHouse(t, at(hooks.ReceiveData, func(*hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Text: "no"}}, nil
		}))
		s.fail("trail", 1, fault)
		var st *envelope.Status
		err := panics.Catch(func() error { // as the adapter does
			st = h.offer(session(), &envelope.Transaction{Sender: "a@a.example"}, plain, "alice@our.example")
			return nil
		})
		if (kind == "panic") != errors.Is(err, panics.ErrPanic) || kind == "error" && (st == nil || st.Code != 550) {
			t.Errorf("%s: answer %v, %v", kind, st, err)
		}
		h.nothingLeft(s)
		h.stop()
	}
}

// TestTransportFaults: a panic while one copy is sent, and an answer too few,
// defer what they hit; another copy of the same message is sent once.
func TestTransportFaults(t *testing.T) {
	leak := goleak.IgnoreCurrent()
	sender := envelope.Address("verp@our.example")
	h, s := faultyHouse(t, at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "both@out.example" {
			return hooks.Verdict{}, nil
		}
		return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: "good@out.example"}, {Address: "bad@out.example", Sender: &sender}})
	}))
	var panics atomic.Int64
	h.sink.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if r.Address == "bad@out.example" && panics.Add(1) <= 2 {
			panic("a panic of the test")
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "both@out.example")
	h.until("the first try", func() bool { return panics.Load() == 1 && h.InFlight() == 0 })
	h.until("everything is sent", func() bool {
		h.clock.Advance(core.DefaultRetry[0])
		return h.spooled() == 0
	})
	var to []envelope.Address
	for _, one := range h.sink.all() {
		to = append(to, one.to...)
	}
	if len(to) != 2 || panics.Load() != 3 {
		t.Errorf("sent to %v after %d tries", to, panics.Load())
	}
	h.nothingLeft(s)
	h.stop()
	goleak.VerifyNone(t, leak)
}
