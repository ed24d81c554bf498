package core

import (
	"context"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/dmarc"
	"carteiro/core/service/dns"
	"carteiro/hooks"
)

// TestDisposition: reports say what became of a message by its DMARC result,
// and nothing about other filters.
func TestDisposition(t *testing.T) {
	refused := envelope.Reject(550, "5.7.1", "no")
	tests := []struct {
		name           string
		result, policy string // policy as it counts, published before t=y
		published      string
		testing        bool
		verdict        hooks.Action
		st             *envelope.Status
		want, why      string
	}{
		{"passes", "pass", "reject", "reject", false, hooks.Accept, nil, "pass", ""},
		{"passes and asks for nothing", "pass", "none", "none", false, hooks.Accept, nil, "none", ""},
		{"passes and is spam", "pass", "reject", "reject", false, hooks.Accept, refused, "pass", ""},
		{"no answer", "temperror", "reject", "reject", false, hooks.Accept, nil, "none", ""},
		{"refused as asked", "fail", "reject", "reject", false, hooks.Accept, refused, "reject", ""},
		{"discarded", "fail", "reject", "reject", false, hooks.Discard, nil, "reject", ""},
		{"held back as asked", "fail", "quarantine", "quarantine", false, hooks.Quarantine, nil, "quarantine", ""},
		{"held back instead of refused", "fail", "reject", "reject", false, hooks.Quarantine, nil, "quarantine", "local_policy"},
		{"let in", "fail", "quarantine", "quarantine", false, hooks.Accept, nil, "none", "local_policy"},
		{"refused as spam where nothing is asked for", "fail", "none", "none", false, hooks.Accept, refused, "none", ""},
		{"tested", "fail", "quarantine", "reject", true, hooks.Quarantine, nil, "quarantine", "policy_test_mode"},
		{"tested and let in", "fail", "none", "quarantine", true, hooks.Accept, nil, "none", "policy_test_mode"},
	}
	for _, test := range tests {
		a := &envelope.AuthResults{DMARC: envelope.AuthResult{Result: test.result, Policy: test.policy}, Published: &envelope.DMARCRecord{P: test.published, Testing: test.testing}}
		if got, why := disposition(a, test.verdict, test.st); got != test.want || why != test.why {
			t.Errorf("%s: %q because of %q, want %q, %q", test.name, got, why, test.want, test.why)
		}
	}
}

// asked is a Resolver that counts questions for texts, and can have no answer.
type asked struct {
	zone
	times int
	fails bool
}

func (a *asked) TXT(ctx context.Context, name string) ([]string, error) {
	a.times++
	if a.fails {
		return nil, dns.ErrServFail
	}
	return a.zone.TXT(ctx, name)
}

// TestReportWaits: a report whose destination has no answer is kept, and not
// asked about each time that the loop comes round.
func TestReportWaits(t *testing.T) {
	h := newHouse(t, Config{})
	r := &asked{zone: testZone, fails: true}
	p := New(Config{Hostname: "mx.our.example", Feedback: Feedback{From: "dmarc@our.example"}},
		Parts{Store: h.store, Directory: h.Pipeline.dir, Transport: h.sink, Resolver: r, Journal: telemetry.Discard(), Clock: h.clock})
	p.counts.Add(h.clock.Now(), envelope.DMARCRecord{Domain: "our.example", RUA: []string{"mailto:alice@our.example"}}, dmarc.Row{IP: "192.0.2.7"})
	waits := map[dmarc.Period]time.Time{}
	round := func(want int) {
		t.Helper()
		r.times = 0
		if err := p.report(t.Context(), waits); err != nil {
			t.Fatal(err)
		}
		ended, err := p.counts.Ended(t.Context(), h.clock.Now())
		if err != nil || len(ended) != want || len(waits) != want {
			t.Errorf("left %v, waiting %v, %v", ended, waits, err)
		}
	}
	h.clock.Advance(26 * time.Hour)
	if round(1); r.times == 0 {
		t.Error("nobody was asked")
	}
	h.clock.Advance(feedbackRetry - time.Minute)
	if round(1); r.times != 0 {
		t.Errorf("asked %d times before its time", r.times)
	}
	h.clock.Advance(time.Minute)
	r.fails = false
	if err := p.report(t.Context(), waits); err != nil { // sends it; the next round forgets that it waited
		t.Fatal(err)
	}
	round(0)
	h.Nudge() // the house's queue, for the one that reports does not run
	h.idle()
	if got := h.box("alice@our.example", "INBOX"); len(got) != 1 || !strings.HasPrefix(fields(got[0], "Subject"), "Report Domain: our.example") {
		t.Errorf("alice has %q", got)
	}
}
