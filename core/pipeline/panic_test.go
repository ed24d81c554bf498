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

// faultyStore is a real store in memory whose writes can be made to fail or panic. It
// counts open drafts and reservations.
type faultyStore struct {
	store.Store
	reserved, drafts atomic.Int64

	write func() error // called at each write of a draft; nil: none fails

	mu     sync.Mutex
	faults map[string]func() error // by operation, see fail
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

// pendingFaults returns how many operations still have to fail.
func (s *faultyStore) pendingFaults() int {
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
	return s.withRealDrafts(messages, func() error { return s.Store.Commit(ctx, effects, messages...) })
}

func (s *faultyStore) Settle(ctx context.Context, x *store.Settlement) error {
	if err := s.fault("settle"); err != nil {
		return err
	}
	return s.withRealDrafts(x.Messages, func() error { return s.Store.Settle(ctx, x) })
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

// withRealDrafts calls write with the drafts of the real store in messages.
func (s *faultyStore) withRealDrafts(messages []*store.Message, write func() error) error {
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

// newFaultyServer returns a server with such a store.
func newFaultyServer(t *testing.T, handlers ...hooks.Handler) (*testServer, *faultyStore) {
	t.Helper()
	srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}}
	faulty := &faultyStore{faults: map[string]func() error{}}
	srv.start(badgerstore.Options{InMemory: true}, func(s store.Store) store.Store { faulty.Store = s; return faulty }, core.Config{},
		func(*badgerstore.Store) []hooks.Handler { return handlers })
	return srv, faulty
}

// checkNothingHeld checks that no drafts, reservations and locks are left at the end.
func (srv *testServer) checkNothingHeld(s *faultyStore) {
	srv.t.Helper()
	srv.waitFor("drafts and reservations are released", func() bool { return s.drafts.Load() == 0 && s.reserved.Load() == 0 })
	srv.waitFor("mailboxes are unlocked", func() bool { return srv.LockedMailboxes() == 0 })
	if n := s.pendingFaults(); n != 0 {
		srv.t.Errorf("%d faults did not happen, want 0", n)
	}
}

// sendThroughAllHooks runs a session with every hook and returns its first refusal.
// The peer refuses bad@out.example, so that there is a DSN to alice.
func (srv *testServer) sendThroughAllHooks() *envelope.Status {
	srv.t.Helper()
	srv.transport.mu.Lock()
	srv.transport.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if r.Address == "bad@out.example" {
			return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no"}}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	srv.transport.mu.Unlock()
	s, ctx := newUserSession("alice@our.example"), srv.t.Context()
	s.Identity = nil
	defer srv.Close(s)
	if st := srv.Connect(ctx, s); st != nil {
		return st
	}
	if st := srv.Helo(ctx, s, "client.example"); st != nil {
		return st
	}
	id, st := srv.Auth(ctx, s, &envelope.Credentials{Mechanism: "PLAIN", User: "alice@our.example", Password: "secret"})
	if st != nil {
		return st
	}
	s.Identity = id
	return srv.send(s, &envelope.Transaction{Sender: "alice@our.example"}, "From: alice@our.example\r\n\r\nhello\r\n", "bob@our.example",
		"x@out.example", "bad@out.example")
}

// checkArrived checks that the message of sendThroughAllHooks reached everybody exactly
// n times.
func (srv *testServer) checkArrived(n int) {
	srv.t.Helper()
	srv.waitFor("bob's copy, the peer's and alice's DSN", func() bool {
		srv.t.Helper()
		return srv.spoolCount() == 0 && len(srv.mailbox("bob@our.example", "INBOX")) >= n && len(srv.mailbox("alice@our.example", "INBOX")) >= n
	})
	if bob, alice, out := len(srv.mailbox("bob@our.example", "INBOX")), len(srv.mailbox("alice@our.example", "INBOX")),
		len(srv.transport.messages()); bob != n || alice != n || out != n {
		srv.t.Errorf("bob has %d messages, alice %d DSNs, the peer %d messages, want %d of each", bob, alice, out, n)
	}
}

var errFault = errors.New("a fault of the test")

// TestHookFaults: at every hook, an error or a panic makes the current command fail
// before the 250, and has no other consequence after it.
func TestHookFaults(t *testing.T) {
	for _, spec := range hooks.Specs() {
		for kind, fault := range map[string]func() error{"error": func() error { return errFault },
			"panic": func() error { panic("a panic of the test") }} {
			t.Run(string(spec.Point)+"/"+kind, func(t *testing.T) {
				leak := goleak.IgnoreCurrent()
				var asked atomic.Int64
				broken := goHandler{hooks.Info{Point: spec.Point, File: "policy.lua", Line: 1, Every: time.Hour, Path: "/x", Command: "x"},
					func(*hooks.Event) (hooks.Verdict, error) {
						asked.Add(1)
						return hooks.Verdict{}, fault()
					}}
				srv, s := newFaultyServer(t, broken)
				st := srv.sendThroughAllHooks()
				srv.callOtherHooks(spec.Point, broken.info, &asked)
				if before := spec.Fail == hooks.FailDefer; before {
					if st == nil || st.Code != spec.Status.Code {
						t.Errorf("got reply %v, want %d", st, spec.Status.Code)
					}
					if n := srv.spoolCount() + len(srv.transport.messages()) + len(srv.mailbox("bob@our.example", "INBOX")); n != 0 {
						t.Errorf("%d copies of a message that was refused, want 0", n)
					}
				} else if st != nil {
					t.Errorf("got reply %v, want 250", st)
				} else {
					srv.checkArrived(1)
				}
				if asked.Load() == 0 {
					t.Error("the handler was not called")
				}
				delivered := len(srv.transport.messages())
				srv.policies.Swap(&hooks.Generation{ID: "mended", Chain: hooks.NewChain(nil)})
				if st := srv.sendThroughAllHooks(); st != nil {
					t.Errorf("next session: got reply %v, want 250", st)
				}
				srv.checkArrived(delivered + 1)
				srv.checkNothingHeld(s)
				srv.stop()
				goleak.VerifyNone(t, leak)
			})
		}
	}
}

// callOtherHooks calls a hook that does not run for messages.
func (srv *testServer) callOtherHooks(p hooks.Point, info hooks.Info, asked *atomic.Int64) {
	srv.t.Helper()
	switch p {
	case hooks.WebRequest:
		if got, ok := srv.Web(srv.t.Context(), "scripts", &hooks.Request{Path: "/x"}); !ok || got.Status != 500 ||
			strings.Contains(got.Body, "test") {
			srv.t.Errorf("page: got %+v, %v, want status 500 without the error text", got, ok)
		}
	case hooks.AdminCommand:
		if got, err := srv.Command(srv.t.Context(), &hooks.Command{Name: "x"}); err == nil || errors.Is(err, policyrun.ErrNoCommand) {
			srv.t.Errorf("command: got %+v, %v, want the failure of its handler", got, err)
		}
	case hooks.ReceiveAfter: // it is tried again until a reload removes it
		srv.waitFor("the handler was asked", func() bool { return asked.Load() > 0 && srv.InFlight() == 0 })
		srv.policies.Swap(&hooks.Generation{ID: "without it", Chain: hooks.NewChain(nil)})
		srv.clock.Advance(time.Hour)
	case hooks.ObserveEvent:
		srv.waitFor("the event is told", func() bool { return asked.Load() > 0 })
	case hooks.TimerTick:
		srv.waitFor("the timer is known", func() bool {
			_, err := srv.store.Get(srv.t.Context(), timerSpace, timerName(info.Key(), ""))
			return err == nil
		})
		for n := range int64(2) {
			srv.clock.Advance(time.Hour)
			srv.waitFor("the timer runs", func() bool { return asked.Load() == n+1 })
		}
	}
}

// effectHandlers returns a policy whose effects are applied at MAIL, with the message,
// and with a delivery.
func effectHandlers() []hooks.Handler {
	add := func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.AddEffect(envelope.Effect{Space: "s", Op: envelope.Incr, Key: string(e.Point), N: 1})
	}
	return []hooks.Handler{handlerAt(hooks.ReceiveMail, add), handlerAt(hooks.ReceiveData, add), handlerAt(hooks.DeliverLocal, add)}
}

// TestStoreFaults: a write that fails or panics defers the message, or an attempt; later
// everything arrives, in mailboxes exactly once.
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
				continue // no transaction is open; the protocol package answers 421
			}
			t.Run(tt.op+"/"+kind, func(t *testing.T) {
				leak := goleak.IgnoreCurrent()
				srv, s := newFaultyServer(t, effectHandlers()...)
				s.fail(tt.op, tt.times, fault)
				st := srv.sendThroughAllHooks()
				if tt.refused == 0 && st != nil || tt.refused != 0 && (st == nil || st.Code != tt.refused) {
					t.Errorf("got reply %v, want code %d (0: accepted)", st, tt.refused)
				}
				if tt.refused != 0 {
					if n := srv.spoolCount() + len(srv.transport.messages()) + len(srv.mailbox("bob@our.example", "INBOX")); n != 0 {
						t.Errorf("%d copies of a message that was refused, want 0", n)
					}
					if st := srv.sendThroughAllHooks(); st != nil {
						t.Fatalf("next session: got reply %v, want 250", st)
					}
				}
				srv.waitFor("the fault", func() bool { return s.pendingFaults() == 0 })
				srv.waitFor("no attempt runs", func() bool { return srv.InFlight() == 0 })
				srv.clock.Advance(core.DefaultRetry[0] + time.Minute)
				srv.waitFor("the end", func() bool {
					srv.clock.Advance(core.DefaultRetry[0])
					return srv.spoolCount() == 0
				})
				if bob, alice := len(srv.mailbox("bob@our.example", "INBOX")), len(srv.mailbox("alice@our.example", "INBOX")); bob != 1 || alice != 1 {
					t.Errorf("bob has %d messages, alice %d DSNs, want 1 and 1", bob, alice)
				}
				if v, err := srv.store.Get(t.Context(), "s", string(hooks.DeliverLocal)); err != nil || string(v) != "2" { // bob's copy and alice's DSN
					t.Errorf("effects of deliver.local: got %q, %v, want 2", v, err)
				}
				srv.checkNothingHeld(s)
				srv.stop()
				goleak.VerifyNone(t, leak)
			})
		}
	}
}

// TestUnrecordedAttemptBacksOff: if the store cannot record an outcome, the message is
// not sent again at once.
func TestUnrecordedAttemptBacksOff(t *testing.T) {
	srv, s := newFaultyServer(t)
	s.fail("settle", 2, func() error { return errFault }) // the outcome, and the postponement
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
	srv.waitFor("the fault", func() bool { return s.pendingFaults() == 0 && srv.InFlight() == 0 })
	for range 20 {
		srv.clock.Advance(time.Second)
		srv.Nudge()
		time.Sleep(5 * time.Millisecond)
	}
	if n := len(srv.transport.messages()); n != 1 {
		t.Errorf("sent %d times within seconds, want once", n)
	}
	srv.clock.Advance(core.DefaultRetry[0])
	srv.waitFor("the second try", func() bool { return srv.spoolCount() == 0 })
	if n := len(srv.transport.messages()); n != 2 {
		t.Errorf("sent %d times, want 2", n)
	}
	srv.checkNothingHeld(s)
}

// TestTrailFaults: a trail that cannot be stored delays nothing.
func TestTrailFaults(t *testing.T) {
	for kind, fault := range map[string]func() error{"error": func() error { return errFault },
		"panic": func() error { panic("a panic of the test") }} {
		srv, s := newFaultyServer(t, handlerAt(hooks.ReceiveData, func(*hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Text: "no"}}, nil
		}))
		s.fail("trail", 1, fault)
		var st *envelope.Status
		err := panics.Catch(func() error { // as the protocol package does
			st = srv.send(newSession(), &envelope.Transaction{Sender: "a@a.example"}, plainMessage, "alice@our.example")
			return nil
		})
		if (kind == "panic") != errors.Is(err, panics.ErrPanic) || kind == "error" && (st == nil || st.Code != 550) {
			t.Errorf("%s: got reply %v, error %v; want the panic, or 550", kind, st, err)
		}
		srv.checkNothingHeld(s)
		srv.stop()
	}
}

// TestTransportFaults: a panic while one copy is sent defers that copy; another copy of
// the same message is sent once.
func TestTransportFaults(t *testing.T) {
	leak := goleak.IgnoreCurrent()
	sender := envelope.Address("verp@our.example")
	srv, s := newFaultyServer(t, handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "both@out.example" {
			return hooks.Verdict{}, nil
		}
		return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: "good@out.example"}, {Address: "bad@out.example", Sender: &sender}})
	}))
	var panics atomic.Int64
	srv.transport.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if r.Address == "bad@out.example" && panics.Add(1) <= 2 {
			panic("a panic of the test")
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "both@out.example")
	srv.waitFor("the first try", func() bool { return panics.Load() == 1 && srv.InFlight() == 0 })
	srv.waitFor("everything is sent", func() bool {
		srv.clock.Advance(core.DefaultRetry[0])
		return srv.spoolCount() == 0
	})
	var to []envelope.Address
	for _, one := range srv.transport.messages() {
		to = append(to, one.to...)
	}
	if len(to) != 2 || panics.Load() != 3 {
		t.Errorf("sent to %v after %d tries, want two recipients and 3 tries", to, panics.Load())
	}
	srv.checkNothingHeld(s)
	srv.stop()
	goleak.VerifyNone(t, leak)
}
