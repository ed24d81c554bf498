package storetest

import (
	"errors"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

func testSettle(w *world) {
	m := w.commit("x", "b@example.com", "c@example.com")
	id := m.Envelope.ID
	_, g, err := w.s.Load(w.ctx, id, 0)
	w.must(err)
	next := w.now().Add(5 * time.Minute).Truncate(time.Millisecond)
	g.Due, g.Attempts = next, 1
	r := g.Recipients[0]
	r.State = envelope.Delivered
	g.Recipients = []envelope.Recipient{r}
	w.must(w.s.Settle(w.ctx, &store.Settlement{ID: id, Group: g}))
	w.reopen()
	if d := w.due(envelope.Normal, w.now()); len(d) != 0 {
		w.Errorf("deferred mail is due: %+v", d)
	}
	if d := w.due(envelope.Normal, far); len(d) != 1 || !d[0].Due.Equal(next) {
		w.Errorf("due entries after deferral: %+v", d)
	}
	_, g, err = w.s.Load(w.ctx, id, 0)
	w.must(err)
	if len(g.Recipients) != 1 || g.Recipients[0].Address != "c@example.com" || g.Attempts != 1 || g.Key != "example.com" {
		w.Errorf("group after deferral: %+v", g)
	}
	groups, err := w.s.Groups(w.ctx, id)
	w.must(err)
	if len(groups) != 1 || len(groups[0].Recipients) != 2 {
		w.Errorf("all groups: %+v", groups)
	}
	w.must(w.s.Settle(w.ctx, w.done(id, 0)))
	if _, err := w.s.Envelope(w.ctx, id); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("envelope after the last recipient: %v", err)
	}
	if _, err := w.s.Header(w.ctx, &m.Envelope); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("header after the last recipient: %v", err)
	}
}

// testSettleRepeated: a settlement made twice delivers, bounces and counts once.
func testSettleRepeated(w *world) {
	m := w.commit("x", "b@example.com", "c@example.com")
	x := w.done(m.Envelope.ID, 0)
	x.Group.Recipients = x.Group.Recipients[:1]
	dsn := w.sample("could not deliver", "c@example.com")
	dsn.Envelope.Sender = ""
	x.Messages = []*store.Message{dsn}
	x.Effects = []envelope.Effect{{Space: "s", Op: envelope.Incr, Key: "n", N: 1}}
	x.Deliveries = []store.Delivery{{
		Owner: "b@example.com", Message: m.Envelope.ID, Source: &m.Envelope, Size: m.Envelope.Size,
	}}
	w.must(w.s.Settle(w.ctx, x))
	again := w.sample("could not deliver", "c@example.com")
	again.Envelope.ID = envelope.NewID(w.now())
	x.Messages = []*store.Message{again}
	w.must(w.s.Settle(w.ctx, x))
	again.Draft.Discard()
	w.wantValue("s", "n", "1")
	if _, items := w.items("b@example.com", store.Inbox); len(items) != 1 {
		w.Errorf("%d items instead of one", len(items))
	}
	n := 0
	for range w.s.Messages(w.ctx) {
		n++
	}
	if n != 2 {
		w.Errorf("%d messages instead of the one and its DSN", n)
	}
	w.must(w.s.Settle(w.ctx, w.done(m.Envelope.ID, 0)))
	w.must(w.s.Settle(w.ctx, w.done(dsn.Envelope.ID, 0)))
}

func testSettleAdd(w *world) {
	m := w.commit("x", "list@example.com")
	x := w.done(m.Envelope.ID, 0)
	x.Group.Recipients[0].State = envelope.Expanded
	for _, domain := range []string{"one.example", "two.example"} {
		a := envelope.Address("b@" + domain)
		x.Add = append(x.Add, &envelope.Group{Key: domain, Domain: domain, Due: w.now(),
			Recipients: []envelope.Recipient{{Address: a, State: envelope.Queued}, {Address: "x" + a, State: envelope.Queued}}})
	}
	w.must(w.s.Settle(w.ctx, x))
	if x.Add[1].Block != 2 || x.Add[1].Recipients[1].N == x.Add[0].Recipients[1].N {
		w.Errorf("added groups got the numbers %d and %+v", x.Add[1].Block, x.Add[1].Recipients)
	}
	w.check()
	for block := range uint32(2) {
		_, g, err := w.s.Load(w.ctx, m.Envelope.ID, block+1)
		w.must(err)
		if len(g.Recipients) != 2 || g.Recipients[0].N != x.Add[block].Recipients[0].N {
			w.Errorf("group %d: %+v", block+1, g)
		}
		w.must(w.s.Settle(w.ctx, w.done(m.Envelope.ID, block+1)))
	}
	if _, err := w.s.Envelope(w.ctx, m.Envelope.ID); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("envelope after all groups: %v", err)
	}
}

func testSettleMissing(w *world) {
	m := w.commit("x", "b@example.com")
	x := w.done(m.Envelope.ID, 0)
	effects := []envelope.Effect{{Space: "s", Op: envelope.Set, Key: "k", Value: []byte("v")}}
	stranger := *x.Group
	stranger.Recipients = []envelope.Recipient{{N: 77, State: envelope.Delivered}}
	for name, x := range map[string]*store.Settlement{
		"message":   {ID: envelope.NewID(w.now()), Group: x.Group, Effects: effects},
		"group":     {ID: m.Envelope.ID, Block: 3, Group: x.Group, Effects: effects},
		"recipient": {ID: m.Envelope.ID, Group: &stranger, Effects: effects},
	} {
		if err := w.s.Settle(w.ctx, x); !errors.Is(err, store.ErrNotFound) {
			w.Errorf("settle of a %s that is not there: %v", name, err)
		}
	}
	if _, err := w.s.Get(w.ctx, "s", "k"); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("effect of a refused settlement: %v", err)
	}
}
