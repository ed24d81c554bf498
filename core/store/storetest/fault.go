package storetest

import (
	"errors"
	"fmt"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// faults are writes with what shows whether they happened. Each prepares,
// then returns the write and a function that checks what is there afterwards.
var faults = []struct {
	name string
	prep func(w *world) (write func() error, happened func() bool)
}{
	{"Commit", faultCommit},
	{"CommitLarge", faultCommitLarge},
	{"Draft", faultDraft},
	{"Settle", faultSettle},
	{"Remove", faultRemove},
	{"Deliver", faultDeliver},
	{"Expunge", faultExpunge},
	{"Apply", faultApply},
	{"PutRecords", faultRecords},
	{"AppendTrail", faultTrail},
	{"SetQuota", faultQuota},
}

func runFaults(t *testing.T, fresh func(t testing.TB) *Harness) {
	for _, f := range faults {
		for _, persisted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/persisted=%v", f.name, persisted), func(t *testing.T) {
				t.Parallel()
				h := fresh(t)
				if h.Fail == nil {
					t.Skip("the backend cannot be made to fail")
				}
				faulty(newWorld(t, h), f.prep, persisted)
			})
		}
	}
}

// faulty has one write fail, and looks at everything after a new start.
func faulty(w *world, prep func(w *world) (func() error, func() bool), persisted bool) {
	bystander := w.commit("acknowledged before\r\n", "c@example.com")
	write, happened := prep(w)
	w.h.Fail(w.s, persisted)
	if err := write(); !errors.Is(err, store.ErrFailed) {
		w.Fatalf("a write that failed: %v", err)
	}
	if _, err := w.s.Apply(w.ctx, []envelope.Effect{{Space: "s", Key: "k"}}); !errors.Is(err, store.ErrFailed) {
		w.Errorf("a write after a failure: %v", err)
	}
	if _, err := w.s.Reserve(1); !errors.Is(err, store.ErrFailed) {
		w.Errorf("a reservation after a failure: %v", err)
	}
	if err := w.s.Run(w.ctx); !errors.Is(err, store.ErrFailed) {
		w.Errorf("Run after a failure: %v", err)
	}
	if !w.s.Stats().Failed {
		w.Error("the figures hide the failure")
	}
	w.reopen()
	if happened() != persisted {
		w.Errorf("the write is there: %v, persisted: %v", !persisted, persisted)
	}
	if w.body(&bystander.Envelope) != "acknowledged before\r\n" {
		w.Error("what was acknowledged before is lost")
	}
	w.check()
}

func (w *world) spooled(id envelope.ID) bool {
	_, err := w.s.Envelope(w.ctx, id)
	return err == nil
}

func faultCommit(w *world) (func() error, func() bool) {
	m := w.sample("x", "b@example.com")
	effects := []envelope.Effect{{Space: "s", Op: envelope.Incr, Key: "n", N: 1}}
	return func() error { return w.s.Commit(w.ctx, effects, m) }, func() bool {
		_, err := w.s.Get(w.ctx, "s", "n")
		if there := w.spooled(m.Envelope.ID); there != (err == nil) {
			w.Errorf("message there: %v, its effect: %v", there, err)
		}
		return w.spooled(m.Envelope.ID)
	}
}

// faultCommitLarge is a commit above what any transaction may hold. Its first
// write fails, whichever that is: the message may only be there as a whole.
func faultCommitLarge(w *world) (func() error, func() bool) {
	m := w.sample(string(pattern(1<<20)), "b@example.com")
	for range 15 {
		g := *m.Groups[0]
		g.Recipients = make([]envelope.Recipient, envelope.MaxGroup)
		for i := range g.Recipients {
			g.Recipients[i] = envelope.Recipient{Address: "b@example.com", State: envelope.Queued}
		}
		m.Groups = append(m.Groups, &g)
	}
	persisted := w.noteFail()
	return func() error { return w.s.Commit(w.ctx, nil, m) }, func() bool {
		if w.spooled(m.Envelope.ID) && !*persisted {
			w.Error("a commit that was not persisted is there")
		}
		return *persisted
	}
}

// noteFail records how the next write is made to fail, for writes whose outcome is not
// visible in the interface.
func (w *world) noteFail() *bool {
	persisted, fail := new(bool), w.h.Fail
	w.h.Fail = func(s store.Store, p bool) {
		*persisted = p
		fail(s, p)
	}
	return persisted
}

// faultDraft leaves an orphan, or nothing; neither is a message.
func faultDraft(w *world) (func() error, func() bool) {
	persisted := w.noteFail()
	before := 0
	for range w.s.Messages(w.ctx) {
		before++
	}
	d := w.s.Draft(w.ctx)
	return func() error {
			_, err := d.Write(pattern(4 << 20))
			return err
		}, func() bool {
			after := 0
			for range w.s.Messages(w.ctx) {
				after++
			}
			if after != before {
				w.Errorf("%d messages instead of %d", after, before)
			}
			return *persisted
		}
}

func faultSettle(w *world) (func() error, func() bool) {
	m := w.commit("x", "b@example.com")
	x := w.done(m.Envelope.ID, 0)
	dsn := w.sample("a DSN", "d@example.com")
	x.Messages = []*store.Message{dsn}
	x.Deliveries = []store.Delivery{delivery(m, 0, "b@example.com", "")}
	x.Effects = []envelope.Effect{{Space: "s", Op: envelope.Incr, Key: "n", N: 1}}
	return func() error { return w.s.Settle(w.ctx, x) }, func() bool {
		settled := !w.spooled(m.Envelope.ID)
		_, items := w.items("b@example.com", "")
		_, err := w.s.Get(w.ctx, "s", "n")
		if (len(items) == 1) != settled || (err == nil) != settled || w.spooled(dsn.Envelope.ID) != settled {
			w.Errorf("settled: %v, items: %d, effect: %v, DSN: %v", settled, len(items), err, w.spooled(dsn.Envelope.ID))
		}
		return settled
	}
}

func faultRemove(w *world) (func() error, func() bool) {
	m := w.commit("x", "b@example.com")
	return func() error { return w.s.Remove(w.ctx, m.Envelope.ID) },
		func() bool { return !w.spooled(m.Envelope.ID) }
}

func faultDeliver(w *world) (func() error, func() bool) {
	m := w.commit("x", "b@example.com")
	d := delivery(m, 0, "b@example.com", "")
	return func() error { return w.s.Deliver(w.ctx, d, delivery(m, 1, "c@example.com", "")) }, func() bool {
		_, items := w.items("b@example.com", "")
		w.must(w.s.Deliver(w.ctx, d)) // repeated, it is there once in both cases
		if _, again := w.items("b@example.com", ""); len(again) != 1 {
			w.Errorf("%d items after the repetition", len(again))
		}
		return len(items) == 1
	}
}

func faultExpunge(w *world) (func() error, func() bool) {
	m := w.commit("x", "b@example.com")
	x := w.done(m.Envelope.ID, 0)
	x.Deliveries = []store.Delivery{delivery(m, 0, "b@example.com", "")}
	w.must(w.s.Settle(w.ctx, x))
	info, items := w.items("b@example.com", "")
	return func() error { return w.s.Expunge(w.ctx, info.ID, []uint32{items[0].UID}) }, func() bool {
		_, left := w.items("b@example.com", "")
		return len(left) == 0
	}
}

func faultApply(w *world) (func() error, func() bool) {
	return func() error {
			_, err := w.s.Apply(w.ctx, []envelope.Effect{{Space: "s", Op: envelope.Incr, Key: "n", N: 1}})
			return err
		}, func() bool {
			_, err := w.s.Get(w.ctx, "s", "n")
			return err == nil
		}
}

func faultRecords(w *world) (func() error, func() bool) {
	r := []store.Record{{Kind: "k", Name: "a", Value: []byte("A")}, {Kind: "k", Name: "b", Value: []byte("B")}}
	return func() error { return w.s.PutRecords(w.ctx, r...) }, func() bool {
		_, a := w.s.Record(w.ctx, "k", "a")
		_, b := w.s.Record(w.ctx, "k", "b")
		if (a == nil) != (b == nil) {
			w.Errorf("half of the records is there: %v, %v", a, b)
		}
		return a == nil
	}
}

func faultTrail(w *world) (func() error, func() bool) {
	id := envelope.NewID(w.now())
	return func() error { return w.s.AppendTrail(w.ctx, id, []envelope.TrailEntry{{Step: "route"}}) }, func() bool {
		trail, err := w.s.Trail(w.ctx, id)
		w.must(err)
		return len(trail) == 1
	}
}

func faultQuota(w *world) (func() error, func() bool) {
	return func() error { return w.s.SetQuota(w.ctx, "b@example.com", 7) }, func() bool {
		_, limit, err := w.s.Usage(w.ctx, "b@example.com")
		w.must(err)
		return limit == 7
	}
}
