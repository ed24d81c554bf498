package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
)

// batch is one transaction in the making, with those who wait for it.
type batch struct {
	c        *committer
	s        *Store
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

// tx is the transaction, begun when it is needed. None may be left open when
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
	if err := b.s.latch.err(); err != nil {
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
	b.keepMarks(st)
	if err := b.merge(st); err != nil {
		w.done <- err
		return
	}
	b.waiting = append(b.waiting, w)
	if w.alone {
		b.flush()
	}
}

// keepMarks lowers a watermark on disk in the transaction that puts something
// below it into the due index.
func (b *batch) keepMarks(st *stage) {
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
		if err := b.s.latch.err(); err != nil {
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

// cost is what entries count for in a transaction of Badger: values above the
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

// oversize tells whether Badger would refuse one of the values.
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
		b.s.latch.fail(fmt.Errorf("transaction: %w", err))
	}
}

// writeEarly writes entries in transactions of their own. A crash there
// leaves records that nothing counts: a state names the highest group and
// recipient, and the sweeper clears records without a state.
func (b *batch) writeEarly(entries []entry) error {
	b.flush()
	for i := range entries {
		if count, size := b.cost(entries[i : i+1]); !b.fits(count, size) {
			b.flush()
		}
		b.set(entries[i : i+1])
	}
	b.flush()
	return b.s.latch.err()
}

// counter is the newest value of a counter, nil when it has to be read.
func (b *batch) counter(key []byte) counter {
	if c := b.counters[string(key)]; c != nil {
		return c
	}
	return b.c.cache[string(key)]
}

// flush commits what was gathered, answers those who wait, and begins anew.
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
// in it leaves the state before the batch, a crash after it the one behind;
// Badger drops a transaction whose end is not in its log.
func (b *batch) commit() error {
	for k, c := range b.counters {
		b.setOne(&entry{key: []byte(k), value: seal([]byte(k), c.encode())})
	}
	if err := b.s.latch.err(); err != nil {
		return err
	}
	if b.count == 0 {
		return nil
	}
	if err := b.send(); err != nil {
		return b.s.latch.fail(fmt.Errorf("commit: %w", err))
	}
	// Badger only logs when the value log could not be flushed.
	if err := b.s.latch.err(); err != nil {
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
