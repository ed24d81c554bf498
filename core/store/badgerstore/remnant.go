package badgerstore

import (
	"bytes"
	"context"
	"errors"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// sweepOrphans finds bodies that neither an edge names nor a draft of this
// process: their intake ended before its commit. Then header sections that no
// edge names. What the walk sees may be outdated by then; the transaction
// that removes looks again.
func (s *Store) sweepOrphans(ctx context.Context) error {
	err := s.eachID(ctx, keyBody, idLen, func(suffix []byte) error {
		body := envelope.ID(suffix)
		if used, err := s.used(idKey(keyEdge, body)); used || err != nil || s.drafting(body) {
			return err
		}
		return s.sweepBody(ctx, body, envelope.ID{})
	})
	if err != nil {
		return err
	}
	return s.eachID(ctx, keyHeader, idLen, func(suffix []byte) error {
		id := envelope.ID(suffix)
		h, err := s.readHeader(id)
		if err != nil {
			return ignoreDamage(err)
		}
		if used, err := s.used(edgePrefix(h.body, id)); used || err != nil {
			return err
		}
		return s.sweepBody(ctx, h.body, id)
	})
}

// ignoreDamage lets a sweep go on where a record cannot be read or has gone:
// whoever needs the record will say so.
func ignoreDamage(err error) error {
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func (s *Store) used(prefix []byte) (used bool, err error) {
	err = s.view(func(txn *badger.Txn) error {
		used = hasPrefix(txn, prefix)
		return nil
	})
	return used, err
}

// sweepRemnants removes records of messages without a state: what was written
// early for a commit that never came, or keys that came back.
func (s *Store) sweepRemnants(ctx context.Context) error {
	for _, kind := range []byte{keyEnvelope, keyGroup, keyRcpt} {
		err := s.eachID(ctx, kind, idLen, func(suffix []byte) error {
			return s.sweepRemnant(ctx, kind, envelope.ID(suffix))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) sweepRemnant(ctx context.Context, kind byte, id envelope.ID) error {
	err := s.view(func(txn *badger.Txn) error {
		_, err := readState(txn, id)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for more := true; more; {
		err := s.commit(ctx, work, 0, func(st *stage) error {
			n := 0
			more = false
			if _, err := st.state(id); !errors.Is(err, store.ErrNotFound) {
				return err
			}
			st.keys(idKey(kind, id), func(key []byte) bool {
				st.remove(key)
				n++
				return n < sweepSlice
			})
			more = n == sweepSlice
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepDue removes entries of the due index that their group does not know.
func (s *Store) sweepDue(ctx context.Context) error {
	return s.eachID(ctx, keyDue, 1+6+idLen+4, func(suffix []byte) error {
		key := append(prefixOf(keyDue), suffix...)
		e, err := parseDueKey(key)
		if err != nil {
			return err
		}
		var known bool
		err = s.view(func(txn *badger.Txn) error {
			known, err = dueKnown(txn, key, e)
			return err
		})
		if err != nil || known {
			return err
		}
		return s.commit(ctx, work, 0, func(st *stage) error {
			if known, err := dueKnown(st.batch.tx(), key, e); err != nil || known {
				return err
			}
			st.remove(key)
			return nil
		})
	})
}

func dueKnown(txn *badger.Txn, key []byte, e store.DueEntry) (bool, error) {
	if _, err := readState(txn, e.ID); errors.Is(err, store.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	b, err := getExisting(txn, groupKey(e.ID, e.Block))
	if err != nil || b == nil {
		return false, err
	}
	g, err := decodeGroup(b, e.Block)
	return err == nil && bytes.Equal(g.dueKey(e.ID), key), err
}
