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

// TestReturnAddresses: reports come home through addresses that we signed;
// nothing else leaves by them, whoever sends it and whatever a policy says.
func TestReturnAddresses(t *testing.T) {
	yes := func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Accept}, nil }
	h := newHouse(t, core.Config{}, at(hooks.ReceiveRcpt, yes))
	back := func(domain string) envelope.Address {
		return testRing.Rewrite("ann@out.example", domain, h.clock.Now())
	}
	good := back("our.example")
	forged := envelope.Address(strings.Replace(string(good), "ann@", "anna@", 1))
	changed := []byte(good)
	changed[6] ^= 1
	alien := srs.NewRing([]byte("another server")).Rewrite("ann@out.example", "our.example", h.clock.Now())
	for _, tt := range []struct {
		name string
		s    *envelope.Session
		from envelope.Address
		to   envelope.Address
		code int
	}{
		{"a report", session(), "", good, 0},
		{"a report, at our name", session(), "", back("mx.our.example"), 0},
		{"a report, in other case", session(), "", envelope.Address(strings.ToLower(string(good))), 0},
		{"mail of a stranger", session(), "eve@evil.example", good, 550},
		{"mail of a user", user("alice@our.example"), "alice@our.example", good, 550},
		{"another local part", session(), "", forged, 550},
		{"one letter", session(), "", envelope.Address(changed), 550},
		{"another server's key", session(), "", alien, 550},
		{"at another domain", session(), "", back("out.example"), 554}, // not ours: relaying
	} {
		before := len(h.sink.all())
		st := h.offer(tt.s, &envelope.Transaction{Sender: tt.from}, plain, tt.to)
		h.idle()
		got := h.sink.all()[before:]
		switch {
		case tt.code == 0 && (st != nil || len(got) != 1 || got[0].sender != "" || !strings.EqualFold(string(got[0].to[0]), "ann@out.example")):
			t.Errorf("%s: %v, sent %+v", tt.name, st, got)
		case tt.code != 0 && (st == nil || st.Code != tt.code || !strings.HasPrefix(st.Enhanced, "5.7.") || len(got) != 0):
			t.Errorf("%s: %v, sent %+v", tt.name, st, got)
		}
	}
	h.clock.Advance((srs.Days + 1) * 24 * time.Hour)
	if st := h.offer(session(), &envelope.Transaction{}, plain, good); st == nil || st.Code != 550 || !strings.HasPrefix(st.Enhanced, "5.7.") {
		t.Errorf("an old one: %v", st)
	}
}

// TestReturnAddressBehindPolicies: what policies do behind RCPT gets nothing
// past the guard.
func TestReturnAddressBehindPolicies(t *testing.T) {
	var good envelope.Address
	for name, h := range map[string]hooks.Handler{
		"another sender": at(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{}, e.SetSender("eve@evil.example")
		}),
		"another recipient": at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Rcpt.Address == "alice@our.example" {
				sender := envelope.Address("eve@evil.example")
				return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: good, Sender: &sender}})
			}
			return hooks.Verdict{}, nil
		}),
	} {
		h := newHouse(t, core.Config{}, h)
		good = testRing.Rewrite("ann@out.example", "our.example", h.clock.Now())
		to := good
		if name == "another recipient" {
			to = "alice@our.example"
		}
		st := h.offer(session(), &envelope.Transaction{}, plain, to)
		h.idle()
		if st == nil || st.Code != 550 || len(h.sink.all()) != 0 {
			t.Errorf("%s: %v, sent %+v", name, st, h.sink.all())
		}
		h.stop()
	}
}

// TestReportsGoHome: a report of ours about a forwarded message goes to its
// sender, by their own name, over any number of layers.
func TestReportsGoHome(t *testing.T) {
	forwarder := at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "alice@our.example" {
			return hooks.Verdict{}, nil
		}
		sender := testRing.Rewrite("ann@out.example", "our.example", e.Now)
		sender = testRing.Rewrite(sender, "our.example", e.Now)
		return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: "x@gone.example", Sender: &sender}})
	})
	h := newHouse(t, core.Config{}, forwarder)
	h.accept(session(), "ann@out.example", plain, "alice@our.example")
	h.idle()
	got := h.sink.all()
	if len(got) != 1 || got[0].sender != "" || got[0].to[0] != "ann@out.example" ||
		!strings.Contains(got[0].text, "To: ann@out.example\r\n") ||
		!strings.Contains(got[0].text, "Final-Recipient: rfc822; alice@our.example") || strings.Contains(got[0].text, "gone.example") {
		t.Errorf("report: %+v", got)
	}
}

// TestConfidentialSuccess: a next hop is not asked to tell of success at an
// address that the sender does not know; we say "relayed" (RFC 3461 5.2.7.4).
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
		h := newHouse(t, core.Config{})
		var told []envelope.Notify
		h.sink.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
			told = append(told, r.Notify)
			return envelope.Outcome{Status: envelope.Status{Code: 250}, NoDSN: !tt.dsn}
		}
		if err := h.accounts.AddAlias(t.Context(), "front@our.example", []envelope.Address{"hidden@out.example"}); err != nil {
			t.Fatal(err)
		}
		h.sendNotify(tt.to, tt.notify, envelope.Params{})
		got := h.box("alice@our.example", "INBOX")
		if !slices.Equal(told, []envelope.Notify{tt.told}) || (len(got) == 1) != tt.reported {
			t.Errorf("%+v: told %v, reports %q", tt, told, got)
		}
		if tt.reported && (!strings.Contains(got[0], "Action: relayed") || strings.Contains(got[0], "hidden@")) {
			t.Errorf("%+v: %s", tt, got[0])
		}
		h.stop()
	}
}

// TestCirclesAreRefused: recipients who lead to nobody but themselves are an
// error of the message, not a silence.
func TestCirclesAreRefused(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		other := map[envelope.Address]envelope.Address{"alice@our.example": "bob@our.example",
			"bob@our.example": "alice@our.example"}[e.Rcpt.Address]
		if other == "" {
			return hooks.Verdict{}, nil
		}
		return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: other}})
	}))
	// The pattern leads back to itself; when it was made, nobody could see.
	if err := h.accounts.AddAlias(t.Context(), "/turn-(.+)/@our.example", []envelope.Address{"turn-$1@our.example"}); err != nil {
		t.Fatal(err)
	}
	for _, to := range [][]envelope.Address{{"alice@our.example"}, {"alice@our.example", "bob@our.example"}, {"turn-x@our.example"}} {
		if st := h.offer(session(), &envelope.Transaction{Sender: "ann@out.example"}, plain, to...); st == nil || st.Code != 554 ||
			st.Enhanced != "5.4.6" {
			t.Errorf("%v: %v", to, st)
		}
	}
	// Somebody else on the way: not an error.
	if err := h.accounts.AddAlias(t.Context(), "more@our.example", []envelope.Address{"alice@our.example", "postmaster@our.example",
		"x@out.example"}); err != nil {
		t.Fatal(err)
	}
	if st := h.offer(session(), &envelope.Transaction{Sender: "ann@out.example"}, plain, "more@our.example"); st != nil {
		t.Errorf("an alias for others too: %v", st)
	}
}
