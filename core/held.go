package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/service/lists"
	"carteiro/core/store"
)

// heldKey is the group key, in lists and logs, of messages that policies hold
// for a group. When it is released, its recipient passes queue.expand again,
// with rcpt.released.
const heldKey = "held"

// heldGroup keeps a message for a group of addresses until it is released or
// dropped. It does not expire: it is tried only then.
func (p *Pipeline) heldGroup(in *intake, name, sender envelope.Address) *envelope.Group {
	g := p.newGroup(in, groupKey{kind: envelope.HeldForGroup, key: heldKey, priority: in.env.Priority})
	g.Held, g.Reason = true, "held for "+string(name)
	r := envelope.Recipient{Address: name, Orig: name, IsLocal: true, State: envelope.Held}
	if sender != in.env.Sender {
		r.Sender = &sender
	}
	g.Recipients = []envelope.Recipient{r}
	return g
}

// expandHeld sends what was held on its way, as queue.expand says now.
func (a *attempt) expandHeld(ctx context.Context, due []*envelope.Recipient) {
	for _, r := range due {
		m := a.mark(r)
		st := a.expand(ctx, envelope.Recipient{Address: r.Address, Orig: r.Orig, ORcpt: r.ORcpt, Notify: r.Notify, Sender: r.Sender, Released: true})
		switch {
		case st == nil:
			a.resolve(ctx, r, local(envelope.Expanded, envelope.Status{Code: 250, Enhanced: "2.1.5", Text: "released"}))
		case st.Code < 500:
			a.putOff(ctx, r, m, *st)
		default:
			a.resolve(ctx, r, local(envelope.Failed, *st))
		}
	}
}

// forgotten are the effects that take a held message out of its group's list.
func forgotten(id envelope.ID, g *envelope.Group) []envelope.Effect {
	if g.Kind != envelope.HeldForGroup {
		return nil
	}
	var out []envelope.Effect
	for _, r := range g.Recipients {
		out = append(out, lists.Forget(string(r.Address), id.String()))
	}
	return out
}

// runDecisions carries out what policies decided about held messages, until
// ctx ends.
func (p *Pipeline) runDecisions(ctx context.Context) error {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		if err := safely(func() error { return p.decide(ctx) }); err != nil && ctx.Err() == nil {
			p.log.ErrorContext(ctx, "held messages", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.decisions:
		case <-again.C:
		}
	}
}

// decided wakes runDecisions if effects hold a decision.
func (p *Pipeline) decided(effects []envelope.Effect) {
	for _, f := range effects {
		if f.Space == lists.DecisionSpace {
			select {
			case p.decisions <- struct{}{}:
			default:
			}
			return
		}
	}
}

// decide carries out the decisions that are stored.
//
// Crash: a decision that was carried out and is still stored is carried out
// again, on a message that is not held any more: nothing happens.
func (p *Pipeline) decide(ctx context.Context) error {
	var list []store.Pair
	for pair, err := range p.store.Scan(ctx, lists.DecisionSpace, "", 1000) {
		if err != nil {
			return err
		}
		list = append(list, pair)
	}
	for _, pair := range list {
		id, name, _ := strings.Cut(pair.Key, " ")
		err := p.decideOne(ctx, id, envelope.Address(name), Operation(pair.Value))
		if errors.Is(err, ErrBusy) {
			continue
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			p.log.ErrorContext(ctx, "held message", "id", id, "err", err)
		}
		if err := p.apply(ctx, nil, []envelope.Effect{{Space: lists.DecisionSpace, Op: envelope.Delete, Key: pair.Key}}, nil); err != nil {
			return err
		}
	}
	return nil
}

// decideOne releases or drops what is held of a message for one group.
func (p *Pipeline) decideOne(ctx context.Context, text string, name envelope.Address, op Operation) error {
	id, err := envelope.ParseID(text)
	if err != nil {
		return err
	}
	all, err := p.store.Groups(ctx, id)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.Kind != envelope.HeldForGroup || !g.Held || len(g.Recipients) == 0 || g.Recipients[0].Address.Base() != name.Base() {
			continue
		}
		k := entryKey{id, g.Block}
		if !p.queue.claim(k) {
			return fmt.Errorf("message %s %w", id, ErrBusy)
		}
		err := p.operateGroup(ctx, op, id, g.Block, "decided by a policy")
		p.queue.unclaim(k)
		if err != nil {
			return err
		}
	}
	p.Nudge()
	return nil
}

// Undecided reports whether decisions about held messages wait to be carried
// out.
func (p *Pipeline) Undecided(ctx context.Context) bool {
	for range p.store.Scan(ctx, lists.DecisionSpace, "", 1) {
		return true
	}
	return false
}
