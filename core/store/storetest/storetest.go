// Package storetest is the conformance and fault test suite for every backend
// of store.Store. A backend's test calls Run; the suite is the contract in
// executable form.
//
// It covers the methods and their sentinel errors, concurrency, durability
// across a reopening, deliveries and effects that happen once however often
// they are repeated, and faults: each write fails in two ways, not persisted
// and persisted but reported as failed, then the store is opened again and
// Check audits all of it. It does not measure speed, and does not kill the
// process: that is the backend's own test.
package storetest

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
)

// Harness is one place where a store can live.
type Harness struct {
	// Open opens the store as the last Close left it. The suite closes it.
	Open func(t testing.TB) store.Store
	// Clock is the one that Open gives to the store.
	Clock *clock.Clock
	// Sweep does at once what Run does periodically.
	Sweep func(store.Store) error
	// Fail makes the next write fail, with its changes persisted or not.
	Fail func(s store.Store, persisted bool)
	// Audit looks for what the interface cannot show, after a Sweep: bodies
	// without a reference, records of messages that have gone.
	Audit func(store.Store) error
}

// Run runs the suite; fresh makes an empty place for each test.
func Run(t *testing.T, fresh func(t testing.TB) *Harness) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fresh(t))
			c.test(w)
			w.check()
		})
	}
	t.Run("Fault", func(t *testing.T) { runFaults(t, fresh) })
}

var cases = []struct {
	name string
	test func(*world)
}{
	{"Commit", testCommit},
	{"CommitRefused", testCommitRefused},
	{"CommitTwice", testCommitTwice},
	{"LargeBody", testLargeBody},
	{"Discard", testDiscard},
	{"Share", testShare},
	{"ManyRecipients", testManyRecipients},
	{"ManyGroups", testManyGroups},
	{"LongRecords", testLongRecords},
	{"Due", testDue},
	{"DueReopened", testDueReopened},
	{"Hold", testHold},
	{"Settle", testSettle},
	{"SettleRepeated", testSettleRepeated},
	{"SettleAdd", testSettleAdd},
	{"SettleMissing", testSettleMissing},
	{"Remove", testRemove},
	{"Trail", testTrail},
	{"Writers", testWriters},
	{"Context", testContext},
	{"Deliver", testDeliver},
	{"DeliverOnce", testDeliverOnce},
	{"HeaderEdit", testHeaderEdit},
	{"FinalCRLF", testFinalCRLF},
	{"Expunge", testExpunge},
	{"ExpungeMany", testExpungeMany},
	{"Quota", testQuota},
	{"SettleQuota", testSettleQuota},
	{"Lock", testLock},
	{"KV", testKV},
	{"KVExpiry", testKVExpiry},
	{"KVAtomic", testKVAtomic},
	{"Effects", testEffects},
	{"Records", testRecords},
	{"RecordsAtOnce", testRecordsAtOnce},
	{"Closed", testClosed},
}

// world is one test's store.
type world struct {
	testing.TB
	h   *Harness
	s   store.Store
	ctx context.Context
}

func newWorld(t testing.TB, h *Harness) *world {
	w := &world{TB: t, h: h, ctx: t.Context()}
	w.s = h.Open(t)
	t.Cleanup(func() { w.s.Close() })
	return w
}

// reopen closes the store, which may have failed, and opens it again.
func (w *world) reopen() {
	w.Helper()
	if err := w.s.Close(); err != nil {
		w.Fatalf("close: %v", err)
	}
	w.s = w.h.Open(w)
}

// must stops the test on an error.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) now() time.Time { return w.h.Clock.Now() }

const sampleHeader = "From: a@example.org\r\nTo: b@example.com\r\nSubject: post\r\nX-Folded: one\r\n two\r\n\r\n"

// sample returns a message for recipients in one group that is due now.
func (w *world) sample(body string, rcpts ...envelope.Address) *store.Message {
	w.Helper()
	d := w.s.Draft(w.ctx)
	if _, err := io.WriteString(d, body); err != nil {
		w.Fatal(err)
	}
	m := w.bare(rcpts...)
	m.Draft = d
	return m
}

// bare is sample without a body.
func (w *world) bare(rcpts ...envelope.Address) *store.Message {
	g := &envelope.Group{Key: "example.com", Domain: "example.com", Due: w.now(), Expires: w.now().Add(time.Hour)}
	for _, r := range rcpts {
		g.Recipients = append(g.Recipients, envelope.Recipient{Address: r, Orig: r, State: envelope.Queued})
	}
	return &store.Message{
		Envelope: envelope.Envelope{ID: envelope.NewID(w.now()), Sender: "a@example.org", ReceivedAt: w.now().UTC()},
		Header:   []byte(sampleHeader), Groups: []*envelope.Group{g},
	}
}

// commit puts a sample into the spool.
func (w *world) commit(body string, rcpts ...envelope.Address) *store.Message {
	w.Helper()
	m := w.sample(body, rcpts...)
	w.must(w.s.Commit(w.ctx, nil, m))
	return m
}

// done returns a settlement that delivers all recipients of a loaded group.
func (w *world) done(id envelope.ID, block uint32) *store.Settlement {
	w.Helper()
	_, g, err := w.s.Load(w.ctx, id, block)
	w.must(err)
	for i := range g.Recipients {
		g.Recipients[i].State = envelope.Delivered
	}
	g.Attempts++
	return &store.Settlement{ID: id, Block: block, Group: g}
}

func (w *world) body(e *envelope.Envelope) string {
	w.Helper()
	r, err := w.s.Body(w.ctx, e)
	w.must(err)
	return w.read(r)
}

func (w *world) read(r io.ReadCloser) string {
	w.Helper()
	b, err := io.ReadAll(r)
	w.must(err)
	w.must(r.Close())
	return string(b)
}

func (w *world) due(class envelope.Class, before time.Time) (entries []store.DueEntry) {
	w.Helper()
	for e, err := range w.s.Due(w.ctx, class, before) {
		w.must(err)
		entries = append(entries, e)
	}
	return entries
}

func (w *world) items(owner envelope.Address, folder string) (store.MailboxInfo, []store.Item) {
	w.Helper()
	info, err := w.s.Mailbox(w.ctx, owner, folder)
	w.must(err)
	var items []store.Item
	for i, err := range w.s.Items(w.ctx, info.ID) {
		w.must(err)
		items = append(items, i)
	}
	return info, items
}

// pattern is n octets in which a misplaced chunk shows.
func pattern(n int) []byte {
	line := []byte("0123456789abcdefghijklmnopqrstuvwxyz the quick brown fox jumps over the lazy dog\r\n")
	b := bytes.Repeat(line, n/len(line)+1)[:n]
	for i := 0; i < n; i += 1000 {
		b[i] = byte(i/1000) | 1
	}
	return b
}
