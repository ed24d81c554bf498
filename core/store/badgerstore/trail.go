package badgerstore

import (
	"context"
	"iter"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
)

// trailEntry encodes entries as one record, or none. Records sort by time and
// within the same nanosecond by when they were made.
func (s *spool) trailEntry(id envelope.ID, entries []envelope.TrailEntry) ([]entry, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	b, err := encodeJSON(entries)
	if err != nil {
		return nil, err
	}
	now := s.opt.Clock.Now()
	key := trailKey(id, s.nextSeq(now))
	return []entry{{
		key: key, value: sealExpiring(key, b, now.Add(s.opt.Trail)),
		ttl: time.Now().Add(s.opt.Trail + time.Hour),
	}}, nil
}

func (s *spool) nextSeq(now time.Time) uint64 {
	for {
		last := s.seq.Load()
		next := max(uint64(now.UnixNano()), last+1)
		if s.seq.CompareAndSwap(last, next) {
			return next
		}
	}
}

// AppendTrail implements store.Spool.
func (s *spool) AppendTrail(ctx context.Context, id envelope.ID, entries []envelope.TrailEntry) error {
	e, err := s.trailEntry(id, entries)
	if err != nil {
		return err
	}
	return s.commit(ctx, work, 0, func(st *stage) error {
		for _, e := range e {
			st.add(e)
		}
		return nil
	})
}

// Trail implements store.Spool; a message without a trail has an empty one.
func (s *spool) Trail(ctx context.Context, id envelope.ID) (all []envelope.TrailEntry, err error) {
	err = s.each(ctx, trailPrefix(id), false, func(_ *badger.Txn, _, payload []byte) error {
		var entries []envelope.TrailEntry
		if err := decodeJSON(payload, &entries); err != nil {
			return err
		}
		all = append(all, entries...)
		return nil
	})
	return all, err
}

// Trails implements store.Spool.
func (s *spool) Trails(ctx context.Context, limit int) iter.Seq2[envelope.ID, error] {
	return func(yield func(envelope.ID, error) bool) {
		var last envelope.ID
		err := s.each(ctx, prefixOf(keyTrail), true, func(_ *badger.Txn, key, _ []byte) error {
			id, err := idAt(key)
			if err != nil || id == last {
				return err
			}
			if limit--; limit < 0 || !yield(id, nil) {
				return errStop
			}
			last = id
			return nil
		})
		if err != nil {
			yield(envelope.ID{}, err)
		}
	}
}
