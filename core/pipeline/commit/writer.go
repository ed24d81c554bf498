package commit

import (
	"context"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/events"
	"carteiro/core/service/lists"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Offerer takes groups that were just committed, so that the queue need not find
// them by a scan of the store. *queue.Queue implements it. Offer does not block.
type Offerer interface {
	Offer(store.DueEntry)
}

// Store is the part of the store that a Writer writes to.
type Store interface {
	Commit(ctx context.Context, effects []envelope.Effect, messages ...*store.Message) error
	Settle(ctx context.Context, s *store.Settlement) error
	Apply(ctx context.Context, effects []envelope.Effect) ([]int64, error)
}

// Writer commits units, and wakes the goroutines that wait for what is in them.
type Writer struct {
	store     Store
	queue     Offerer
	events    *events.Queue
	decisions chan struct{}
}

// NewWriter makes a Writer.
func NewWriter(s Store, q Offerer, e *events.Queue) *Writer {
	return &Writer{store: s, queue: q, events: e, decisions: make(chan struct{}, 1)}
}

// Decisions returns a channel that receives after a decision about a held message may
// have been committed.
func (w *Writer) Decisions() <-chan struct{} { return w.decisions }

// Commit writes a unit of new messages. It blocks until the unit is on disk, even if
// ctx ends. With an error, which is that of the store, nothing was written.
//
// Crash: before Commit returns, the store holds nothing of the unit or all of it. The
// queue finds the groups by a scan of the store.
func (w *Writer) Commit(ctx context.Context, gen *hooks.Generation, u *Unit) error {
	effects := append(slices.Clip(u.Pending.Effects), w.events.Effects(gen, u.Events...)...)
	if err := w.store.Commit(context.WithoutCancel(ctx), effects, u.Messages...); err != nil {
		return err
	}
	w.wake(u, effects)
	return nil
}

// Apply writes effects that belong to no message, as Commit does. An effect that
// cannot be applied is an error here; Commit skips it, so that it does not delay
// mail.
func (w *Writer) Apply(ctx context.Context, effects []envelope.Effect) error {
	if _, err := w.store.Apply(context.WithoutCancel(ctx), effects); err != nil {
		return err
	}
	w.wakeDecisions(effects)
	return nil
}

// Settle writes the outcomes of an attempt for the recipients in g, together with the
// unit, which is empty after that. It blocks until both are on disk or ctx ends. With
// an error, which is that of the store, the unit is unchanged.
//
// Crash: before Settle returns, the group is unchanged, or its new state and all of
// the unit are written.
func (w *Writer) Settle(ctx context.Context, gen *hooks.Generation, u *Unit, id envelope.ID, g *envelope.Group) error {
	list := append(events.Learned(u.Pending.Effects), u.Events...)
	effects := append(slices.Clip(u.Pending.Effects), w.events.Effects(gen, list...)...)
	err := w.store.Settle(ctx, &store.Settlement{ID: id, Block: g.Block, Group: g, Add: u.Groups, Deliveries: u.Deliveries,
		Messages: u.Messages, Effects: effects, Trail: u.Trail})
	if err != nil {
		return err
	}
	w.wake(u, effects)
	w.offer(id, u.Groups)
	u.reset()
	return nil
}

// wake informs the queue, the handlers of events and the decisions about a commit.
func (w *Writer) wake(u *Unit, effects []envelope.Effect) {
	for _, m := range u.Messages {
		w.offer(m.Envelope.ID, m.Groups)
	}
	if len(effects) > len(u.Pending.Effects) {
		w.events.Wake()
	}
	w.wakeDecisions(effects)
}

func (w *Writer) offer(id envelope.ID, groups []*envelope.Group) {
	for _, g := range groups {
		if !g.Held {
			w.queue.Offer(store.EntryOf(id, g))
		}
	}
}

func (w *Writer) wakeDecisions(effects []envelope.Effect) {
	if slices.ContainsFunc(effects, func(f envelope.Effect) bool { return f.Space == lists.DecisionSpace }) {
		select {
		case w.decisions <- struct{}{}:
		default:
		}
	}
}
