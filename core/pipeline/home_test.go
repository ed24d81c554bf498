package pipeline_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/service/srs"
	"carteiro/hooks"
)

// TestReturnAddresses: bounces to return paths that we signed are sent to the original
// sender; no other mail is relayed through them, for any client and with any policy.
func TestReturnAddresses(t *testing.T) {
	yes := func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Accept}, nil }
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.ReceiveRcpt, yes))
	back := func(domain string) envelope.Address {
		return testReturnPaths.Rewrite("ann@out.example", domain, srv.clock.Now())
	}
	good := back("our.example")
	forged := envelope.Address(strings.Replace(string(good), "ann@", "anna@", 1))
	changed := []byte(good)
	changed[6] ^= 1
	alien := srs.NewRing([]byte("another server")).Rewrite("ann@out.example", "our.example", srv.clock.Now())
	for _, tt := range []struct {
		name string
		s    *envelope.Session
		from envelope.Address
		to   envelope.Address
		code int
	}{
		{"a report", newSession(), "", good, 0},
		{"a report, at our name", newSession(), "", back("mx.our.example"), 0},
		{"a report, in other case", newSession(), "", envelope.Address(strings.ToLower(string(good))), 0},
		{"mail of a stranger", newSession(), "eve@evil.example", good, 550},
		{"mail of a user", newUserSession("alice@our.example"), "alice@our.example", good, 550},
		{"another local part", newSession(), "", forged, 550},
		{"one letter", newSession(), "", envelope.Address(changed), 550},
		{"another server's key", newSession(), "", alien, 550},
		{"at another domain", newSession(), "", back("out.example"), 554}, // not ours: relaying
	} {
		before := len(srv.transport.messages())
		st := srv.send(tt.s, &envelope.Transaction{Sender: tt.from}, plainMessage, tt.to)
		srv.waitIdle()
		got := srv.transport.messages()[before:]
		switch {
		case tt.code == 0 && (st != nil || len(got) != 1 || got[0].sender != "" || !strings.EqualFold(string(got[0].to[0]), "ann@out.example")):
			t.Errorf("%s: got reply %v, sent %+v; want 250, and the bounce sent to ann@out.example", tt.name, st, got)
		case tt.code != 0 && (st == nil || st.Code != tt.code || !strings.HasPrefix(st.Enhanced, "5.7.") || len(got) != 0):
			t.Errorf("%s: got reply %v, sent %+v; want code %d with 5.7.x, and nothing sent", tt.name, st, got, tt.code)
		}
	}
	srv.clock.Advance((srs.Days + 1) * 24 * time.Hour)
	if st := srv.send(newSession(), &envelope.Transaction{}, plainMessage, good); st == nil || st.Code != 550 ||
		!strings.HasPrefix(st.Enhanced, "5.7.") {
		t.Errorf("an old return path: got reply %v, want 550 5.7.x", st)
	}
}

// TestReturnAddressBehindPolicies: policies after RCPT cannot override the check of
// return paths.
func TestReturnAddressBehindPolicies(t *testing.T) {
	var good envelope.Address
	for name, h := range map[string]hooks.Handler{
		"another sender": handlerAt(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{}, e.SetSender("eve@evil.example")
		}),
		"another recipient": handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Rcpt.Address == "alice@our.example" {
				sender := envelope.Address("eve@evil.example")
				return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: good, Sender: &sender}})
			}
			return hooks.Verdict{}, nil
		}),
	} {
		srv := newTestServer(t, core.Config{}, h)
		good = testReturnPaths.Rewrite("ann@out.example", "our.example", srv.clock.Now())
		to := good
		if name == "another recipient" {
			to = "alice@our.example"
		}
		st := srv.send(newSession(), &envelope.Transaction{}, plainMessage, to)
		srv.waitIdle()
		if st == nil || st.Code != 550 || len(srv.transport.messages()) != 0 {
			t.Errorf("%s: got reply %v, sent %+v; want 550 and nothing sent", name, st, srv.transport.messages())
		}
		srv.stop()
	}
}

// TestReportsGoHome: our DSN about a forwarded message goes to the original sender,
// also if the message was forwarded several times.
func TestReportsGoHome(t *testing.T) {
	forwarder := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "alice@our.example" {
			return hooks.Verdict{}, nil
		}
		sender := testReturnPaths.Rewrite("ann@out.example", "our.example", e.Now)
		sender = testReturnPaths.Rewrite(sender, "our.example", e.Now)
		return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: "x@gone.example", Sender: &sender}})
	})
	srv := newTestServer(t, core.Config{}, forwarder)
	srv.mustSend(newSession(), "ann@out.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	got := srv.transport.messages()
	if len(got) != 1 || got[0].sender != "" || got[0].to[0] != "ann@out.example" ||
		!strings.Contains(got[0].text, "To: ann@out.example\r\n") ||
		!strings.Contains(got[0].text, "Final-Recipient: rfc822; alice@our.example") || strings.Contains(got[0].text, "gone.example") {
		t.Errorf("sent %+v, want one DSN to ann@out.example that does not name gone.example", got)
	}
}

// TestConfidentialSuccess: we do not ask a next hop for DSNs of success about an
// address that the sender does not know, but send "relayed" (RFC 3461 5.2.7.4).
func TestConfidentialSuccess(t *testing.T) {
	for _, tt := range []struct {
		to       envelope.Address
		dsn      bool // the next hop has the extension
		notify   envelope.Notify
		told     envelope.Notify
		reported bool
	}{
		{"front@our.example", true, envelope.NotifySuccess, envelope.NotifyNever, true},
		{"front@our.example", true, envelope.NotifySuccess | envelope.NotifyFailure, envelope.NotifyFailure, true},
		{"front@our.example", false, envelope.NotifySuccess, envelope.NotifyNever, true},
		{"front@our.example", true, 0, 0, false},
		{"hidden@out.example", true, envelope.NotifySuccess, envelope.NotifySuccess, false},
	} {
		srv := newTestServer(t, core.Config{})
		var told []envelope.Notify
		srv.transport.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
			told = append(told, r.Notify)
			return envelope.Outcome{Status: envelope.Status{Code: 250}, NoDSN: !tt.dsn}
		}
		if err := srv.accounts.AddAlias(t.Context(), "front@our.example", []envelope.Address{"hidden@out.example"}); err != nil {
			t.Fatal(err)
		}
		srv.sendNotify(tt.to, tt.notify, envelope.Params{})
		got := srv.mailbox("alice@our.example", "INBOX")
		if !slices.Equal(told, []envelope.Notify{tt.told}) || (len(got) == 1) != tt.reported {
			t.Errorf("%+v: the next hop got %v, alice got DSNs %q", tt, told, got)
		}
		if tt.reported && (!strings.Contains(got[0], "Action: relayed") || strings.Contains(got[0], "hidden@")) {
			t.Errorf("%+v: the DSN must say \"relayed\" and not name the hidden address: %s", tt, got[0])
		}
		srv.stop()
	}
}

// TestCirclesAreRefused: a message is refused if its recipients lead only back to
// themselves.
func TestCirclesAreRefused(t *testing.T) {
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		other := map[envelope.Address]envelope.Address{"alice@our.example": "bob@our.example",
			"bob@our.example": "alice@our.example"}[e.Rcpt.Address]
		if other == "" {
			return hooks.Verdict{}, nil
		}
		return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: other}})
	}))
	// The pattern leads back to itself, which is not visible when it is created.
	if err := srv.accounts.AddAlias(t.Context(), "/turn-(.+)/@our.example", []envelope.Address{"turn-$1@our.example"}); err != nil {
		t.Fatal(err)
	}
	for _, to := range [][]envelope.Address{{"alice@our.example"}, {"alice@our.example", "bob@our.example"}, {"turn-x@our.example"}} {
		if st := srv.send(newSession(), &envelope.Transaction{Sender: "ann@out.example"}, plainMessage, to...); st == nil || st.Code != 554 ||
			st.Enhanced != "5.4.6" {
			t.Errorf("%v: got reply %v, want 554 5.4.6", to, st)
		}
	}
	// With another target it is not an error.
	if err := srv.accounts.AddAlias(t.Context(), "more@our.example", []envelope.Address{"alice@our.example", "postmaster@our.example",
		"x@out.example"}); err != nil {
		t.Fatal(err)
	}
	if st := srv.send(newSession(), &envelope.Transaction{Sender: "ann@out.example"}, plainMessage, "more@our.example"); st != nil {
		t.Errorf("an alias with another target too: got reply %v, want 250", st)
	}
}
