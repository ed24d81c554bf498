package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
)

// send submits a message of alice's with NOTIFY for its one recipient.
func (srv *testServer) sendNotify(to envelope.Address, n envelope.Notify, params envelope.Params) {
	srv.t.Helper()
	ctx, s, tx := srv.t.Context(), newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example", Params: params}
	if st := srv.Mail(ctx, s, tx); st != nil {
		srv.t.Fatal(st)
	}
	defer srv.End(s, tx)
	r := &envelope.Recipient{Address: to, Orig: to, Notify: n, ORcpt: "rfc822;" + string(to)}
	if st := srv.Rcpt(ctx, s, tx, r); st != nil {
		srv.t.Fatal(st)
	}
	tx.Recipients = append(tx.Recipients, r)
	if st, _ := srv.Data(ctx, s, tx, strings.NewReader("From: alice@our.example\r\nSubject: original\r\n\r\nsecret words\r\n")); st != nil {
		srv.t.Fatal(st)
	}
	srv.waitIdle()
}

// TestNotify: which DSN each NOTIFY gives for each outcome (RFC 3461 4.1, 5.2).
func TestNotify(t *testing.T) {
	fail, success, never := envelope.NotifyFailure, envelope.NotifySuccess, envelope.NotifyNever
	tests := []struct {
		name   string
		to     envelope.Address
		answer envelope.Outcome
		notify envelope.Notify
		want   string // the action of the DSN that alice gets
	}{
		{"local success", "bob@our.example", envelope.Outcome{}, success, "delivered"},
		{"local success, not wanted", "bob@our.example", envelope.Outcome{}, fail, ""},
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
		srv := newTestServer(t, core.Config{})
		srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome { return tt.answer }
		for a, to := range map[envelope.Address][]envelope.Address{"both@our.example": {"bob@our.example", "x@out.example"},
			"one@our.example": {"bob@our.example"}} {
			if err := srv.accounts.AddAlias(t.Context(), a, to); err != nil {
				t.Fatal(err)
			}
		}
		srv.sendNotify(tt.to, tt.notify, envelope.Params{EnvID: "QQ314159"})
		got := ""
		for _, text := range srv.mailbox("alice@our.example", "INBOX") {
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
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		srv.stop()
	}
}

func TestRetDecidesWhatComesBack(t *testing.T) {
	for ret, want := range map[string]bool{"": true, "FULL": true, "HDRS": false} {
		srv := newTestServer(t, core.Config{})
		srv.sendNotify("x@nowhere.example", 0, envelope.Params{Ret: ret})
		got := srv.mailbox("alice@our.example", "INBOX")
		if len(got) != 1 || strings.Contains(got[0], "secret words") != want || !strings.Contains(got[0], "Subject: original") {
			t.Errorf("RET=%q: want body returned %v, got %q", ret, want, got)
		}
		srv.stop()
	}
}

// TestAliasStaysPrivate: a DSN about the target of an alias names only the alias (RFC
// 3461 10).
func TestAliasStaysPrivate(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "<hidden@out.example> unknown"},
			Host: "mx1.out.example"}
	}
	if err := srv.accounts.AddAlias(t.Context(), "front@our.example", []envelope.Address{"hidden@out.example"}); err != nil {
		t.Fatal(err)
	}
	srv.sendNotify("front@our.example", 0, envelope.Params{})
	got := srv.mailbox("alice@our.example", "INBOX")
	if len(got) != 1 || strings.Contains(got[0], "hidden@") || strings.Contains(got[0], "mx1.out") ||
		!strings.Contains(got[0], "Final-Recipient: rfc822; front@our.example") {
		t.Errorf("the DSN must name front@our.example and not its target: %s", got)
	}
}

func TestDeliverBy(t *testing.T) {
	for mode, want := range map[string]string{"R": "Status: 5.4.7", "N": "Action: delayed"} {
		srv := newTestServer(t, core.Config{})
		srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
			return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
		}
		srv.sendNotify("x@out.example", 0, envelope.Params{By: 120, ByMode: mode})
		if got := srv.mailbox("alice@our.example", "INBOX"); len(got) != 0 {
			t.Errorf("%s: DSN before the time of DELIVERBY: %s", mode, got)
		}
		srv.clock.Advance(10 * time.Minute)
		srv.waitFor("the report", func() bool { return len(srv.mailbox("alice@our.example", "INBOX")) == 1 })
		if got := srv.mailbox("alice@our.example", "INBOX")[0]; !strings.Contains(got, want) {
			t.Errorf("%s: no %q in the DSN %s", mode, want, got)
		}
		srv.stop()
	}
}
