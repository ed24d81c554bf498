package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

const (
	maxWrites = 512     // in one batch
	maxOctets = 8 << 20 // of bodies in one batch
	linger    = 500 * time.Microsecond
	// minCrowd is how many writes the last batch must have had for the next to
	// wait for more: a lone writer would only lose by it.
	minCrowd = 8
)

// write is one request to the committer.
type write struct {
	size int64 // octets of bodies, for the size of batches
	// apply checks and stages the write. An error means that nothing of it
	// is written.
	apply func(*stage) error
	// alone gives the write a transaction without other writes.
	alone bool
	taken atomic.Bool // by the committer, or by a caller that gave up
	done  chan error
}

// commit writes the changes of apply and returns when they are on disk. If ctx
// ends before the committer began with them, nothing is written; if it ends
// later, the caller does not know the outcome, but it is still all or nothing.
func (s *engine) commit(ctx context.Context, u urgency, size int64, apply func(*stage) error) error {
	return s.submit(ctx, u, &write{size: size, apply: apply})
}

func (s *engine) submit(ctx context.Context, u urgency, w *write) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.failure.err(); err != nil {
		return err
	}
	if err := s.space.take(u, w.size); err != nil {
		return err
	}
	w.done = make(chan error, 1)
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return fmt.Errorf("nothing written: %w", ctx.Err())
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.taken.CompareAndSwap(false, true) {
			return fmt.Errorf("nothing written: %w", ctx.Err())
		}
		return fmt.Errorf("outcome of the write unknown: %w", ctx.Err())
	}
}

// committer is the state of the goroutine that writes.
type committer struct {
	store     *engine
	last      int                // writes in the last batch
	persisted [][]byte           // watermarks on disk, by class
	cache     map[string]counter // as on disk
}

func (s *engine) commitLoop(c *committer) {
	defer close(s.done)
	for w := range s.queue {
		c.run(w)
	}
}

// run forms a batch that begins with w, and commits it.
func (c *committer) run(w *write) {
	b := newBatch(c)
	var octets int64
	waited := false
	for n := 0; ; {
		b.take(w)
		n++
		octets += w.size
		if n >= maxWrites || octets >= maxOctets {
			break
		}
		if w = c.next(n, &waited); w == nil {
			break
		}
	}
	b.flush()
	c.last = b.total
}

// next returns a waiting write, or nil when the batch should be committed. It
// waits once for more, and only if there were many writers and not all of them
// have come: without that, each batch has half of the writers while the others
// queue.
func (c *committer) next(n int, waited *bool) *write {
	select {
	case w := <-c.store.queue:
		return w
	default:
	}
	if *waited || c.last <= minCrowd || n >= c.last {
		return nil
	}
	*waited = true
	timer := time.NewTimer(linger)
	defer timer.Stop()
	select {
	case w := <-c.store.queue:
		*waited = n+1 >= c.last
		return w
	case <-timer.C:
		return nil
	}
}

// faultMode is how a test has the next commit fail.
type faultMode uint8

const (
	faultNone     faultMode = iota
	faultLost               // nothing is persisted, failure is reported
	faultReported           // everything is persisted, failure is reported
)

// faultFunc is called before each transaction of a batch.
type faultFunc func() faultMode

var errInjected = errors.New("injected fault")

// errTooBig is for a single write that no transaction can hold.
var errTooBig = errors.New("write too large for one transaction")

// notFound says which message is not there.
func notFound(what fmt.Stringer, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("message %s: %w", what, err)
	}
	return err
}

// batch is one transaction that is being prepared, with the callers that wait for it.
type batch struct {
	c        *committer
	s        *engine
	txn      *badger.Txn // nil while there is nothing in it, see tx
	waiting  []*write
	counters map[string]counter
	due      [][]byte
	count    int64 // entries, counters included
	size     int64 // as Badger counts it
	octets   int64
	deletes  int64
	records  bool // there are some in it, see remembered
	total    int  // writes taken, over all transactions
}

func newBatch(c *committer) *batch {
	return &batch{c: c, s: c.store}
}

// tx returns the transaction, begun when it is needed. None may be left open when
// the committer waits: an open one keeps Badger from discarding anything.
func (b *batch) tx() *badger.Txn {
	if b.txn == nil {
		b.txn = b.s.db.NewTransaction(true)
	}
	return b.txn
}

// take adds a write, or answers it when it is refused.
func (b *batch) take(w *write) {
	if !w.taken.CompareAndSwap(false, true) {
		return // its caller gave up
	}
	b.total++
	if err := b.s.failure.err(); err != nil {
		w.done <- err
		return
	}
	if w.alone {
		b.flush()
	}
	st := &stage{batch: b, now: b.s.opt.Clock.Now()}
	if err := w.apply(st); err != nil {
		w.done <- err
		return
	}
	st.finish()
	b.lowerMarks(st)
	if err := b.merge(st); err != nil {
		w.done <- err
		return
	}
	b.waiting = append(b.waiting, w)
	if w.alone {
		b.flush()
	}
}

// lowerMarks lowers a watermark on disk in the transaction that puts something
// below it into the due index.
func (b *batch) lowerMarks(st *stage) {
	for _, k := range st.due {
		class := k[2]
		if mark := b.c.persisted[class]; mark != nil && bytes.Compare(k, mark) < 0 {
			st.put(markKey(envelope.Class(class)), k)
			b.c.persisted[class] = k
		}
	}
}

// merge moves a stage into the transaction. What does not fit goes into the
// next one; what fits into none is split where that cannot be seen.
func (b *batch) merge(st *stage) error {
	counters := int64(len(st.counters))
	count, size := b.cost(st.entries)
	if size > b.s.db.MaxBatchSize()/2 && !b.s.opt.InMemory {
		pad(st.entries)
		count, size = b.cost(st.entries)
	}
	count, size = count+counters, size+256*counters
	earlyCount, earlySize := b.cost(st.early)
	if !b.fits(count+earlyCount, size+earlySize) {
		b.flush()
		if err := b.s.failure.err(); err != nil {
			return err
		}
	}
	if !b.fits(count, size) || b.oversize(st.entries) || b.oversize(st.early) {
		b.s.outgrown.Store(true)
		return errTooBig
	}
	if b.fits(count+earlyCount, size+earlySize) {
		b.set(st.early)
	} else if err := b.writeEarly(st.early); err != nil {
		return err
	}
	b.set(st.entries)
	for k, c := range st.counters {
		if b.counters == nil {
			b.counters = make(map[string]counter)
		}
		b.counters[k] = c
		b.count, b.size = b.count+1, b.size+256
	}
	b.due = append(b.due, st.due...)
	return nil
}

// limits leave room for what Badger adds to a transaction.
func (b *batch) fits(count, size int64) bool {
	return b.count+count < b.s.db.MaxBatchCount()*9/10 && b.size+size < b.s.db.MaxBatchSize()*9/10
}

// cost returns what entries count for in a transaction of Badger: values above the
// threshold only with their pointer.
func (b *batch) cost(entries []entry) (count, size int64) {
	for i := range entries {
		e := &entries[i]
		n := len(e.value)
		if n >= valueThreshold && !b.s.opt.InMemory {
			n = 12
		}
		size += int64(len(e.key) + n + 12)
	}
	return int64(len(entries)), size
}

// pad brings the JSON of recipients and header edits up to the size at which
// Badger counts only their pointers, so that a full group with long records
// still fits into one transaction. JSON does not mind blanks at its end.
func pad(entries []entry) {
	for i := range entries {
		e := &entries[i]
		if k := e.key[0]; k != keyRcpt && k != keyEdit || len(e.value) < valueThreshold/8 || len(e.value) >= valueThreshold {
			continue
		}
		v := append(make([]byte, 0, valueThreshold), e.value[:len(e.value)-sealTail]...)
		v = append(v, bytes.Repeat([]byte{' '}, valueThreshold-sealTail-len(v))...)
		e.value = sealTo(e.key, v)
	}
}

// oversize reports whether Badger would refuse one of the values.
func (b *batch) oversize(entries []entry) bool {
	limit := vlogFile
	switch {
	case b.s.opt.InMemory && b.s.opt.Small:
		limit = smallValue
	case b.s.opt.InMemory:
		limit = maxInMemory
	}
	return slices.ContainsFunc(entries, func(e entry) bool { return len(e.value) > limit })
}

func (b *batch) set(entries []entry) {
	count, size := b.cost(entries)
	b.count, b.size = b.count+count, b.size+size
	for i := range entries {
		b.setOne(&entries[i])
	}
}

func (b *batch) setOne(e *entry) {
	b.octets += int64(len(e.key) + len(e.value))
	b.records = b.records || e.key[0] == keyRecord
	var err error
	if e.value == nil {
		b.deletes++
		err = b.tx().Delete(e.key)
	} else {
		be := badger.NewEntry(e.key, e.value)
		if !e.ttl.IsZero() {
			be.ExpiresAt = uint64(e.ttl.Unix())
		}
		err = b.tx().SetEntry(be)
	}
	if err != nil {
		// Keys, sizes and counts were checked, so the transaction is in a
		// state that nobody foresaw and must not be committed.
		b.s.failure.fail(fmt.Errorf("transaction: %w", err))
	}
}

// writeEarly writes entries in separate transactions. A crash between them leaves records
// that do not count: a state names the highest group and recipient, and the sweeper
// removes records without a state.
func (b *batch) writeEarly(entries []entry) error {
	b.flush()
	for i := range entries {
		if count, size := b.cost(entries[i : i+1]); !b.fits(count, size) {
			b.flush()
		}
		b.set(entries[i : i+1])
	}
	b.flush()
	return b.s.failure.err()
}

// counter returns the newest value of a counter, nil when it has to be read.
func (b *batch) counter(key []byte) counter {
	if c := b.counters[string(key)]; c != nil {
		return c
	}
	return b.c.cache[string(key)]
}

// flush commits the batch, answers the callers that wait, and begins a new batch.
func (b *batch) flush() {
	err := b.commit()
	if b.records {
		b.s.records.changed()
		b.records = false
	}
	for _, w := range b.waiting {
		w.done <- err
	}
	if err == nil {
		b.s.commits.Add(min(1, b.count))
		b.s.committed.Add(int64(len(b.waiting)))
	}
	b.waiting, b.due, b.counters = b.waiting[:0], nil, nil
	b.count, b.size, b.octets, b.deletes = 0, 0, 0, 0
	if b.txn != nil {
		b.txn.Discard()
		b.txn = nil
	}
}

// commit is the only place where anything becomes durable. A crash before or
// in it leaves the state before the batch, a crash after it the one after;
// Badger drops a transaction whose end is not in its log.
func (b *batch) commit() error {
	for k, c := range b.counters {
		b.setOne(&entry{key: []byte(k), value: seal([]byte(k), c.encode())})
	}
	if err := b.s.failure.err(); err != nil {
		return err
	}
	if b.count == 0 {
		return nil
	}
	if err := b.send(); err != nil {
		return b.s.failure.fail(fmt.Errorf("commit: %w", err))
	}
	// Badger only logs when the value log could not be flushed.
	if err := b.s.failure.err(); err != nil {
		return err
	}
	b.s.marks.note(b.due)
	b.s.space.wrote(b.octets)
	b.s.tombs.Add(b.deletes)
	if len(b.c.cache) > maxCounters {
		clear(b.c.cache)
	}
	for k, c := range b.counters {
		b.c.cache[k] = c
	}
	return nil
}

// maxCounters bounds the counters in memory, of some 200 octets each.
const maxCounters = 20_000

func (b *batch) send() error {
	mode := faultNone
	if f := b.s.fault.Load(); f != nil {
		mode = (*f)()
	}
	if mode == faultLost {
		return errInjected
	}
	err := b.tx().Commit()
	if mode == faultReported {
		return errors.Join(errInjected, err)
	}
	return err
}
