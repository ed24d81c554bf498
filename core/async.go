package core

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// asyncKey is the group key of handlers that run behind the 250.
const asyncKey = "async"

// arrival is what such handlers are told of a session and its transaction.
func arrival(s *envelope.Session, tx *envelope.Transaction) *envelope.Arrival {
	a := &envelope.Arrival{Session: s.ID, Protocol: s.Protocol, RDNS: s.RDNS, TLS: s.TLS, Trusted: s.Trusted, Meta: maps.Clone(tx.Meta)}
	if s.Identity != nil {
		a.Extra = s.Identity.Extra
	}
	for _, r := range tx.Recipients {
		if !r.Discard {
			a.Recipients = append(a.Recipients, r.Address)
		}
	}
	return a
}

// asyncGroup is the part of a message that such handlers work on, nil where
// there are none, or where nothing is left of the message. It is committed
// with the message, and keeps it until the last of them has run.
func (p *Pipeline) asyncGroup(in *intake) *envelope.Group {
	if in.arrival == nil || len(in.groups)+len(in.forks) == 0 || !in.gen.Chain.Has(hooks.ReceiveAsync) {
		return nil
	}
	g := p.newGroup(in, groupKey{kind: envelope.Asynchronous, key: asyncKey, priority: in.env.Priority})
	g.Async, g.Held, g.Reason = in.arrival, false, ""
	for _, info := range in.gen.Chain.Infos(hooks.ReceiveAsync) {
		name := envelope.Address(info.Key())
		g.Recipients = append(g.Recipients, envelope.Recipient{Address: name, Orig: name, State: envelope.Queued, Notify: envelope.NotifyNever})
	}
	return g
}

// async runs handlers behind the 250. What each does is in the commit that
// says that it has run; one that fails is asked again, as a delivery is tried
// again, until the message expires. Handlers that a reload took away are done.
//
// Crash: before that commit the handler runs again, after it not.
func (a *attempt) async(ctx context.Context, due []*envelope.Recipient) {
	infos := a.gen.Chain.Infos(hooks.ReceiveAsync)
	for _, r := range due {
		at := slices.IndexFunc(infos, func(i hooks.Info) bool { return i.Key() == string(r.Address) })
		if at < 0 {
			at = slices.Index(asyncNamesOfFormat1(infos), string(r.Address)) // it waited when an earlier version ran
		}
		if at < 0 {
			a.ran(r, envelope.Discarded, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "there is no such handler any more"})
			continue
		}
		_, trail := a.gen.Chain.RunOne(ctx, a.arrived(), at)
		a.out.Trail = append(a.out.Trail, trail...)
		a.p.logFailures(ctx, a.env.ID.String(), trail)
		failed := false
		for _, t := range trail {
			failed = failed || t.Err != ""
		}
		switch {
		case !failed:
			a.ran(r, envelope.Delivered, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "has run"})
		case a.now.Before(a.g.Expires):
			r.Next = a.now.Add(a.p.cfg.Retry[min(r.Attempts-1, len(a.p.cfg.Retry)-1)])
			r.Last = &envelope.Status{Code: 451, Enhanced: "4.3.0", Text: "the handler failed"}
		default:
			a.ran(r, envelope.Failed, envelope.Status{Code: 550, Enhanced: "5.3.0", Text: "the handler failed until the message expired"})
		}
	}
}

// ran ends the work of a handler. Nobody is sent a report about it.
func (a *attempt) ran(r *envelope.Recipient, state envelope.State, st envelope.Status) {
	r.State, r.Last = state, &st
}

// arrived is the event that such a handler is asked about.
func (a *attempt) arrived() *hooks.Event {
	from := a.g.Async
	s := &envelope.Session{ID: from.Session, Listener: a.env.Listener, Protocol: from.Protocol, RDNS: from.RDNS, Helo: a.env.Helo, TLS: from.TLS, Trusted: from.Trusted, Started: a.env.ReceivedAt}
	if ip, err := netip.ParseAddr(a.env.Client); err == nil {
		s.Remote = netip.AddrPortFrom(ip, 0)
	}
	s.Closed.Store(true)
	if a.env.Identity != "" {
		s.Identity = &envelope.Identity{User: a.env.Identity, Extra: from.Extra}
	}
	tx := &envelope.Transaction{ID: a.env.ID, Sender: a.env.Sender, Meta: maps.Clone(from.Meta),
		Params: envelope.Params{SMTPUTF8: a.env.SMTPUTF8, EnvID: a.env.EnvID, Ret: a.env.Ret, RequireTLS: a.env.RequireTLS}}
	for _, to := range from.Recipients {
		tx.Recipients = append(tx.Recipients, &envelope.Recipient{Address: to, Orig: to, IsLocal: a.p.dir.Local(to.Domain())})
	}
	e := a.event(hooks.ReceiveAsync)
	e.Session, e.Tx = s, tx
	return e
}
