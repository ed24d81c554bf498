package core

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/dmarc"
	"carteiro/core/service/verify"
	"carteiro/hooks"
)

// Feedback says who sends DMARC aggregate reports (RFC 9990) to the owners of
// domains in whose name mail arrived.
type Feedback struct {
	From         envelope.Address // "" for no reports
	Organization string
}

// feedbackEvery is how often counts go to disk, feedbackRetry how long a report
// waits whose destination could not be looked up.
const (
	feedbackEvery = time.Minute
	feedbackRetry = time.Hour
)

// reportable tells whether a message came from the outside, so that its
// client's address says something about who sends in a domain's name.
func (p *Pipeline) reportable(c *content) bool {
	return p.counts != nil && c.s.Identity == nil && !c.s.Trusted && c.s.Protocol == "smtp"
}

// verifyAlways verifies a message that is to be counted, if no policy asked
// for that before.
func (p *Pipeline) verifyAlways(ctx context.Context, c *content) *envelope.Status {
	if !p.reportable(c) {
		return nil
	}
	if _, err := c.msg.Auth(ctx); err != nil {
		return incoming(err)
	}
	return nil
}

// count notes a message for the reports when its fate is known. One that is to
// come again is counted then.
func (p *Pipeline) count(c *content, st *envelope.Status) {
	a := c.verified.results
	if !p.reportable(c) || a == nil || a.Published == nil || st != nil && st.Code/100 == 4 {
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
	p.counts.Add(p.clock.Now(), *a.Published, row)
}

// disposition is what became of a message by its DMARC result, and why that is
// not what the domain asks for. What we refuse for other reasons is not said:
// it would tell spammers about filters.
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

// runFeedback keeps the counts and sends the reports of days that are over,
// until ctx ends.
func (p *Pipeline) runFeedback(ctx context.Context) error {
	if p.counts == nil {
		return nil
	}
	tick := time.NewTicker(feedbackEvery)
	defer tick.Stop()
	waits := map[dmarc.Period]time.Time{}
	for {
		moved := p.clock.Moved()
		if err := safely(func() error { return p.report(ctx, waits) }); err != nil && ctx.Err() == nil {
			p.log.ErrorContext(ctx, "dmarc reports failed", "err", err)
		}
		select {
		case <-ctx.Done():
			if err := p.counts.Flush(context.WithoutCancel(ctx)); err != nil {
				p.log.ErrorContext(ctx, "dmarc counts lost", "err", err)
			}
			return nil
		case <-tick.C:
		case <-moved:
		}
	}
}

// report sends the reports that are due: some time after midnight (UTC), which
// differs from host to host, so that not all hosts of the world report at once.
// waits says until when those wait that could not be sent.
//
// Crash: a report and the end of its counts are one commit. Before it the
// report is made again, with the same identifier, after it not.
func (p *Pipeline) report(ctx context.Context, waits map[dmarc.Period]time.Time) error {
	if err := p.counts.Flush(ctx); err != nil {
		return err
	}
	h := fnv.New32a()
	h.Write([]byte(p.cfg.Hostname))
	after := 5*time.Minute + time.Duration(h.Sum32()%3000)*time.Second
	ended, err := p.counts.Ended(ctx, p.clock.Now().Add(-after))
	if err != nil {
		return err
	}
	maps.DeleteFunc(waits, func(period dmarc.Period, _ time.Time) bool { return !slices.Contains(ended, period) })
	for _, period := range ended {
		now := p.clock.Now()
		if now.Before(waits[period]) {
			continue
		}
		if err := p.reportPeriod(ctx, period); errors.Is(err, errNoAnswer) {
			// The counts stay until they expire.
			p.log.WarnContext(ctx, "dmarc report waits", "domain", period.Domain, "err", err)
			waits[period] = now.Add(feedbackRetry)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// errNoAnswer: where a report goes could not be looked up.
var errNoAnswer = errors.New("destination not known yet")

func (p *Pipeline) reportPeriod(ctx context.Context, period dmarc.Period) error {
	r, gone, err := p.counts.Report(ctx, period)
	if err != nil || len(gone) == 0 {
		return err
	}
	r.Hostname, r.Organization, r.From = p.cfg.Hostname, p.cfg.Feedback.Organization, p.cfg.Feedback.From
	to, submit, err := p.reportMail(ctx, r)
	if err != nil {
		return err
	}
	if len(to) == 0 || len(r.Rows) == 0 {
		p.log.Step(ctx, "dmarc report dropped", period.Domain, "reason", "its destination takes none")
		return p.apply(ctx, p.gen.Get(), gone, nil)
	}
	if err := p.apply(ctx, p.gen.Get(), gone, []hooks.Submit{submit}); err != nil {
		return err
	}
	p.log.Step(ctx, "dmarc report", period.Domain, "to", to, "messages", r.Messages())
	return nil
}

// reportMail is the message of a report, and to whom it goes: nobody, when
// no destination wants it. errNoAnswer.
func (p *Pipeline) reportMail(ctx context.Context, r *dmarc.Report) ([]envelope.Address, hooks.Submit, error) {
	none := hooks.Submit{}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	fields, body, err := r.Compose()
	if err != nil {
		return nil, none, err
	}
	to, err := verify.Destinations(ctx, p.dns, r.Published.Domain, r.Published.RUA, int64(len(body)))
	if err != nil {
		return nil, none, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if len(to) == 0 {
		return nil, none, nil
	}
	now := p.clock.Now()
	h := &mime.Header{}
	list := make([]string, len(to))
	for i, a := range to {
		list[i] = string(a)
	}
	fields = append(fields, [2]string{"To", strings.Join(list, ", ")}, [2]string{"Date", now.Format(time.RFC1123Z)},
		[2]string{"Message-ID", "<" + envelope.NewID(now).String() + "@" + p.cfg.Hostname + ">"})
	for _, f := range fields {
		if err := h.Append(f[0], f[1]); err != nil {
			return nil, none, err
		}
	}
	return to, hooks.Submit{Sender: p.cfg.Feedback.From, Rcpts: to, Header: h.Bytes(), Body: body, Space: "#dmarc"}, nil
}
