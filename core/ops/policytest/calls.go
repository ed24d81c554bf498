package policytest

import (
	"fmt"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// hookCall is one call of a handler, and what it was about at that time.
type hookCall struct {
	hooks.Call
	saw string
}

// eventSummary says in a few words what an event is about.
func eventSummary(e *hooks.Event) string {
	switch e.Point {
	case hooks.ReceiveConnect, hooks.ReceiveHelo:
		return fmt.Sprintf("client %s, helo %q", e.Session.Remote.Addr(), e.Name)
	case hooks.ReceiveAuth:
		return fmt.Sprintf("%s as %q, verified %v", e.Cred.Mechanism, e.Cred.User, e.Cred.Verified)
	case hooks.ReceiveMail, hooks.ReceiveHeaders, hooks.ReceiveData:
		return fmt.Sprintf("sender %s, %d recipients", e.Tx.Sender.Path(), len(e.Tx.Recipients))
	case hooks.ReceiveRcpt, hooks.QueueExpand, hooks.DeliverLocal:
		return "recipient " + string(e.Rcpt.Address)
	case hooks.QueueCommit, hooks.DeliverAttempt:
		if e.Group.Kind == envelope.Mailbox {
			return fmt.Sprintf("%d recipients here", len(e.Group.Recipients))
		}
		return fmt.Sprintf("%d recipients at %s", len(e.Group.Recipients), e.Group.Domain)
	case hooks.DeliverResult:
		return fmt.Sprintf("%s %s: %d %s", e.Rcpt.Address, e.Result.Class, e.Result.Status.Code, e.Result.Status.Text)
	case hooks.RouteResolve:
		return "domain " + e.Domain
	case hooks.DeliverDSN:
		return fmt.Sprintf("report %q for %d recipients", e.DSN.Action, len(e.Rcpts))
	case hooks.ObserveEvent:
		return "event " + e.Observed.Name
	case hooks.AdminCommand:
		return "command " + e.Command.Name + " " + e.Command.Verb
	case hooks.WebRequest:
		return e.Req.Method + " " + e.Req.Path
	}
	return ""
}

// trailAndFailures lists calls as tests see them, and the errors among them.
func trailAndFailures(calls []hookCall) (trail, failures []any) {
	trail, failures = []any{}, []any{}
	for _, c := range calls {
		m := map[string]any{"hook": string(c.Info.Point), "handler": c.Info.Name(), "verdict": c.Verdict.String(), "changes": anyList(c.Changes),
			"instructions": float64(c.Instructions), "saw": c.saw, "cost": c.Cost.Round(time.Microsecond).String()}
		if c.Err != nil {
			m["error"] = c.Err.Error()
			first, _, _ := strings.Cut(c.Err.Error(), "\n")
			failures = append(failures, fmt.Sprintf("%s: %s: %s", c.Info.Point, c.Info.Name(), first))
		}
		trail = append(trail, m)
	}
	return trail, failures
}
