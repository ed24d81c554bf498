// Package operate makes the changes that operators ask for in the queue (hold, release,
// retry, bounce, drop), lists its messages, and carries out what policies decided about
// messages that they held.
//
//	operate.go   operations on one message
//	list.go      messages that a filter selects
//	decisions.go decisions of policies about held messages
package operate

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/deliver"
	"carteiro/core/pipeline/intake"
	"carteiro/core/pipeline/queue"
	"carteiro/core/service/lists"
	"carteiro/core/store"
)

// ErrBusy: the message is being tried now.
var ErrBusy = errors.New("is being tried right now, try again")

// Store is the part of the store that an Operator uses.
type Store interface {
	Envelope(ctx context.Context, id envelope.ID) (*envelope.Envelope, error)
	Groups(ctx context.Context, id envelope.ID) ([]*envelope.Group, error)
	Messages(ctx context.Context) iter.Seq2[*envelope.Envelope, error]
	Remove(ctx context.Context, id envelope.ID) error
	AppendTrail(ctx context.Context, id envelope.ID, entries []envelope.TrailEntry) error
	Scan(ctx context.Context, space, prefix string, limit int) iter.Seq2[store.Pair, error]
}

// Parts are what an Operator is made of; all must be set.
type Parts struct {
	Store     Store
	Queue     *queue.Queue
	Deliverer *deliver.Deliverer
	Intake    *intake.Intake
	Writer    *commit.Writer
	Log       *telemetry.Journal
	Clock     *clock.Clock
}

// Operator changes what is in the queue.
type Operator struct {
	store     Store
	queue     *queue.Queue
	deliverer *deliver.Deliverer
	intake    *intake.Intake
	writer    *commit.Writer
	log       *telemetry.Journal
	clock     *clock.Clock
}

// New makes an Operator.
func New(p Parts) *Operator {
	return &Operator{store: p.Store, queue: p.Queue, deliverer: p.Deliverer, intake: p.Intake, writer: p.Writer, log: p.Log, clock: p.Clock}
}

// Operation is what an operator does to a message.
type Operation string

// The operations of `carteiro queue`.
const (
	OpHold    Operation = "hold"
	OpRelease Operation = "release"
	OpRetry   Operation = "retry"
	OpBounce  Operation = "bounce"
	OpDrop    Operation = "drop"
)

// Operate does op to all unfinished groups of one message. After a crash some groups may
// be changed and others not; the operation can be repeated. The error is ErrBusy or
// store.ErrNotFound, among others.
func (o *Operator) Operate(ctx context.Context, op Operation, id envelope.ID, reason string) error {
	groups, err := o.store.Groups(ctx, id)
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	for _, g := range groups {
		if !o.queue.LockGroup(id, g.Block) {
			return fmt.Errorf("message %s %w", id, ErrBusy)
		}
		defer o.queue.UnlockGroup(id, g.Block)
	}
	o.log.Step(ctx, "operator", id.String(), "operation", string(op), "reason", reason)
	if op == OpDrop {
		entry := envelope.TrailEntry{Time: o.clock.Now(), Step: "operator", Verdict: string(op), Text: reason}
		if err := o.store.AppendTrail(ctx, id, []envelope.TrailEntry{entry}); err != nil {
			return err
		}
		if err := o.store.Remove(ctx, id); err != nil {
			return err
		}
		var effects []envelope.Effect
		for _, g := range groups {
			effects = append(effects, forgetHeld(id, g)...)
		}
		return o.intake.Apply(ctx, nil, effects, nil)
	}
	for _, g := range groups {
		if err := o.operateGroup(ctx, op, id, g.Block, reason); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("message %s: %w", id, err)
		}
	}
	return nil
}

func (o *Operator) operateGroup(ctx context.Context, op Operation, id envelope.ID, block uint32, reason string) error {
	change, err := o.deliverer.Open(ctx, id, block)
	if err != nil || change == nil {
		return err
	}
	g := change.Group()
	change.Note(string(op), reason)
	if g.Held && op != OpHold {
		change.AddEffects(forgetHeld(id, g)...)
	}
	switch op {
	case OpHold:
		change.Hold(reason)
	case OpRelease, OpRetry:
		if g.Held != (op == OpRelease) {
			return nil
		}
		change.Queue()
	case OpDrop:
		change.Drop()
	case OpBounce:
		change.Bounce(ctx)
	default:
		return fmt.Errorf("no operation %q", op)
	}
	return change.Commit(ctx)
}

// forgetHeld returns the effects that take a held message out of its group's list.
func forgetHeld(id envelope.ID, g *envelope.Group) []envelope.Effect {
	if g.Kind != envelope.HeldForGroup {
		return nil
	}
	var out []envelope.Effect
	for _, r := range g.Recipients {
		out = append(out, lists.Forget(string(r.Address), id.String()))
	}
	return out
}
