package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/store"
)

// Record implements store.Data.
func (s *adminData) Record(_ context.Context, kind, name string) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	key, revision := recordKey(kind, name), s.records.revision.Load()
	value, known, err := s.records.get(revision, key)
	if known {
		return value, err
	}
	err = s.db.View(func(txn *badger.Txn) error {
		value, err = get(txn, key)
		return err
	})
	s.records.put(revision, key, value, err)
	if err != nil {
		return nil, err
	}
	return value, nil
}

// PutRecords implements store.Data. A crash before the transaction leaves the
// old records, a crash after it the new ones.
func (s *adminData) PutRecords(ctx context.Context, records ...store.Record) error {
	records = slices.Clone(records)
	var size int64
	for i := range records {
		r := &records[i]
		if strings.ContainsRune(r.Kind+r.Name, 0) || len(r.Kind)+len(r.Name) > maxKey {
			return fmt.Errorf("record %.20q %.40q: name is too long or holds NUL", r.Kind, r.Name)
		}
		r.Value, r.Old = bytes.Clone(r.Value), bytes.Clone(r.Old)
		size += int64(len(r.Value))
	}
	return s.commit(ctx, work, size, func(st *stage) error {
		for i := range records {
			if err := st.record(&records[i]); err != nil {
				return fmt.Errorf("record %s %s: %w", records[i].Kind, records[i].Name, err)
			}
		}
		return nil
	})
}

func (st *stage) record(r *store.Record) error {
	key := recordKey(r.Kind, r.Name)
	if r.Check {
		old, err := st.get(key)
		absent := errors.Is(err, store.ErrNotFound)
		if err != nil && !absent {
			return err
		}
		if absent != (r.Old == nil) || !absent && !bytes.Equal(old, r.Old) {
			return store.ErrConflict
		}
	}
	if r.Value == nil {
		st.remove(key)
	} else {
		st.put(key, r.Value)
	}
	return nil
}

// Records implements store.Data.
func (s *adminData) Records(ctx context.Context, kind, prefix string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		skip := len(recordKey(kind, ""))
		err := s.each(ctx, recordKey(kind, prefix), false, func(_ *badger.Txn, key, payload []byte) error {
			if !yield(store.Record{Kind: kind, Name: string(key[skip:]), Value: payload}, nil) {
				return errStop
			}
			return nil
		})
		if err != nil {
			yield(store.Record{}, err)
		}
	}
}

// Records that are longer are read each time, and more than so many are not
// remembered.
const (
	longRecord = 4 << 10
	maxRecords = 10_000
)

// recordCache keeps records that were read, because each message reads the same accounts
// and aliases several times. It also remembers missing records. All are of one revision;
// each commit with a record begins a new revision before its caller gets the result, so
// that a caller never reads a record older than its own write.
type recordCache struct {
	revision atomic.Uint64

	mu   sync.RWMutex
	of   uint64            // revision of seen
	seen map[string][]byte // nil: not there
}

// changed is called when a commit with records is over, however it went.
func (m *recordCache) changed() { m.revision.Add(1) }

// get returns a cached record of the revision; the error is ErrNotFound for a record that does not exist.
func (m *recordCache) get(revision uint64, key []byte) (value []byte, known bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.of != revision {
		return nil, false, nil
	}
	if value, known = m.seen[string(key)]; known && value == nil {
		err = store.ErrNotFound
	}
	return bytes.Clone(value), known, err
}

// put stores a record that was read after the caller got this revision.
func (m *recordCache) put(revision uint64, key, value []byte, err error) {
	if len(value) > longRecord || err != nil && !errors.Is(err, store.ErrNotFound) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case revision < m.of:
		return
	case revision > m.of || m.seen == nil || len(m.seen) >= maxRecords:
		m.of, m.seen = revision, map[string][]byte{}
	}
	if err != nil {
		m.seen[string(key)] = nil
	} else {
		m.seen[string(key)] = append(make([]byte, 0, len(value)), value...)
	}
}
