// Package commit holds the unit of work: everything that one commit writes. It is
// collected while policies run and messages are made, so that all of it, or
// everything since a savepoint, can be rolled back. No other package of the pipeline
// writes messages, outcomes or effects.
//
//	unit.go    the unit, its savepoints and their rollback
//	writer.go  the commit, which wakes the queue and the handlers of events
package commit

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/events"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Unit is what one commit writes. It belongs to one goroutine. The function that
// makes a Unit must call Close, which discards what was not committed.
type Unit struct {
	// Pending are the effects and submissions of policies. Events of hooks share
	// it, so that a later handler reads what an earlier one wrote.
	Pending hooks.Pending
	// Messages are new messages: the incoming message, forks, DSNs, and mail that
	// policies send.
	Messages []*store.Message
	// Groups are added to a message that is in the store already: forwards and
	// copies.
	Groups []*envelope.Group
	// Deliveries are new entries in mailboxes.
	Deliveries []store.Delivery
	// DSNs have to be sent; they become messages before the commit.
	DSNs []DSN
	// Trail is added to the trail of the message that is being tried.
	Trail []envelope.TrailEntry
	// Events are written with the commit.
	Events []events.Event

	drafts []store.Draft
}

// DSN is a delivery status notification that has to be sent, about recipients that
// share an action and a return path.
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

// AddDSN adds a recipient to the DSN with this action and return path.
func (u *Unit) AddDSN(action string, to envelope.Address, r *envelope.Recipient) {
	u.DSNs = addDSN(u.DSNs, action, to, r)
}

func addDSN(list []DSN, action string, to envelope.Address, r *envelope.Recipient) []DSN {
	for i := range list {
		if list[i].Action == action && list[i].To == to {
			// A copy, so that the list in a savepoint does not change.
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

// Savepoint is the state of a unit at one time: copies of the lists that can also
// shrink, and the lengths of the others.
type Savepoint struct {
	submits []hooks.Submit
	dsns    []DSN

	effects, undo, messages, groups, deliveries, trail, events, drafts int
}

// Savepoint returns the state that Rollback and Restart can return to. After such a
// return, later savepoints are invalid.
func (u *Unit) Savepoint() Savepoint {
	return Savepoint{
		submits: u.Pending.Submits, dsns: append([]DSN(nil), u.DSNs...),
		effects: len(u.Pending.Effects), undo: len(u.Pending.Undo), messages: len(u.Messages), groups: len(u.Groups),
		deliveries: len(u.Deliveries), trail: len(u.Trail), events: len(u.Events), drafts: len(u.drafts),
	}
}

// Rollback removes everything since s except the trail, so that `explain` still shows
// what policies decided. The zero Savepoint is the beginning.
func (u *Unit) Rollback(s Savepoint) {
	u.Pending.RollbackTo(s.effects, 0, s.undo)
	u.Pending.Submits = s.submits[:len(s.submits):len(s.submits)]
	u.RollbackMessages(s)
	u.Deliveries, u.DSNs, u.Events = u.Deliveries[:s.deliveries], append([]DSN(nil), s.dsns...), u.Events[:s.events]
}

// RollbackMessages removes only the messages and groups since s: they could not be
// made, but the effects of the policies stay.
func (u *Unit) RollbackMessages(s Savepoint) {
	for _, d := range u.drafts[s.drafts:] {
		d.Discard()
	}
	u.Messages, u.Groups, u.drafts = u.Messages[:s.messages], u.Groups[:s.groups], u.drafts[:s.drafts]
}

// Restart removes everything since s, also the trail, because all of it is done
// again.
func (u *Unit) Restart(s Savepoint) {
	u.Rollback(s)
	u.Trail = u.Trail[:s.trail]
}

// Close discards the drafts that were not committed, and nothing else. It may be
// called again.
func (u *Unit) Close() {
	for _, d := range u.drafts {
		d.Discard() // does nothing to a draft that was committed
	}
	u.drafts = nil
}

// reset empties a unit after its commit, so that the same attempt can use it again.
func (u *Unit) reset() { *u = Unit{drafts: u.drafts} }
