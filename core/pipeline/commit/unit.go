// Package commit holds the unit of work: everything that one commit writes,
// collected while policies are asked and messages are made, so that it can be
// taken back as a whole, from a savepoint on or at the end. Nothing else in the
// pipeline writes messages, outcomes or effects.
//
//	unit.go    the unit, its savepoints and their rollback
//	writer.go  the commit, and who hears of it: the queue and handlers of events
package commit

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/events"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Unit is what one commit writes. It belongs to one goroutine. Whoever makes one
// closes it: what was not committed by then is discarded.
type Unit struct {
	// Pending are the effects and submissions of policies. Events of hooks share
	// it, so that a later handler reads what an earlier one wrote.
	Pending hooks.Pending
	// Messages are new ones: the message that came, forks, DSNs, and what policies
	// sent.
	Messages []*store.Message
	// Groups join a message that is in the store already: forwards and copies.
	Groups []*envelope.Group
	// Deliveries go into mailboxes.
	Deliveries []store.Delivery
	// DSNs are due; they become messages before the commit.
	DSNs []DSN
	// Trail is added to the trail of the message at hand.
	Trail []envelope.TrailEntry
	// Events happen with the commit.
	Events []events.Event

	drafts []store.Draft
}

// DSN is a delivery status notification that is due: about recipients that share
// an action and a return path.
type DSN struct {
	Action string // of RFC 3464 2.3.3
	To     envelope.Address
	Rcpts  []*envelope.Recipient
}

// Drafter starts bodies; the spool is one.
type Drafter interface {
	Draft(ctx context.Context) store.Draft
}

// Draft starts a body that belongs to the unit: Rollback and Close discard it.
func (u *Unit) Draft(ctx context.Context, spool Drafter) store.Draft {
	d := spool.Draft(context.WithoutCancel(ctx))
	u.drafts = append(u.drafts, d)
	return d
}

// AddDSN notes that a recipient is to be reported to a return path, together with
// others that share it and the action.
func (u *Unit) AddDSN(action string, to envelope.Address, r *envelope.Recipient) {
	u.DSNs = addDSN(u.DSNs, action, to, r)
}

func addDSN(list []DSN, action string, to envelope.Address, r *envelope.Recipient) []DSN {
	for i := range list {
		if list[i].Action == action && list[i].To == to {
			// A copy, so that a savepoint keeps the recipients that it saw.
			list[i].Rcpts = append(list[i].Rcpts[:len(list[i].Rcpts):len(list[i].Rcpts)], r)
			return list
		}
	}
	return append(list, DSN{Action: action, To: to, Rcpts: []*envelope.Recipient{r}})
}

// GroupDSNs returns the DSNs for some recipients, grouped as AddDSN groups them.
func GroupDSNs(action string, rcpts []*envelope.Recipient, to func(*envelope.Recipient) envelope.Address) (list []DSN) {
	for _, r := range rcpts {
		list = addDSN(list, action, to(r), r)
	}
	return list
}

// Savepoint is what a unit held at one time: the lists that shrink too as they
// were, and the lengths of the others.
type Savepoint struct {
	submits []hooks.Submit
	dsns    []DSN

	effects, undo, messages, groups, deliveries, trail, events, drafts int
}

// Savepoint returns the state to which Rollback and Restart return. Later
// savepoints are void after that.
func (u *Unit) Savepoint() Savepoint {
	return Savepoint{
		submits: u.Pending.Submits, dsns: append([]DSN(nil), u.DSNs...),
		effects: len(u.Pending.Effects), undo: len(u.Pending.Undo), messages: len(u.Messages), groups: len(u.Groups),
		deliveries: len(u.Deliveries), trail: len(u.Trail), events: len(u.Events), drafts: len(u.drafts),
	}
}

// Rollback takes back everything since s but the trail: what policies decided
// stays explained. The zero Savepoint is the beginning.
func (u *Unit) Rollback(s Savepoint) {
	u.Pending.RollbackTo(s.effects, 0, s.undo)
	u.Pending.Submits = s.submits[:len(s.submits):len(s.submits)]
	u.rollbackMessages(s)
	u.Deliveries, u.DSNs, u.Events = u.Deliveries[:s.deliveries], append([]DSN(nil), s.dsns...), u.Events[:s.events]
}

// RollbackMessages takes back the messages and groups since s alone: they cannot
// be had, and what policies noted about them stays.
func (u *Unit) RollbackMessages(s Savepoint) { u.rollbackMessages(s) }

func (u *Unit) rollbackMessages(s Savepoint) {
	for _, d := range u.drafts[s.drafts:] {
		d.Discard()
	}
	u.Messages, u.Groups, u.drafts = u.Messages[:s.messages], u.Groups[:s.groups], u.drafts[:s.drafts]
}

// Restart takes back everything since s, the trail too: all of it is done once
// more.
func (u *Unit) Restart(s Savepoint) {
	u.Rollback(s)
	u.Trail = u.Trail[:s.trail]
}

// Close discards the drafts that were not committed. It takes back nothing else
// and may be called again.
func (u *Unit) Close() {
	for _, d := range u.drafts {
		d.Discard() // harmless for one that was committed
	}
	u.drafts = nil
}

// reset empties a unit after its commit, so that the same attempt can go on.
func (u *Unit) reset() { *u = Unit{drafts: u.drafts} }
