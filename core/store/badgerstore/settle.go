package badgerstore

import (
	"context"
	"fmt"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// outcome is a settlement that the caller's goroutine has encoded. The
// committer writes to none of the caller's memory.
type outcome struct {
	id         envelope.ID
	block      uint32
	group      *envelope.Group // without recipients, nil when it stays as it is
	recipients map[uint32][]byte
	add        []*preparedGroup
	deliveries []preparedDelivery
	messages   []*preparedMessage
	effects    []envelope.Effect
	trail      []entry
	size       int64
}

// Settle implements store.Spool. A crash before the transaction leaves the
// message as it was, a crash after it everything: recipients, items, new
// messages and effects.
func (s *spool) Settle(ctx context.Context, x *store.Settlement) error {
	o, err := s.outcome(x)
	if err != nil {
		return fmt.Errorf("settle %s: %w", x.ID, err)
	}
	if err := s.commit(ctx, work, o.size, o.apply); err != nil {
		return fmt.Errorf("settle %s: %w", x.ID, err)
	}
	for i, g := range o.add {
		x.Add[i].Block = g.Block
		for j := range x.Add[i].Recipients {
			x.Add[i].Recipients[j].N = g.first + uint32(j)
		}
	}
	releaseDrafts(o.messages)
	return nil
}

func (s *spool) outcome(x *store.Settlement) (*outcome, error) {
	o := &outcome{id: x.ID, block: x.Block, effects: cloneEffects(x.Effects)}
	if x.Group != nil {
		g := *x.Group
		g.Recipients, g.Block = nil, x.Block
		o.group, o.recipients = &g, make(map[uint32][]byte, len(x.Group.Recipients))
		for _, r := range x.Group.Recipients {
			b, err := encodeRecipient(r)
			if err != nil {
				return nil, err
			}
			o.recipients[r.N] = b
		}
	}
	for _, g := range x.Add {
		p, err := prepareGroup(g)
		if err != nil {
			return nil, err
		}
		o.add = append(o.add, p)
	}
	var err error
	if o.deliveries, err = s.prepareDeliveries(x.Deliveries); err != nil {
		return nil, err
	}
	if o.messages, o.size, err = s.prepare(x.Messages); err != nil {
		return nil, err
	}
	o.trail, err = s.trailEntry(x.ID, x.Trail)
	return o, err
}

func (o *outcome) apply(st *stage) error {
	q, err := st.state(o.id)
	if err != nil {
		return err
	}
	g, err := st.visibleGroup(o.id, o.block, q)
	if err != nil {
		return err
	}
	done, repeated, err := o.changeRecipients(st, g)
	if err != nil || repeated {
		return err
	}
	if err := o.changeGroup(st, g, q, done); err != nil {
		return err
	}
	for _, p := range o.add {
		early, due, err := p.place(o.id, q)
		if err != nil {
			return err
		}
		st.early = append(st.early, early...)
		st.addDues(due)
	}
	if _, err := st.messages(o.messages); err != nil {
		return err
	}
	if err := (mailStage{st}).deliver(o.deliveries); err != nil {
		return err
	}
	if _, err := st.effects(o.effects, false); err != nil {
		return err
	}
	for _, e := range o.trail {
		st.add(e)
	}
	if q.open == 0 {
		return st.dropMessage(o.id, q)
	}
	return nil
}

// visibleGroup returns a group that the message's state counts, and not one
// that was written early for a commit that never came.
func (st *stage) visibleGroup(id envelope.ID, block uint32, q *state) (*group, error) {
	if block >= q.nextBlock {
		return nil, fmt.Errorf("group %d: %w", block, store.ErrNotFound)
	}
	return st.group(id, block)
}

// changeRecipients stages the recipients that are not Done on disk and counts
// those that now are. If all named recipients are already Done, the settlement
// was made before: repeated.
func (o *outcome) changeRecipients(st *stage, g *group) (done uint32, repeated bool, err error) {
	changed := 0
	for n, b := range o.recipients {
		if n < g.first || n >= g.first+g.count {
			return 0, false, fmt.Errorf("recipient %d: %w", n, store.ErrNotFound)
		}
		key := rcptKey(o.id, n)
		old, err := st.get(key)
		if err != nil {
			return 0, false, fmt.Errorf("recipient %d: %w", n, err)
		}
		if recipientDone(old) {
			continue
		}
		changed++
		st.put(key, b)
		if recipientDone(b) {
			done++
		}
	}
	return done, len(o.recipients) > 0 && changed == 0, nil
}

// changeGroup stages the group's new state and its place in the due index.
func (o *outcome) changeGroup(st *stage, g *group, q *state, done uint32) error {
	if o.group == nil {
		return nil
	}
	old := g.dueKey(o.id)
	if done > 0 {
		if done > g.left {
			return fmt.Errorf("group %d has %d recipients left: %w", g.Block, g.left, store.ErrCorrupt)
		}
		if g.left -= done; g.left == 0 {
			q.open--
		}
	}
	if key := g.Key; o.group.Key == "" && key != "" {
		g.Due, g.Held, g.Priority = o.group.Due, o.group.Held, o.group.Priority
		g.Attempts, g.Reason = o.group.Attempts, o.group.Reason
	} else {
		g.Group = *o.group
	}
	b, err := g.encode()
	if err != nil {
		return err
	}
	st.put(groupKey(o.id, g.Block), b)
	if old != nil {
		st.remove(old)
	}
	if k := g.dueKey(o.id); k != nil {
		st.addDue(k, g.dueValue())
	}
	return nil
}

const (
	// maxInline is the most records of a message that are deleted in the
	// transaction that ends it; more are left to the sweeper.
	maxInline = 2000
	// keepDelivered is how long the keys of deliveries outlive the message.
	keepDelivered = 7 * 24 * time.Hour
)

// Remove implements store.Spool.
func (s *spool) Remove(ctx context.Context, id envelope.ID) error {
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

// dropMessage stages the removal of a message whose groups are not in the due
// index. Without its state nothing of it is visible. The sweeper removes
// records that are too many for one transaction, and a body that others may
// share.
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
