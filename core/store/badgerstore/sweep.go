package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// sweepSlice is how many keys one transaction of the sweeper looks at or
// removes: other writes wait meanwhile.
const sweepSlice = 1000

// Sweep removes what nothing refers to: first what was noted as possible
// garbage, then, if all is set, what a walk over the keys finds. Every step
// checks and removes in one transaction; a crash leaves the rest for the next
// sweep.
func (s *sweeper) Sweep(ctx context.Context, all bool) error {
	steps := []func(context.Context) error{s.sweepAbandoned}
	if s.garbage.Swap(false) || all {
		steps = append(steps, s.sweepMessages, s.sweepBodies)
	}
	if all {
		steps = append(steps, s.sweepDelivered, s.sweepStateless, s.sweepOrphans, s.sweepDue)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	return nil
}

// eachID walks the keys of a kind in slices and calls f with what follows the
// prefix, cut to size octets, each once.
func (s *sweeper) eachID(ctx context.Context, kind byte, size int, f func(suffix []byte) error) error {
	from := prefixOf(kind)
	for from != nil {
		var found [][]byte
		err := s.view(func(txn *badger.Txn) error {
			found = distinct(txn, prefixOf(kind), from, size)
			return nil
		})
		if err != nil {
			return err
		}
		from = nil
		if len(found) == sweepSlice {
			from = after(append(prefixOf(kind), found[len(found)-1]...))
		}
		for _, suffix := range found {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(suffix); errors.Is(err, errStop) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

func distinct(txn *badger.Txn, prefix, from []byte, size int) (found [][]byte) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid() && len(found) < sweepSlice; {
		k := it.Item().KeyCopy(nil)
		if len(k) < len(prefix)+size {
			it.Next() // no key of ours
			continue
		}
		k = k[:len(prefix)+size]
		found = append(found, k[len(prefix):])
		it.Seek(after(k))
	}
	return found
}

// after returns the first key after all that begin with k.
func after(k []byte) []byte {
	k = bytes.Clone(k)
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			return k[:i+1]
		}
	}
	return nil
}

// clear removes all keys under prefix, a slice per transaction.
func (s *sweeper) clear(ctx context.Context, prefix []byte) error {
	for more := true; more; {
		err := s.commit(ctx, work, 0, func(st *stage) error {
			n := 0
			st.keys(prefix, func(key []byte) bool {
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

// sweepMessages clears the records of large messages that have gone.
func (s *sweeper) sweepMessages(ctx context.Context) error {
	return s.eachID(ctx, keyClear, idLen, func(suffix []byte) error {
		id := envelope.ID(suffix)
		if err := s.clearMessage(ctx, id); err != nil {
			return err
		}
		return s.drop(ctx, clearKey(id))
	})
}

func (s *sweeper) clearMessage(ctx context.Context, id envelope.ID) error {
	if err := s.clear(ctx, idKey(keyRcpt, id)); err != nil {
		return err
	}
	for more := true; more; {
		err := s.commit(ctx, work, 0, func(st *stage) (err error) {
			more, err = st.clearGroups(id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// clearGroups removes a slice of a message's groups with their due entries.
func (st *stage) clearGroups(id envelope.ID) (more bool, err error) {
	var keys [][]byte
	st.keys(idKey(keyGroup, id), func(key []byte) bool {
		keys = append(keys, key)
		return len(keys) < sweepSlice
	})
	for _, k := range keys {
		g, err := st.group(id, binary.BigEndian.Uint32(k[2+idLen:]))
		if err != nil {
			return false, err
		}
		if due := g.dueKey(id); due != nil {
			st.remove(due)
		}
		st.remove(k)
	}
	return len(keys) == sweepSlice, nil
}

func (s *sweeper) drop(ctx context.Context, keys ...[]byte) error {
	return s.commit(ctx, work, 0, func(st *stage) error {
		for _, k := range keys {
			st.remove(k)
		}
		return nil
	})
}

// sweepAbandoned removes the chunks of drafts that were given up.
func (s *sweeper) sweepAbandoned(ctx context.Context) error {
	s.draftMu.Lock()
	abandoned := s.abandoned
	s.abandoned = nil
	s.draftMu.Unlock()
	for _, id := range abandoned {
		if err := s.sweepBody(ctx, id, envelope.ID{}); err != nil {
			return err
		}
	}
	return nil
}

// sweepBodies looks at bodies that lost a reference.
func (s *sweeper) sweepBodies(ctx context.Context) error {
	return s.eachID(ctx, keyGarbage, 2*idLen, func(suffix []byte) error {
		return s.sweepBody(ctx, envelope.ID(suffix), envelope.ID(suffix[idLen:]))
	})
}

// sweepBody removes a header section that no edge names, and the body if no
// edge is left at all. The committer runs it, so no edge can come meanwhile.
func (s *sweeper) sweepBody(ctx context.Context, body, header envelope.ID) error {
	return s.commit(ctx, work, 0, func(st *stage) error {
		if !header.IsZero() {
			st.remove(garbageKey(body, header))
			if !st.hasPrefix(edgePrefix(body, header)) {
				st.remove(headerKey(header))
			}
		}
		if !s.drafting(body) && !st.hasPrefix(idKey(keyEdge, body)) {
			st.keys(idKey(keyBody, body), func(key []byte) bool {
				st.remove(key)
				return true
			})
		}
		return nil
	})
}

// sweepDelivered forgets the delivery keys of messages gone a week ago.
func (s *sweeper) sweepDelivered(ctx context.Context) error {
	now := s.opt.Clock.Now()
	return s.eachID(ctx, keyForget, 6+idLen, func(suffix []byte) error {
		when, id := millisAt(suffix), envelope.ID(suffix[6:])
		if now.Before(when) {
			return errStop
		}
		if err := s.clear(ctx, deliveredPrefix(id)); err != nil {
			return err
		}
		return s.drop(ctx, forgetKey(when, id))
	})
}

// sweepOrphans removes bodies that neither an edge nor a draft of this process
// names: their message was never committed. Then it removes header sections
// that no edge names. What the walk sees may be outdated; the transaction that
// removes checks again.
func (s *sweeper) sweepOrphans(ctx context.Context) error {
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
			return skipDamaged(err)
		}
		if used, err := s.used(edgePrefix(h.body, id)); used || err != nil {
			return err
		}
		return s.sweepBody(ctx, h.body, id)
	})
}

// skipDamaged lets a sweep continue if a record cannot be read or is gone:
// those who need the record will report it.
func skipDamaged(err error) error {
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func (s *engine) used(prefix []byte) (used bool, err error) {
	err = s.view(func(txn *badger.Txn) error {
		used = hasPrefix(txn, prefix)
		return nil
	})
	return used, err
}

// sweepStateless removes records of messages without a state: records written
// early for a commit that never came, or deleted keys that came back.
func (s *sweeper) sweepStateless(ctx context.Context) error {
	for _, kind := range []byte{keyEnvelope, keyGroup, keyRcpt} {
		err := s.eachID(ctx, kind, idLen, func(suffix []byte) error {
			return s.sweepStatelessMessage(ctx, kind, envelope.ID(suffix))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sweeper) sweepStatelessMessage(ctx context.Context, kind byte, id envelope.ID) error {
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
func (s *sweeper) sweepDue(ctx context.Context) error {
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
