package deliver

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/hooks"
)

// asyncRun runs handlers of receive.data after the 250.
type asyncRun struct{ *attempt }

// run runs the handlers. The effects of each are in the commit that records that it
// has run. A handler that fails runs again, on the retry schedule of deliveries,
// until the message expires. Handlers that a reload removed count as done.
//
// Crash before the commit: the handler runs again. After it: it does not.
func (a asyncRun) run(ctx context.Context, due []*envelope.Recipient) {
	infos := a.policies.Chain.Infos(hooks.ReceiveAfter)
	for _, r := range due {
		at := slices.IndexFunc(infos, func(i hooks.Info) bool { return i.Key() == string(r.Address) })
		if at < 0 {
			at = slices.Index(hooks.NamesOfFormat1(infos), string(r.Address)) // stored by an earlier version
		}
		if at < 0 {
			a.finish(r, envelope.Discarded, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "there is no such handler any more"})
			continue
		}
		_, entries := a.policies.Chain.RunOne(ctx, a.arrivalEvent(), at)
		a.u.Trail = append(a.u.Trail, entries...)
		trail.LogFailures(ctx, a.log, a.env.ID.String(), entries)
		failed := trail.Failed(entries) != nil
		switch {
		case !failed:
			a.finish(r, envelope.Delivered, envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "has run"})
		case a.now.Before(a.g.Expires):
			r.Next = a.now.Add(a.cfg.retryDelay(r))
			r.Last = &envelope.Status{Code: 451, Enhanced: "4.3.0", Text: "the handler failed"}
		default:
			a.finish(r, envelope.Failed, envelope.Status{Code: 550, Enhanced: "5.3.0", Text: "the handler failed until the message expired"})
		}
	}
}

// finish records that a handler is done. There is no DSN about it.
func (a asyncRun) finish(r *envelope.Recipient, state envelope.State, st envelope.Status) {
	r.State, r.Last = state, &st
}

// arrivalEvent returns the event for such a handler.
func (a asyncRun) arrivalEvent() *hooks.Event {
	from := a.g.Async
	s := &envelope.Session{ID: from.Session, Listener: a.env.Listener, Protocol: from.Protocol, RDNS: from.RDNS, Helo: a.env.Helo,
		TLS: from.TLS, Trusted: from.Trusted, Started: a.env.ReceivedAt}
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
		tx.Recipients = append(tx.Recipients, &envelope.Recipient{Address: to, Orig: to, IsLocal: a.dir.Local(to.Domain())})
	}
	e := a.event(hooks.ReceiveAfter)
	e.Session, e.Tx = s, tx
	return e
}
