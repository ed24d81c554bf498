package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/service/lists"
	"carteiro/core/store"
)

// RunDecisions carries out what policies decided about held messages, until
// ctx ends.
func (o *Operator) RunDecisions(ctx context.Context) error {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		if err := panics.Catch(func() error { return o.carryOutDecisions(ctx) }); err != nil && ctx.Err() == nil {
			o.log.ErrorContext(ctx, "held messages", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.writer.Decisions():
		case <-again.C:
		}
	}
}

// carryOutDecisions carries out the decisions that are stored.
//
// Crash: a decision that was carried out and is still stored is carried out
// again, on a message that is not held any more: nothing happens.
func (o *Operator) carryOutDecisions(ctx context.Context) error {
	var list []store.Pair
	for pair, err := range o.store.Scan(ctx, lists.DecisionSpace, "", 1000) {
		if err != nil {
			return err
		}
		list = append(list, pair)
	}
	for _, pair := range list {
		id, name, _ := strings.Cut(pair.Key, " ")
		err := o.carryOut(ctx, id, envelope.Address(name), Operation(pair.Value))
		if errors.Is(err, ErrBusy) {
			continue
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			o.log.ErrorContext(ctx, "held message", "id", id, "err", err)
		}
		if err := o.intake.Apply(ctx, nil, []envelope.Effect{{Space: lists.DecisionSpace, Op: envelope.Delete, Key: pair.Key}}, nil); err != nil {
			return err
		}
	}
	return nil
}

// carryOut releases or drops a message that is held for one list of people.
func (o *Operator) carryOut(ctx context.Context, text string, name envelope.Address, op Operation) error {
	id, err := envelope.ParseID(text)
	if err != nil {
		return err
	}
	all, err := o.store.Groups(ctx, id)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.Kind != envelope.HeldForGroup || !g.Held || len(g.Recipients) == 0 || g.Recipients[0].Address.Base() != name.Base() {
			continue
		}
		if !o.queue.LockGroup(id, g.Block) {
			return fmt.Errorf("message %s %w", id, ErrBusy)
		}
		err := o.operateGroup(ctx, op, id, g.Block, "decided by a policy")
		o.queue.UnlockGroup(id, g.Block)
		if err != nil {
			return err
		}
	}
	o.queue.Rescan()
	return nil
}

// Undecided reports whether there are decisions about held messages that were not
// carried out yet.
func (o *Operator) Undecided(ctx context.Context) bool {
	for range o.store.Scan(ctx, lists.DecisionSpace, "", 1) {
		return true
	}
	return false
}
