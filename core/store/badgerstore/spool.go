package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// readState returns the state of a message that is in the spool: ErrNotFound.
func readState(txn *badger.Txn, id envelope.ID) (*state, error) {
	b, err := get(txn, stateKey(id))
	if err != nil {
		return nil, notFound(id, err)
	}
	return decodeState(b)
}

func readEnvelope(txn *badger.Txn, id envelope.ID) (*envelope.Envelope, error) {
	b, err := get(txn, envelopeKey(id))
	if err != nil {
		return nil, notFound(id, err)
	}
	e := new(envelope.Envelope)
	return e, decodeJSON(b, e)
}

// readGroup reads a group with its recipients, Done ones only if all is set.
func readGroup(txn *badger.Txn, id envelope.ID, block uint32, all bool) (*group, error) {
	b, err := get(txn, groupKey(id, block))
	if err != nil {
		return nil, fmt.Errorf("message %s: group %d: %w", id, block, err)
	}
	g, err := decodeGroup(b, block)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	for n := g.first; n < g.first+g.count; n++ {
		b, err := get(txn, rcptKey(id, n))
		if err != nil {
			return nil, fmt.Errorf("message %s: recipient %d: %w: %w", id, n, store.ErrCorrupt, err)
		}
		if recipientDone(b) && !all {
			continue
		}
		r, err := decodeRecipient(b, n)
		if err != nil {
			return nil, fmt.Errorf("message %s: %w", id, err)
		}
		g.Recipients = append(g.Recipients, r)
	}
	return g, nil
}

// Load implements store.Spool.
func (s *spool) Load(_ context.Context, id envelope.ID, block uint32) (e *envelope.Envelope, g *envelope.Group, err error) {
	err = s.view(func(txn *badger.Txn) error {
		q, err := readState(txn, id)
		if err != nil {
			return err
		}
		if block >= q.nextBlock {
			return fmt.Errorf("message %s: group %d: %w", id, block, store.ErrNotFound)
		}
		stored, err := readGroup(txn, id, block, false)
		if err != nil {
			return err
		}
		g = &stored.Group
		e, err = readEnvelope(txn, id)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return e, g, nil
}

// Envelope implements store.Spool.
func (s *spool) Envelope(_ context.Context, id envelope.ID) (e *envelope.Envelope, err error) {
	err = s.view(func(txn *badger.Txn) error {
		if _, err := readState(txn, id); err != nil {
			return err
		}
		e, err = readEnvelope(txn, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Groups implements store.Spool.
func (s *spool) Groups(_ context.Context, id envelope.ID) (groups []*envelope.Group, err error) {
	err = s.view(func(txn *badger.Txn) error {
		q, err := readState(txn, id)
		if err != nil {
			return err
		}
		for block := range q.nextBlock {
			g, err := readGroup(txn, id, block, true)
			if err != nil {
				return err
			}
			groups = append(groups, &g.Group)
		}
		return nil
	})
	return groups, err
}

// Messages implements store.Spool. An envelope without a state is a remainder
// of a removed message and is skipped.
func (s *spool) Messages(ctx context.Context) iter.Seq2[*envelope.Envelope, error] {
	return func(yield func(*envelope.Envelope, error) bool) {
		err := s.each(ctx, prefixOf(keyEnvelope), false, func(txn *badger.Txn, key, payload []byte) error {
			id, err := idAt(key)
			if err != nil {
				return err
			}
			if _, err := readState(txn, id); errors.Is(err, store.ErrNotFound) {
				return nil
			} else if err != nil {
				return err
			}
			e := new(envelope.Envelope)
			if err := decodeJSON(payload, e); err != nil {
				return err
			}
			if !yield(e, nil) {
				return errStop
			}
			return nil
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

// errStop ends a walk without an error.
var errStop = errors.New("stop")

// each walks the keys under prefix in a snapshot, backwards if reverse is set,
// and skips expired ones.
func (s *engine) each(ctx context.Context, prefix []byte, reverse bool, f func(txn *badger.Txn, key, payload []byte) error) error {
	now := s.opt.Clock.Now()
	err := s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: reverse, PrefetchValues: true, PrefetchSize: 64})
		defer it.Close()
		from := prefix
		if reverse {
			from = append(append([]byte{}, prefix...), 0xff)
		}
		for it.Seek(from); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			key := it.Item().KeyCopy(nil)
			v, err := copyValue(it.Item(), key)
			if err != nil {
				return err
			}
			payload, expires, err := unseal(key, v)
			if err == nil && !isExpired(expires, now) {
				err = f(txn, key, payload)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// watermarks keep, for each class, a key below which the due index is empty, so
// that reading its head does not pass the tombstones of everything delivered
// since the last compaction.
type watermarks struct {
	mu    sync.Mutex
	marks [envelope.Classes][]byte // nil: from the start of the class
	scans map[*scan]struct{}
}

// scan is one reading of the head of the index. Keys inserted meanwhile may be
// missing from its snapshot, so they limit the mark that it may set.
type scan struct {
	class envelope.Class
	low   []byte
}

func (w *watermarks) set(marks [envelope.Classes][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks, w.scans = marks, make(map[*scan]struct{})
}

func (w *watermarks) get() [envelope.Classes][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.marks
}

// note lowers marks to keys that have become durable. It is called before
// their writers are answered.
func (w *watermarks) note(keys [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range keys {
		if class := k[2]; w.marks[class] != nil && bytes.Compare(k, w.marks[class]) < 0 {
			w.marks[class] = k
		}
		for s := range w.scans {
			if k[2] == byte(s.class) && (s.low == nil || bytes.Compare(k, s.low) < 0) {
				s.low = k
			}
		}
	}
}

// begin registers a scan, before it takes its snapshot, and returns where it
// starts.
func (w *watermarks) begin(class envelope.Class) (*scan, []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &scan{class: class}
	w.scans[s] = struct{}{}
	if m := w.marks[class]; m != nil {
		return s, m
	}
	return s, duePrefix(class)
}

// end raises the mark to the first key that the scan saw; nil is none at all.
func (w *watermarks) end(s *scan, first []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.scans, s)
	if first == nil {
		first = duePrefix(s.class + 1)
	}
	if s.low != nil && bytes.Compare(s.low, first) < 0 {
		first = s.low
	}
	if bytes.Compare(first, w.marks[s.class]) > 0 {
		w.marks[s.class] = first
	}
}

// Due implements store.Spool.
func (s *spool) Due(ctx context.Context, class envelope.Class, before time.Time) iter.Seq2[store.DueEntry, error] {
	return func(yield func(store.DueEntry, error) bool) {
		if err := s.enter(); err != nil {
			yield(store.DueEntry{}, err)
			return
		}
		defer s.leave()
		if int(class) >= envelope.Classes {
			return
		}
		seen, from := s.marks.begin(class)
		txn := s.db.NewTransaction(false)
		defer txn.Discard()
		it := txn.NewIterator(badger.IteratorOptions{Prefix: duePrefix(class), PrefetchValues: true, PrefetchSize: 100})
		defer it.Close()
		it.Seek(from)
		var first []byte
		if it.Valid() {
			first = it.Item().KeyCopy(nil)
		}
		s.marks.end(seen, first)
		for ; it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				yield(store.DueEntry{}, err)
				return
			}
			e, err := dueEntry(it.Item())
			if err == nil && millis(e.Due) > millis(before) {
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func dueEntry(item *badger.Item) (store.DueEntry, error) {
	e, err := parseDueKey(item.Key())
	if err != nil {
		return e, err
	}
	err = item.Value(func(v []byte) error {
		p, _, err := unseal(item.Key(), v)
		if err != nil {
			return err
		}
		kinds := envelope.GroupKinds()
		if len(p) == 0 || int(p[0]) >= len(kinds) {
			return fmt.Errorf("due entry of %s: %w", e.ID, store.ErrCorrupt)
		}
		key, domain, other := strings.Cut(string(p[1:]), "\x00")
		if !other {
			domain = key
		}
		e.Kind, e.Key, e.Domain = kinds[p[0]], key, domain
		return nil
	})
	return e, err
}

// saveMarks writes the marks in memory to disk, in a transaction without other writes: all
// earlier keys of the index are known then, and none is below the marks that it writes.
func (s *engine) saveMarks(ctx context.Context) error {
	return s.submit(ctx, work, &write{alone: true, apply: func(st *stage) error {
		for class, mark := range s.marks.get() {
			if mark != nil && !bytes.Equal(mark, st.batch.c.persisted[class]) {
				st.put(markKey(envelope.Class(class)), mark)
				st.batch.c.persisted[class] = mark
			}
		}
		return nil
	}})
}
