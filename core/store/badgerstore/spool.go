package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"iter"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// readState is the state of a message that is in the spool: ErrNotFound.
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
func (s *Store) Load(_ context.Context, id envelope.ID, block uint32) (e *envelope.Envelope, g *envelope.Group, err error) {
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
func (s *Store) Envelope(_ context.Context, id envelope.ID) (e *envelope.Envelope, err error) {
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
func (s *Store) Groups(_ context.Context, id envelope.ID) (groups []*envelope.Group, err error) {
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

// Messages implements store.Spool. An envelope without a state is left from a
// message that has gone and is not there.
func (s *Store) Messages(ctx context.Context) iter.Seq2[*envelope.Envelope, error] {
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

// each walks what lives under prefix in a snapshot, backwards if reverse is
// set, and skips what the clock has ended.
func (s *Store) each(ctx context.Context, prefix []byte, reverse bool, f func(txn *badger.Txn, key, payload []byte) error) error {
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
			if err == nil && !expired(expires, now) {
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
