package commit

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/events"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
)

// countingSpool counts the drafts that are open.
type countingSpool struct {
	store.Spool
	open int
}

type countedDraft struct {
	store.Draft
	s    *countingSpool
	done bool
}

func (s *countingSpool) Draft(ctx context.Context) store.Draft {
	s.open++
	return &countedDraft{Draft: s.Spool.Draft(ctx), s: s}
}

func (d *countedDraft) Discard() {
	if !d.done {
		d.done = true
		d.s.open--
	}
	d.Draft.Discard()
}

// contents returns what a unit holds, as text.
func contents(u *Unit) string {
	var groups, messages []string
	for _, g := range u.Groups {
		groups = append(groups, g.Key)
	}
	for _, m := range u.Messages {
		messages = append(messages, m.Envelope.Subject)
	}
	return fmt.Sprintf("effects %v submits %v undo %d messages %q groups %q deliveries %v dsns %v trail %v events %v drafts %d",
		u.Pending.Effects,
		u.Pending.Submits, len(u.Pending.Undo), messages, groups, u.Deliveries, dsnText(u.DSNs), u.Trail, u.Events, len(u.drafts))
}

func dsnText(list []DSN) (out []string) {
	for _, d := range list {
		out = append(out, fmt.Sprint(d.Action, d.To, len(d.Rcpts)))
	}
	return out
}

// TestRollback adds one of everything that a unit can hold, takes a savepoint at each
// step, and returns to it from the end.
func TestRollback(t *testing.T) {
	spool := openSpool(t)
	rcpt := &envelope.Recipient{Address: "x@out.example"}
	var undone []int
	add := []func(u *Unit){
		func(u *Unit) { u.Pending.Effects = append(u.Pending.Effects, envelope.Effect{Key: "effect"}) },
		func(u *Unit) { u.Pending.Submits = append(u.Pending.Submits, hooks.Submit{Space: "submit"}) },
		func(u *Unit) {
			n := len(u.Pending.Undo)
			u.Pending.Undo = append(u.Pending.Undo, func() { undone = append(undone, n) })
		},
		func(u *Unit) {
			u.Messages = append(u.Messages, &store.Message{Draft: u.Draft(t.Context(), spool), Envelope: envelope.Envelope{Subject: "message"}})
		},
		func(u *Unit) { u.Groups = append(u.Groups, &envelope.Group{Key: "group"}) },
		func(u *Unit) { u.Deliveries = append(u.Deliveries, store.Delivery{Folder: "folder"}) },
		func(u *Unit) { u.AddDSN("failed", "a@a.example", rcpt) },
		func(u *Unit) { u.AddDSN("failed", "a@a.example", &envelope.Recipient{Address: "y@out.example"}) }, // joins the one before
		func(u *Unit) { u.Trail = append(u.Trail, envelope.TrailEntry{Text: "trail"}) },
		func(u *Unit) { u.Events = append(u.Events, events.Event{Name: "event"}) },
		func(u *Unit) { u.Pending.Submits = nil }, // submissions leave the list when their messages are made
	}
	for _, restart := range []bool{false, true} {
		for at := range len(add) + 1 {
			u := &Unit{}
			undone = nil
			for range 2 { // the unit is not empty at the savepoint
				add[at%len(add)](u)
			}
			for _, f := range add[:at] {
				f(u)
			}
			want, undos, open := contents(u), len(u.Pending.Undo), spool.open
			before := u.Savepoint()
			for _, f := range slices.Concat(add[at:], add) {
				f(u)
			}
			trail := slices.Clone(u.Trail)
			later := len(u.Pending.Undo)
			if restart {
				u.Restart(before)
			} else {
				u.Rollback(before)
				if !reflect.DeepEqual(u.Trail, trail) {
					t.Errorf("step %d: after Rollback the trail is %v, want all of it: %v", at, u.Trail, trail)
				}
				u.Trail = u.Trail[:before.trail]
			}
			if got := contents(u); got != want {
				t.Errorf("step %d, restart %v: got\n%s\nwant\n%s", at, restart, got, want)
			}
			if spool.open != open {
				t.Errorf("step %d: %d drafts are open, want %d", at, spool.open, open)
			}
			var wantUndone []int
			for n := later - 1; n >= undos; n-- {
				wantUndone = append(wantUndone, n)
			}
			if !slices.Equal(undone, wantUndone) {
				t.Errorf("step %d: undone in the order %v, want %v", at, undone, wantUndone)
			}
			u.Close()
			u.Close()
			if spool.open != 0 {
				t.Errorf("step %d: %d drafts are open after Close, want 0", at, spool.open)
			}
		}
	}
}

func openSpool(t *testing.T) *countingSpool {
	t.Helper()
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Clock: &clock.Clock{}, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return &countingSpool{Spool: st}
}

// recordedOffers records what a Writer offers to the queue.
type recordedOffers []store.DueEntry

func (o *recordedOffers) Offer(e store.DueEntry) { *o = append(*o, e) }

// TestWriter: committed messages stay when the unit is closed, the queue is offered
// the groups that are not held, and a settlement empties its unit.
func TestWriter(t *testing.T) {
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Clock: &clock.Clock{}, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	var got recordedOffers
	w := NewWriter(st, &got, events.New(st, &hooks.Current{}, telemetry.Discard(), &clock.Clock{}))
	message := func(u *Unit, held bool) *store.Message {
		d := u.Draft(t.Context(), st)
		if _, err := d.Write([]byte("body\r\n")); err != nil {
			t.Fatal(err)
		}
		g := &envelope.Group{Key: "out.example", Kind: envelope.Remote, Domain: "out.example", Held: held, Due: time.Now(),
			Expires:    time.Now().Add(time.Hour),
			Recipients: []envelope.Recipient{{Address: "x@out.example", State: envelope.Queued}}}
		m := &store.Message{Envelope: envelope.Envelope{ID: envelope.NewID(time.Now()), ReceivedAt: time.Now()},
			Header: []byte("Subject: x\r\n\r\n"), Draft: d,
			Groups: []*envelope.Group{g}}
		u.Messages = append(u.Messages, m)
		return m
	}
	u := &Unit{}
	first := message(u, false)
	message(u, true)
	u.Pending.Effects = []envelope.Effect{{Space: "s", Op: envelope.Set, Key: "k", Value: []byte("v")}}
	if err := w.Commit(t.Context(), &hooks.Generation{Chain: hooks.NewChain(nil)}, u); err != nil {
		t.Fatal(err)
	}
	u.Close()
	if len(got) != 1 || got[0].ID != first.Envelope.ID {
		t.Errorf("offered %+v, want only the group that is not held, of %s", got, first.Envelope.ID)
	}
	env, g, err := st.Load(t.Context(), first.Envelope.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := st.Body(t.Context(), env); err != nil {
		t.Errorf("Body after Close: %v, want the body", err)
	} else {
		r.Close()
	}
	s := &Unit{Trail: []envelope.TrailEntry{{Text: "tried"}}}
	more := message(s, false)
	g.Recipients[0].State = envelope.Delivered
	if err := w.Settle(t.Context(), &hooks.Generation{Chain: hooks.NewChain(nil)}, s, env.ID, g); err != nil {
		t.Fatal(err)
	}
	if len(s.Messages)+len(s.Trail) != 0 || len(got) != 2 || got[1].ID != more.Envelope.ID {
		t.Errorf("after Settle the unit holds %s, offered %+v; want an empty unit and one more offer, of %s", contents(s), got,
			more.Envelope.ID)
	}
	s.Close()
	if v, err := st.Get(t.Context(), "s", "k"); err != nil || string(v) != "v" {
		t.Errorf("value of the effect: got %q, %v, want \"v\"", v, err)
	}
}
