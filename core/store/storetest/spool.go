package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

func testCommit(w *world) {
	m := w.sample("hello\r\n", "b@example.com", "c@example.com")
	m.Envelope.Meta = map[string]any{"score": 1.5}
	w.must(w.s.Commit(w.ctx, nil, m))
	w.reopen()

	e, g, err := w.s.Load(w.ctx, m.Envelope.ID, 0)
	w.must(err)
	if e.Size != int64(len(sampleHeader)+7) || e.HeaderSize != int64(len(sampleHeader)) || e.Body.IsZero() {
		w.Errorf("envelope says %d octets, %d of them header, body %s", e.Size, e.HeaderSize, e.Body)
	}
	if want := crc32.Checksum([]byte(sampleHeader+"hello\r\n"), crc32.MakeTable(crc32.Castagnoli)); e.CRC != want {
		w.Errorf("crc %x, want %x", e.CRC, want)
	}
	if e.Meta["score"] != 1.5 || !e.ReceivedAt.Equal(m.Envelope.ReceivedAt) {
		w.Errorf("envelope came back as %+v", e)
	}
	if len(g.Recipients) != 2 || g.Recipients[0].N == g.Recipients[1].N || g.Recipients[1].Address != "c@example.com" {
		w.Errorf("recipients came back as %+v", g.Recipients)
	}
	h, err := w.s.Header(w.ctx, e)
	w.must(err)
	if string(h) != sampleHeader || w.body(e) != "hello\r\n" {
		w.Errorf("octets came back as %q", h)
	}
	if _, _, err := w.s.Load(w.ctx, m.Envelope.ID, 7); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("load of a group that is not there: %v", err)
	}
	if _, err := w.s.Envelope(w.ctx, envelope.NewID(w.now())); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("envelope of a message that is not there: %v", err)
	}
}

func testCommitRefused(w *world) {
	good := w.sample("x", "b@example.com")
	none := w.sample("x")
	both := w.sample("x", "b@example.com")
	both.Share = &envelope.Envelope{}
	gone := w.bare("b@example.com")
	gone.Share = &envelope.Envelope{ID: envelope.NewID(w.now()), Body: envelope.NewID(w.now())}
	for name, m := range map[string]*store.Message{"no recipients": none, "two bodies": both, "body gone": gone} {
		if err := w.s.Commit(w.ctx, nil, good, m); err == nil {
			w.Errorf("%s: committed", name)
		}
	}
	if err := w.s.Commit(w.ctx, nil, good, gone); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("share of a body that has gone: %v", err)
	}
	for e := range w.s.Messages(w.ctx) {
		w.Errorf("message %s of a refused commit is there", e.ID)
	}
	w.must(w.s.Commit(w.ctx, nil, good))
}

func testCommitTwice(w *world) {
	m := w.sample("x", "b@example.com")
	effects := []envelope.Effect{{Space: "s", Op: envelope.Incr, Key: "n", N: 1}}
	w.must(w.s.Commit(w.ctx, effects, m))
	again := w.sample("x", "b@example.com")
	again.Envelope.ID = m.Envelope.ID
	w.must(w.s.Commit(w.ctx, effects, again))
	w.wantValue("s", "n", "1")
}

func testLargeBody(w *world) {
	body := pattern(5<<20 + 12345)
	d := w.s.Draft(w.ctx)
	for p := body; len(p) > 0; {
		n := min(len(p), 70_001)
		if _, err := d.Write(p[:n]); err != nil {
			w.Fatal(err)
		}
		p = p[n:]
	}
	r, err := d.Open()
	w.must(err)
	if d.Size() != int64(len(body)) || w.read(r) != string(body) {
		w.Fatal("the draft does not give back what was written")
	}
	m := w.bare("b@example.com")
	m.Draft = d
	w.must(w.h.Sweep(w.s)) // must not touch a draft that is being written
	w.must(w.s.Commit(w.ctx, nil, m))
	d.Discard()
	w.reopen()
	w.must(w.h.Sweep(w.s))
	if w.body(&m.Envelope) != string(body) {
		w.Error("the body does not come back")
	}
}

func testDiscard(w *world) {
	d := w.s.Draft(w.ctx)
	_, err := d.Write(pattern(3 << 20))
	w.must(err)
	d.Discard()
	d.Discard()
	if _, err := d.Write([]byte("x")); err == nil {
		w.Error("write to a discarded draft")
	}
	crashed := w.s.Draft(w.ctx)
	_, err = crashed.Write(pattern(3 << 20))
	w.must(err)
	w.reopen() // what the draft wrote is an orphan now; the audit looks for it
	w.must(w.h.Sweep(w.s))
}

func testShare(w *world) {
	m := w.commit(string(pattern(700_000)), "b@example.com")
	shared := w.bare("c@example.com")
	shared.Share = &m.Envelope
	shared.Header = []byte("Subject: another header\r\n\r\n")
	w.must(w.s.Commit(w.ctx, nil, shared))
	w.must(w.s.Settle(w.ctx, w.done(m.Envelope.ID, 0)))
	w.must(w.h.Sweep(w.s))
	if w.body(&shared.Envelope) != string(pattern(700_000)) {
		w.Error("a shared body went with the message that it came with")
	}
	w.must(w.s.Settle(w.ctx, w.done(shared.Envelope.ID, 0)))
	w.must(w.h.Sweep(w.s))
	if _, err := w.s.Body(w.ctx, &shared.Envelope); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("body without any reference: %v", err)
	}
}

func testManyRecipients(w *world) {
	m := w.sample("list mail\r\n", "first@example.com")
	for g := range 8 {
		group := *m.Groups[0]
		group.Recipients = nil
		for n := range envelope.MaxGroup {
			a := envelope.Address(fmt.Sprintf("%d-%d@example.com", g, n))
			group.Recipients = append(group.Recipients, envelope.Recipient{Address: a, Orig: a, State: envelope.Queued})
		}
		m.Groups = append(m.Groups, &group)
	}
	w.must(w.s.Commit(w.ctx, nil, m))
	w.check()
	id := m.Envelope.ID
	last := w.done(id, 8)
	last.Group.Recipients = last.Group.Recipients[:999]
	w.must(w.s.Settle(w.ctx, last))
	_, g, err := w.s.Load(w.ctx, id, 8)
	w.must(err)
	if len(g.Recipients) != 1 || g.Recipients[0].Address != "7-999@example.com" {
		w.Errorf("left are %d recipients", len(g.Recipients))
	}
	for block := range uint32(9) {
		w.must(w.s.Settle(w.ctx, w.done(id, block)))
	}
	if _, err := w.s.Envelope(w.ctx, id); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("a message with nothing left: %v", err)
	}
}

// testManyGroups: an expansion to more destinations than any transaction
// holds, in a commit and in a settlement, and its removal.
func testManyGroups(w *world) {
	many := func() (groups []*envelope.Group) {
		for n := range 13_000 {
			g := w.bare(envelope.Address(fmt.Sprintf("b@%d.example", n))).Groups[0]
			g.Key = fmt.Sprint(n)
			groups = append(groups, g)
		}
		return groups
	}
	m := w.sample("x", "b@example.com")
	m.Groups = append(m.Groups, many()...)
	w.must(w.s.Commit(w.ctx, nil, m))
	x := w.done(m.Envelope.ID, 0)
	x.Add = many()
	w.must(w.s.Settle(w.ctx, x))
	if d := w.due(envelope.Normal, far); len(d) != 26_000 {
		w.Errorf("%d groups are due", len(d))
	}
	if _, g, err := w.s.Load(w.ctx, m.Envelope.ID, 26_000); err != nil || g.Recipients[0].Address != "b@12999.example" {
		w.Errorf("the last group: %+v, %v", g, err)
	}
	w.must(w.s.Remove(w.ctx, m.Envelope.ID))
}

// testLongRecords: a full group whose recipients carry much with them is
// settled with a delivery for each.
func testLongRecords(w *world) {
	m := w.sample("x", "b@example.com")
	g := m.Groups[0]
	long := string(pattern(700))
	for n := range envelope.MaxGroup - 1 {
		g.Recipients = append(g.Recipients, envelope.Recipient{
			Address: envelope.Address(fmt.Sprintf("b%d@example.com", n)), State: envelope.Queued, Route: long,
		})
	}
	w.must(w.s.Commit(w.ctx, nil, m))
	x := w.done(m.Envelope.ID, 0)
	held := &x.Group.Recipients[0]
	held.State, held.Route = envelope.Held, long // keeps the message
	for i, r := range x.Group.Recipients[1:] {
		d := delivery(m, uint32(i+1), r.Address, "")
		d.Edit = envelope.HeaderEdit{Prepend: "X-Long: " + long[:600] + "\r\n"}
		d.Size += int64(len(d.Edit.Prepend))
		x.Deliveries = append(x.Deliveries, d)
	}
	w.must(w.s.Settle(w.ctx, x))
	groups, err := w.s.Groups(w.ctx, m.Envelope.ID)
	w.must(err)
	if r := groups[0].Recipients; r[0].State != envelope.Held || r[999].State != envelope.Delivered || r[999].Route != long {
		w.Errorf("recipients came back as %.300v", r)
	}
	info, items := w.items("b998@example.com", "")
	if len(items) != 1 {
		w.Fatalf("%d items", len(items))
	}
	r, err := w.s.Open(w.ctx, info.ID, items[0].UID)
	w.must(err)
	if got := w.read(r); int64(len(got)) != items[0].Size {
		w.Errorf("the item has %d octets instead of %d", len(got), items[0].Size)
	}
}

func testDue(w *world) {
	base := w.now().Truncate(time.Second)
	order := []int{5, 1, 4, 2, 3}
	for _, n := range order {
		m := w.sample("x", "b@example.com")
		m.Groups[0].Due = base.Add(time.Duration(n) * 10 * time.Millisecond)
		m.Groups[0].Key = fmt.Sprint(n)
		w.must(w.s.Commit(w.ctx, nil, m))
	}
	urgent := w.sample("x", "b@example.com")
	urgent.Groups[0].Priority, urgent.Groups[0].Kind = 9, envelope.Mailbox
	w.must(w.s.Commit(w.ctx, nil, urgent))
	w.reopen()
	var keys []string
	for _, e := range w.due(envelope.Normal, base.Add(40*time.Millisecond)) {
		keys = append(keys, e.Key)
	}
	if !slices.Equal(keys, []string{"1", "2", "3", "4"}) {
		w.Errorf("due in the order %v", keys)
	}
	if u := w.due(envelope.Urgent, far); len(u) != 1 || u[0].ID != urgent.Envelope.ID || u[0].Kind != envelope.Mailbox ||
		u[0].Key != "example.com" {
		w.Errorf("urgent: %+v", u)
	}
	// Something due before all that was seen must still be found.
	early := w.sample("x", "b@example.com")
	early.Groups[0].Due = base.Add(-time.Hour)
	w.must(w.s.Commit(w.ctx, nil, early))
	if d := w.due(envelope.Normal, far); len(d) != 6 || d[0].ID != early.Envelope.ID {
		w.Errorf("the early one is not first of %d", len(d))
	}
	w.reopen()
	if d := w.due(envelope.Normal, far); len(d) != 6 || d[0].ID != early.Envelope.ID {
		w.Errorf("after reopening the early one is not first of %d", len(d))
	}
}

// testDueReopened: what was queued before a start is due although the first
// thing after it is another commit.
func testDueReopened(w *world) {
	first := w.commit("x", "b@example.com")
	w.reopen()
	w.h.Clock.Advance(time.Second)
	w.commit("x", "b@example.com")
	w.must(w.h.Sweep(w.s))
	for range 2 {
		if d := w.due(envelope.Normal, far); len(d) != 2 || d[0].ID != first.Envelope.ID {
			w.Errorf("%d due entries: %+v", len(d), d)
		}
		w.reopen()
	}
}

func testHold(w *world) {
	m := w.sample("x", "b@example.com")
	m.Groups[0].Held, m.Groups[0].Reason = true, "quarantine"
	w.must(w.s.Commit(w.ctx, nil, m))
	if d := w.due(envelope.Normal, far); len(d) != 0 {
		w.Errorf("held mail is due: %+v", d)
	}
	g := *m.Groups[0]
	g.Held, g.Recipients, g.Priority = false, nil, 5
	w.must(w.s.Settle(w.ctx, &store.Settlement{ID: m.Envelope.ID, Group: &g}))
	if d := w.due(envelope.Urgent, far); len(d) != 1 {
		w.Errorf("released mail is not due: %+v", d)
	}
}

func testRemove(w *world) {
	m := w.commit("x", "b@example.com", "c@example.com")
	w.must(w.s.Remove(w.ctx, m.Envelope.ID))
	if d := w.due(envelope.Normal, far); len(d) != 0 {
		w.Errorf("removed mail is due: %+v", d)
	}
	if err := w.s.Remove(w.ctx, m.Envelope.ID); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("second removal: %v", err)
	}
}

func testTrail(w *world) {
	var ids []envelope.ID
	for i := range 5 {
		id := envelope.NewID(w.now().Add(time.Duration(i) * time.Second))
		ids = append(ids, id)
		w.must(w.s.AppendTrail(w.ctx, id, []envelope.TrailEntry{{Step: "receive"}, {Step: "queue", Text: fmt.Sprint(i)}}))
	}
	w.must(w.s.AppendTrail(w.ctx, ids[0], []envelope.TrailEntry{{Step: "deliver"}}))
	trail, err := w.s.Trail(w.ctx, ids[0])
	w.must(err)
	if len(trail) != 3 || trail[1].Step != "queue" || trail[2].Step != "deliver" {
		w.Errorf("trail is %+v", trail)
	}
	var newest []envelope.ID
	for id, err := range w.s.Trails(w.ctx, 3) {
		w.must(err)
		newest = append(newest, id)
	}
	if !slices.Equal(newest, []envelope.ID{ids[4], ids[3], ids[2]}) {
		w.Errorf("the newest trails are %v of %v", newest, ids)
	}
	m := w.sample("x", "b@example.com")
	m.Trail = []envelope.TrailEntry{{Step: "receive"}}
	w.must(w.s.Commit(w.ctx, nil, m))
	x := w.done(m.Envelope.ID, 0)
	x.Trail = []envelope.TrailEntry{{Step: "deliver"}}
	w.must(w.s.Settle(w.ctx, x))
	w.reopen()
	if trail, err = w.s.Trail(w.ctx, m.Envelope.ID); err != nil || len(trail) != 2 {
		w.Errorf("the trail does not outlive its message: %v, %v", trail, err)
	}
	w.h.Clock.Advance(400 * 24 * time.Hour)
	if trail, err = w.s.Trail(w.ctx, m.Envelope.ID); err != nil || len(trail) != 0 {
		w.Errorf("trail after a year: %v, %v", trail, err)
	}
}

// testWriters lets many goroutines commit, settle and deliver at once.
func testWriters(w *world) {
	const writers, each = 32, 8
	var wg sync.WaitGroup
	errs := make(chan error, writers*each)
	for n := range writers {
		wg.Go(func() {
			for i := range each {
				errs <- w.oneLife(fmt.Sprintf("body %d %d\r\n", n, i), i%2 == 0)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		w.must(err)
	}
	info, items := w.items("b@example.com", store.Inbox)
	if len(items) != writers*each/2 || info.Count != int64(len(items)) {
		w.Errorf("%d items, %d counted", len(items), info.Count)
	}
	seen := map[string]bool{}
	for _, i := range items {
		r, err := w.s.Open(w.ctx, info.ID, i.UID)
		w.must(err)
		seen[w.read(r)] = true
	}
	if len(seen) != len(items) {
		w.Errorf("%d different messages in %d items", len(seen), len(items))
	}
}

// oneLife commits a message and, if deliver is set, settles it into a mailbox.
func (w *world) oneLife(body string, deliver bool) error {
	d := w.s.Draft(w.ctx)
	if _, err := io.WriteString(d, body); err != nil {
		return err
	}
	m := w.bare("b@example.com")
	m.Draft = d
	if err := w.s.Commit(w.ctx, nil, m); err != nil || !deliver {
		return err
	}
	e, g, err := w.s.Load(w.ctx, m.Envelope.ID, 0)
	if err != nil {
		return err
	}
	g.Recipients[0].State = envelope.Delivered
	return w.s.Settle(w.ctx, &store.Settlement{
		ID: e.ID, Group: g,
		Deliveries: []store.Delivery{{Owner: "b@example.com", Message: e.ID, Source: e, Size: e.Size}},
	})
}

// testContext: a write whose context has ended is all or nothing.
func testContext(w *world) {
	ended, cancel := context.WithCancel(w.ctx)
	cancel()
	committed := 0
	for range 50 {
		m := w.sample("x", "b@example.com")
		err := w.s.Commit(ended, nil, m)
		if err != nil && !errors.Is(err, context.Canceled) {
			w.Fatalf("commit with an ended context: %v", err)
		}
		if err == nil {
			committed++
		}
	}
	w.must(w.s.AppendTrail(w.ctx, envelope.NewID(w.now()), []envelope.TrailEntry{{Step: "receive"}})) // waits for the others
	n := 0
	for _, err := range w.s.Messages(w.ctx) {
		w.must(err)
		n++
	}
	if n < committed {
		w.Errorf("%d messages of %d acknowledged", n, committed)
	}
}

func testClosed(w *world) {
	m := w.commit("x", "b@example.com")
	w.must(w.s.Close())
	_, _, load := w.s.Load(w.ctx, m.Envelope.ID, 0)
	_, get := w.s.Get(w.ctx, "s", "k")
	_, reserve := w.s.Reserve(10)
	var due error
	for _, err := range w.s.Due(w.ctx, envelope.Normal, far) {
		due = err
	}
	for name, err := range map[string]error{
		"load": load, "get": get, "reserve": reserve, "due": due,
		"remove": w.s.Remove(w.ctx, m.Envelope.ID), "close": w.s.Close(),
		"body": readErr(w.s.Body(w.ctx, &m.Envelope)),
	} {
		if !errors.Is(err, store.ErrClosed) {
			w.Errorf("%s after Close: %v", name, err)
		}
	}
	w.s = w.h.Open(w)
	if !bytes.Equal([]byte(w.body(&m.Envelope)), []byte("x")) {
		w.Error("the body is not there after Close")
	}
}

func readErr(r io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
