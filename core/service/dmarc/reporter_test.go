package dmarc

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/dns"
	"carteiro/core/store/badgerstore"
)

// noTexts is a Resolver without records that counts questions for texts, and can
// have no answer.
type noTexts struct {
	times int
	fails bool
}

func (r *noTexts) TXT(context.Context, string) ([]string, error) {
	r.times++
	if r.fails {
		return nil, dns.ErrServFail
	}
	return nil, dns.ErrNXDomain
}

func (*noTexts) MX(context.Context, string) ([]dns.MX, error)       { return nil, dns.ErrNXDomain }
func (*noTexts) A(context.Context, string) ([]netip.Addr, error)    { return nil, dns.ErrNXDomain }
func (*noTexts) AAAA(context.Context, string) ([]netip.Addr, error) { return nil, dns.ErrNXDomain }
func (*noTexts) PTR(context.Context, netip.Addr) ([]string, error)  { return nil, dns.ErrNXDomain }

// TestReportWaits: a report whose destination cannot be looked up is kept, and the
// look-up is not repeated each time.
func TestReportWaits(t *testing.T) {
	clk := &clock.Clock{}
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Clock: clk, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	resolver := &noTexts{fails: true}
	ledger := NewLedger(st)
	var sent []*Mail
	submit := func(ctx context.Context, effects []envelope.Effect, m *Mail) error {
		sent = append(sent, m)
		_, err := st.Apply(ctx, effects)
		return err
	}
	r := NewReporter(Config{Hostname: "mx.our.example", From: "dmarc@our.example"}, ledger, resolver, submit, telemetry.Discard(), clk)
	ledger.Add(clk.Now(), envelope.DMARCRecord{Domain: "our.example", RUA: []string{"mailto:alice@our.example"}}, Row{IP: "192.0.2.7"})
	waits := map[Period]time.Time{}
	turn := func(want int) {
		t.Helper()
		resolver.times = 0
		if err := r.sendDue(t.Context(), waits); err != nil {
			t.Fatal(err)
		}
		ended, err := ledger.EndedPeriods(t.Context(), clk.Now())
		if err != nil || len(ended) != want || len(waits) != want {
			t.Errorf("left %v, waiting %v, %v, want %d of each", ended, waits, err, want)
		}
	}
	clk.Advance(26 * time.Hour)
	if turn(1); resolver.times == 0 {
		t.Error("nobody was asked")
	}
	clk.Advance(retryAfter - time.Minute)
	if turn(1); resolver.times != 0 {
		t.Errorf("asked %d times before its time", resolver.times)
	}
	clk.Advance(time.Minute)
	resolver.fails = false
	if err := r.sendDue(t.Context(), waits); err != nil { // sends it; the next turn forgets that it waited
		t.Fatal(err)
	}
	turn(0)
	if len(sent) != 1 || len(sent[0].Rcpts) != 1 || sent[0].Rcpts[0] != "alice@our.example" || sent[0].Sender != "dmarc@our.example" {
		t.Fatalf("sent %+v, want one report to alice@our.example", sent)
	}
	if !strings.Contains(string(sent[0].Header), "\r\nSubject: Report Domain: our.example") &&
		!strings.HasPrefix(string(sent[0].Header), "Subject: Report Domain: our.example") {
		t.Errorf("the header section is %q", sent[0].Header)
	}
}
