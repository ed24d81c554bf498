package receive

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/intake"
	"carteiro/core/service/dmarc"
	"carteiro/hooks"
)

// isReportable reports whether a message came from outside: only then the address
// of its client tells the domain owner who sends in the name of the domain.
func (r *Receiver) isReportable(c *content) bool {
	return r.ledger != nil && c.s.Identity == nil && !c.s.Trusted && c.s.Protocol == "smtp"
}

// verifyForReports runs SPF, DKIM and DMARC for a message that will be counted, if
// no policy did so before.
func (r *Receiver) verifyForReports(ctx context.Context, c *content) *envelope.Status {
	if !r.isReportable(c) {
		return nil
	}
	if _, err := c.msg.Auth(ctx); err != nil {
		return intake.ReadStatus(err)
	}
	return nil
}

// countForReports counts a message for the reports when it is accepted or refused.
// A deferred message is counted when the client sends it again.
func (r *Receiver) countForReports(c *content, st *envelope.Status) {
	a := c.verified.Results
	if !r.isReportable(c) || a == nil || a.Published == nil || st != nil && st.Code/100 == 4 {
		return
	}
	row := dmarc.Row{IP: c.s.Remote.Addr().Unmap().String(), HeaderFrom: a.DMARC.Domain, SPFDomain: a.SPF.Domain, SPF: a.SPF.Result,
		SPFAligned: a.Published.SPFAligned, DKIMAligned: a.Published.DKIMAligned}
	if c.tx.Sender != "" {
		row.EnvelopeFrom = c.tx.Sender.Domain()
	}
	for _, s := range a.DKIM {
		row.Keys = append(row.Keys, dmarc.Key{Domain: s.Domain, Selector: s.Selector, Result: s.Result})
	}
	row.Disposition, row.Override = disposition(a, c.verdict, st)
	r.ledger.Add(r.clock.Now(), *a.Published, row)
}

// disposition returns what happened to a message because of its DMARC result, and
// the reason if that is not what the domain asks for. It does not report refusals
// for other reasons: they would tell spammers about our filters.
func disposition(a *envelope.AuthResults, verdict hooks.Action, st *envelope.Status) (applied, override string) {
	asked := a.DMARC.Policy // with t=y one step milder than what is published
	if a.DMARC.Result != "fail" {
		if a.DMARC.Result == "pass" && a.Published.P != "none" {
			return "pass", ""
		}
		return "none", ""
	}
	severity := map[string]int{"none": 0, "quarantine": 1, "reject": 2}
	applied = "none"
	switch {
	case st != nil && st.Code >= 500 || verdict == hooks.Discard:
		applied = "reject"
	case verdict == hooks.Quarantine:
		applied = "quarantine"
	}
	if severity[applied] > severity[asked] {
		applied = asked
	}
	switch {
	case severity[applied] < severity[asked]:
		return applied, "local_policy"
	case a.Published.Testing && a.Published.P != "none":
		return applied, "policy_test_mode"
	}
	return applied, ""
}
