package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
)

// send submits a message of alice's with NOTIFY for its one recipient.
func (h *house) sendNotify(to envelope.Address, n envelope.Notify, params envelope.Params) {
	h.t.Helper()
	ctx, s, tx := h.t.Context(), user("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example", Params: params}
	if st := h.Mail(ctx, s, tx); st != nil {
		h.t.Fatal(st)
	}
	defer h.End(s, tx)
	r := &envelope.Recipient{Address: to, Orig: to, Notify: n, ORcpt: "rfc822;" + string(to)}
	if st := h.Rcpt(ctx, s, tx, r); st != nil {
		h.t.Fatal(st)
	}
	tx.Recipients = append(tx.Recipients, r)
	if st, _ := h.Data(ctx, s, tx, strings.NewReader("From: alice@our.example\r\nSubject: original\r\n\r\nsecret words\r\n")); st != nil {
		h.t.Fatal(st)
	}
	h.idle()
}

// TestNotify: what each NOTIFY gives for each outcome (RFC 3461 4.1, 5.2).
func TestNotify(t *testing.T) {
	fail, success, never := envelope.NotifyFailure, envelope.NotifySuccess, envelope.NotifyNever
	tests := []struct {
		name   string
		to     envelope.Address
		answer envelope.Outcome
		notify envelope.Notify
		want   string // the action that alice hears of
	}{
		{"local success", "bob@our.example", envelope.Outcome{}, success, "delivered"},
		{"local success, not asked", "bob@our.example", envelope.Outcome{}, fail, ""},
		{"local success, default", "bob@our.example", envelope.Outcome{}, 0, ""},
		{"remote, peer has DSN", "x@out.example", envelope.Outcome{Status: envelope.Status{Code: 250}}, success, ""},
		{"remote, peer has none", "x@out.example", envelope.Outcome{Status: envelope.Status{Code: 250}, NoDSN: true}, success, "relayed"},
		{"remote failure", "x@out.example", envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no"}}, 0, "failed"},
		{"remote failure, only success", "x@out.example", envelope.Outcome{Status: envelope.Status{Code: 550}}, success, ""},
		{"remote failure, never", "x@out.example", envelope.Outcome{Status: envelope.Status{Code: 550}}, never, ""},
		{"alias for two", "both@our.example", envelope.Outcome{}, success, "expanded"},
		{"alias for one", "one@our.example", envelope.Outcome{}, success, "delivered"},
	}
	for _, tt := range tests {
		h := newHouse(t, core.Config{})
		h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome { return tt.answer }
		for a, to := range map[envelope.Address][]envelope.Address{"both@our.example": {"bob@our.example", "x@out.example"},
			"one@our.example": {"bob@our.example"}} {
			if err := h.accounts.AddAlias(t.Context(), a, to); err != nil {
				t.Fatal(err)
			}
		}
		h.sendNotify(tt.to, tt.notify, envelope.Params{EnvID: "QQ314159"})
		got := ""
		for _, text := range h.box("alice@our.example", "INBOX") {
			for line := range strings.SplitSeq(text, "\r\n") {
				if a, ok := strings.CutPrefix(line, "Action: "); ok {
					got += a
				}
			}
			if !strings.Contains(text, "Original-Envelope-Id: QQ314159\r\n") ||
				!strings.Contains(text, "Original-Recipient: rfc822;"+string(tt.to)+"\r\n") {
				t.Errorf("%s: envelope id or original recipient is missing in %s", tt.name, text)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		h.stop()
	}
}

func TestRetDecidesWhatComesBack(t *testing.T) {
	for ret, want := range map[string]bool{"": true, "FULL": true, "HDRS": false} {
		h := newHouse(t, core.Config{})
		h.sendNotify("x@nowhere.example", 0, envelope.Params{Ret: ret})
		got := h.box("alice@our.example", "INBOX")
		if len(got) != 1 || strings.Contains(got[0], "secret words") != want || !strings.Contains(got[0], "Subject: original") {
			t.Errorf("RET=%q: body returned is not %v: %q", ret, want, got)
		}
		h.stop()
	}
}

// TestAliasStaysPrivate: what is told of a failure behind an alias names the
// alias, not where it leads (RFC 3461 10).
func TestAliasStaysPrivate(t *testing.T) {
	h := newHouse(t, core.Config{})
	h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "<hidden@out.example> unknown"},
			Host: "mx1.out.example"}
	}
	if err := h.accounts.AddAlias(t.Context(), "front@our.example", []envelope.Address{"hidden@out.example"}); err != nil {
		t.Fatal(err)
	}
	h.sendNotify("front@our.example", 0, envelope.Params{})
	got := h.box("alice@our.example", "INBOX")
	if len(got) != 1 || strings.Contains(got[0], "hidden@") || strings.Contains(got[0], "mx1.out") ||
		!strings.Contains(got[0], "Final-Recipient: rfc822; front@our.example") {
		t.Errorf("DSN: %s", got)
	}
}

func TestDeliverBy(t *testing.T) {
	for mode, want := range map[string]string{"R": "Status: 5.4.7", "N": "Action: delayed"} {
		h := newHouse(t, core.Config{})
		h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
			return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
		}
		h.sendNotify("x@out.example", 0, envelope.Params{By: 120, ByMode: mode})
		if got := h.box("alice@our.example", "INBOX"); len(got) != 0 {
			t.Errorf("%s: told too early: %s", mode, got)
		}
		h.clock.Advance(10 * time.Minute)
		h.until("the report", func() bool { return len(h.box("alice@our.example", "INBOX")) == 1 })
		if got := h.box("alice@our.example", "INBOX")[0]; !strings.Contains(got, want) {
			t.Errorf("%s: no %q in %s", mode, want, got)
		}
		h.stop()
	}
}
