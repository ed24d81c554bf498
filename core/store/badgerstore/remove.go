package badgerstore

import (
	"context"
	"fmt"
	"time"

	"carteiro/core/message/envelope"
)

const (
	// maxInline is the most records of a message that are deleted in the
	// transaction that ends it; more are left to the sweeper.
	maxInline = 2000
	// keepDelivered is how long the keys of deliveries outlive the message.
	keepDelivered = 7 * 24 * time.Hour
)

// Remove implements store.Spool.
func (s *Store) Remove(ctx context.Context, id envelope.ID) error {
	err := s.commit(ctx, work, 0, func(st *stage) error {
		q, err := st.state(id)
		if err != nil {
			return err
		}
		if q.nextBlock > maxInline {
			return st.dropMessage(id, q) // the sweeper clears the due index too
		}
		for block := range q.nextBlock {
			g, err := st.group(id, block)
			if err != nil {
				return err
			}
			if k := g.dueKey(id); k != nil {
				st.remove(k)
			}
		}
		return st.dropMessage(id, q)
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}

// dropMessage stages the end of a message whose groups are out of the due
// index. Without its state nothing of it is visible; records too many for one
// transaction follow in the sweeper, as does a body that others may share.
func (st *stage) dropMessage(id envelope.ID, q *state) error {
	st.remove(envelopeKey(id))
	st.remove(spoolEdge(q.body, id))
	if q.nextBlock+q.nextRcpt <= maxInline {
		for b := range q.nextBlock {
			st.remove(groupKey(id, b))
		}
		for r := range q.nextRcpt {
			st.remove(rcptKey(id, r))
		}
	} else {
		st.put(clearKey(id), nil)
		st.batch.s.garbage.Store(true)
	}
	if q.shared || q.chunks > maxInline {
		st.put(garbageKey(q.body, id), nil)
		st.batch.s.garbage.Store(true)
	} else {
		st.remove(headerKey(id))
		for c := range q.chunks {
			st.remove(chunkKey(q.body, c))
		}
	}
	if q.delivered {
		st.put(forgetKey(st.now.Add(keepDelivered), id), nil)
	}
	q.gone = true
	return nil
}
