package deliver

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/intake"
)

// addDSN adds the DSN for an outcome to the unit, if the sender wants one (RFC 3461
// 4.1). There is no DSN about a message with the null sender.
func (a *attempt) addDSN(r *envelope.Recipient, o outcome) {
	action := ""
	switch o.state {
	case envelope.Failed:
		action = ifWanted(r, envelope.NotifyFailure, "failed")
	case envelope.Delivered:
		if a.g.Kind != envelope.Remote {
			action = ifWanted(r, envelope.NotifySuccess, "delivered")
		}
	case envelope.Relayed:
		action = ifWanted(r, envelope.NotifySuccess, "relayed")
	case envelope.Queued:
		if !r.Warned && a.isLate() {
			r.Warned = true
			action = ifWanted(r, envelope.NotifyDelay, "delayed")
		}
	}
	if to := a.returnPath(r); action != "" && to != "" {
		a.u.AddDSN(action, to, r)
	}
}

// isLate reports whether the sender should get a DSN of delay: after Config.Warn, or
// after the time of DELIVERBY in its notify mode.
func (a *attempt) isLate() bool {
	if a.env.ByNotify && !a.env.By.IsZero() && !a.now.Before(a.env.By) {
		return true
	}
	return a.cfg.Warn > 0 && a.now.Sub(a.env.ReceivedAt) >= a.cfg.Warn
}

func ifWanted(r *envelope.Recipient, event envelope.Notify, action string) string {
	if r.Notify.Wants(event) {
		return action
	}
	return ""
}

// makeDSNs makes the messages of the unit's DSNs: a failure is never committed
// without its DSN.
func (a *attempt) makeDSNs(ctx context.Context) error {
	for _, d := range a.u.DSNs {
		body, err := intake.ReturnedBody(ctx, a.store, a.env)
		if err != nil {
			return err
		}
		about := intake.DSNSubject{Envelope: a.env, Header: a.section, Body: body, Gen: a.policies, Message: a.msg, Expires: a.g.Expires,
			Trail: &a.u.Trail}
		if st := a.intake.AddDSN(ctx, &a.u, about, d); st != nil {
			return st
		}
	}
	a.u.DSNs = nil
	return nil
}
