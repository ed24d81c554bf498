package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/queue"
	"carteiro/hooks"
)

func TestLocalDelivery(t *testing.T) {
	h := newHouse(t, core.Config{})
	id := h.accept(session(), "a@a.example", plain, "alice@our.example", "bob+tag@our.example")
	h.idle()
	for _, who := range []envelope.Address{"alice@our.example", "bob@our.example"} {
		got := h.box(who, "INBOX")
		if len(got) != 1 {
			t.Fatalf("%s has %d messages", who, len(got))
		}
		if !strings.HasPrefix(got[0], "Return-Path: <a@a.example>\r\nDelivered-To: "+string(who)+"\r\nReceived: from client.example "+
			"([192.0.2.7])\r\n\tby mx.our.example with ESMTP\r\n\tid "+id.String()+";") {
			t.Errorf("trace fields: %q", got[0])
		}
		if !strings.HasSuffix(got[0], plain) {
			t.Errorf("content changed: %q", got[0])
		}
	}
	if n := h.spooled(); n != 0 {
		t.Errorf("%d messages left in the spool", n)
	}
}

func TestRefusals(t *testing.T) {
	h := newHouse(t, core.Config{})
	tests := []struct {
		name string
		s    *envelope.Session
		from envelope.Address
		to   envelope.Address
		text string
		want string
	}{
		{"relay", session(), "a@a.example", "x@out.example", plain, "554 5.7.1"},
		{"unknown", session(), "a@a.example", "nobody@our.example", plain, "550 5.1.1"},
		{"foreign sender", user("alice@our.example"), "bob@our.example", "x@out.example", plain, "550 5.7.1"},
		{"foreign From", user("alice@our.example"), "alice@our.example", "x@out.example", "From: bob@our.example\r\n\r\n", "550 5.7.1"},
		{"two From", user("alice@our.example"), "alice@our.example", "x@out.example",
			"From: alice@our.example\r\nFrom: alice@our.example\r\n\r\n", "550 5.6.0"},
		{"hops", session(), "a@a.example", "alice@our.example", strings.Repeat("Received: x\r\n", 101) + "\r\n", "554 5.4.6"},
	}
	for _, tt := range tests {
		st := h.offer(tt.s, &envelope.Transaction{Sender: tt.from}, tt.text, tt.to)
		if st == nil || !strings.HasPrefix(st.Reply(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, st, tt.want)
		}
	}
	h.idle()
	if n := h.spooled() + len(h.sink.all()); n != 0 {
		t.Errorf("%d messages of refused transactions exist", n)
	}
}

func TestPostmasterIsAlwaysKnown(t *testing.T) {
	h := newHouse(t, core.Config{})
	h.accept(session(), "a@a.example", plain, "PostMaster@our.example")
	h.idle()
	if got := h.box("alice@our.example", "INBOX"); len(got) != 1 {
		t.Errorf("postmaster's mail: %d", len(got))
	}
}

// cutOff gives some octets, then fails as a session does whose client left.
type cutOff struct{ r io.Reader }

func (c cutOff) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestMessageCutOffIsDropped(t *testing.T) {
	h := newHouse(t, core.Config{})
	for _, text := range []string{plain[:20], plain[:len(plain)-3], plain} {
		s, tx := session(), &envelope.Transaction{Sender: "a@a.example"}
		if st := h.Mail(t.Context(), s, tx); st != nil {
			t.Fatal(st)
		}
		r := &envelope.Recipient{Address: "alice@our.example"}
		if st := h.Rcpt(t.Context(), s, tx, r); st != nil {
			t.Fatal(st)
		}
		tx.Recipients = append(tx.Recipients, r)
		if st, _ := h.Data(t.Context(), s, tx, cutOff{strings.NewReader(text)}); st == nil || st.Code < 400 {
			t.Errorf("cut message accepted: %v", st)
		}
		h.End(s, tx)
	}
	h.idle()
	if len(h.box("alice@our.example", "INBOX")) != 0 || h.spooled() != 0 {
		t.Error("a cut message was delivered")
	}
}

func TestSubmissionCompletesAndStripsBcc(t *testing.T) {
	h := newHouse(t, core.Config{})
	text := "From: alice@our.example\r\nTo: x@out.example\r\nbCC : secret@out.example,\r\n other@out.example\r\nResent-Bcc: " +
		"z@z.example\r\nSubject: Bcc: stays\r\n\r\nBcc: body\r\n"
	h.accept(user("alice@our.example"), "alice@our.example", text, "x@out.example", "secret@out.example")
	h.idle()
	got := h.sink.all()
	if len(got) != 1 || len(got[0].to) != 2 {
		t.Fatalf("transactions: %+v", got)
	}
	head, body, _ := strings.Cut(got[0].text, "\r\n\r\n")
	if strings.Contains(head, "secret@") || strings.Contains(head, "z@z.example") || strings.Contains(head, "for <") {
		t.Errorf("Bcc shows: %q", head)
	}
	for _, want := range []string{"Date: ", "Message-ID: <", "Subject: Bcc: stays", "with ESMTPA"} {
		if !strings.Contains(head, want) {
			t.Errorf("no %q in %q", want, head)
		}
	}
	if body != "Bcc: body\r\n" {
		t.Errorf("body %q", body)
	}
	if hosts := got[0].hop.Hosts; len(hosts) != 2 {
		t.Errorf("hosts %+v", hosts)
	}
}

func TestUnknownRemoteRecipientBounces(t *testing.T) {
	h := newHouse(t, core.Config{})
	h.sink.answer = func(hop envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if strings.HasPrefix(string(r.Address), "nobody") {
			return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no such user"}, Host: "mx1.out.example"}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: x\r\n\r\nquoted text\r\n",
		"nobody@out.example", "x@out.example", "nobody2@out.example")
	h.idle()
	got := h.box("alice@our.example", "INBOX")
	if len(got) != 1 {
		t.Fatalf("%d DSNs", len(got))
	}
	for _, want := range []string{"Return-Path: <>\r\n", "Auto-Submitted: auto-replied", "multipart/report; report-type=delivery-status",
		"Reporting-MTA: dns; mx.our.example", "Final-Recipient: rfc822; nobody@out.example", "Final-Recipient: rfc822; nobody2@out.example",
		"Action: failed", "Status: 5.1.1", "Remote-MTA: dns; mx1.out.example", "Diagnostic-Code: smtp; 550 5.1.1 no such user", "quoted text"} {
		if !strings.Contains(got[0], want) {
			t.Errorf("no %q in\n%s", want, got[0])
		}
	}
	if strings.Contains(got[0], "rfc822; x@out.example") || h.spooled() != 0 {
		t.Error("a delivered recipient is in the DSN, or the spool is not empty")
	}
}

func TestNullSenderGetsNoDSN(t *testing.T) {
	h := newHouse(t, core.Config{})
	s := session()
	s.Trusted = true
	h.accept(s, "", plain, "x@null.example", "y@nowhere.example")
	h.idle()
	if n := h.spooled(); n != 0 {
		t.Errorf("%d messages left", n)
	}
}

func TestRetryWarnExpire(t *testing.T) {
	h := newHouse(t, core.Config{Retry: []time.Duration{5 * time.Minute, 15 * time.Minute}, Expire: 24 * time.Hour, Warn: 4 * time.Hour})
	h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 451, Enhanced: "4.2.0", Text: "later"}, Host: "mx1.out.example"}
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
	tries := func(n int) {
		t.Helper()
		h.until(fmt.Sprintf("%d tries", n), func() bool { return len(h.sink.all()) >= n })
		h.idle()
		if got := len(h.sink.all()); got != n {
			t.Fatalf("%d tries, want %d", got, n)
		}
	}
	tries(1)
	h.clock.Advance(4 * time.Minute)
	tries(1)
	h.clock.Advance(2 * time.Minute)
	tries(2)
	h.clock.Advance(14 * time.Minute)
	tries(2)
	h.clock.Advance(2 * time.Minute)
	tries(3)
	h.clock.Advance(4 * time.Hour)
	tries(4)
	h.until("the warning", func() bool { return len(h.box("alice@our.example", "INBOX")) == 1 })
	h.clock.Advance(20 * time.Hour)
	tries(5)
	h.until("the DSN", func() bool { return len(h.box("alice@our.example", "INBOX")) == 2 })
	got := h.box("alice@our.example", "INBOX")
	if !strings.Contains(got[0], "Action: delayed") || !strings.Contains(got[0], "Will-Retry-Until: ") {
		t.Errorf("warning: %s", got[0])
	}
	if !strings.Contains(got[1], "Status: 5.4.7") || !strings.Contains(got[1], "Action: failed") {
		t.Errorf("DSN: %s", got[1])
	}
	if h.spooled() != 0 {
		t.Error("expired message is still there")
	}
}

func TestRoutes(t *testing.T) {
	h := newHouse(t, core.Config{Port: 2525, NextHops: map[string]envelope.NextHop{"legacy.example": {Name: "legacy", LMTP: true,
		Hosts: []envelope.Host{{Name: "127.0.0.1", Port: 24}}}}})
	tests := []struct{ domain, want string }{
		{"out.example", "mx1.out.example:2525 mx2.out.example:2525"},
		{"slow.example", "slow.example:2525"},
		{"legacy.example", "127.0.0.1:24"},
		{"[192.0.2.9]", "192.0.2.9:2525"},
		{"backup.example", "mx1.out.example:2525"},
		{"null.example", "556 5.1.10"},
		{"nowhere.example", "550 5.1.2"},
		{"broken.example", "451 4.4.3"},
		{"loop.example", "554 5.4.6"},
	}
	for _, tt := range tests {
		hop, st := h.route(t.Context(), &envelope.Envelope{}, &envelope.Group{Kind: envelope.Remote, Domain: tt.domain, Key: tt.domain})
		got := ""
		for _, pref := range []int{0, 10, 20} {
			for _, host := range hop.Hosts {
				if host.Preference == pref {
					got += fmt.Sprintf(" %s:%d", host.Name, host.Port)
				}
			}
		}
		if st != nil {
			got = " " + st.Reply()
		}
		if !strings.HasPrefix(got, " "+tt.want) {
			t.Errorf("%s goes to%s, want %s", tt.domain, got, tt.want)
		}
	}
}

func TestAliases(t *testing.T) {
	h := newHouse(t, core.Config{})
	ctx := t.Context()
	if err := h.accounts.AddAlias(ctx, "sales@our.example", []envelope.Address{"alice@our.example", "bob@our.example",
		"x@out.example"}); err != nil {
		t.Fatal(err)
	}
	if err := h.accounts.AddAlias(ctx, "@our.example", []envelope.Address{"sales@our.example"}); err != nil {
		t.Fatal(err)
	}
	h.accept(session(), "a@a.example", plain, "anything@our.example", "alice@our.example", "Sales+x@our.example")
	h.idle()
	if a, b, out := len(h.box("alice@our.example", "INBOX")), len(h.box("bob@our.example", "INBOX")),
		len(h.sink.all()); a != 1 || b != 1 || out != 1 {
		t.Errorf("alice %d, bob %d, out %d; want one each", a, b, out)
	}
}

func TestRestartDeliversWhatWasQueued(t *testing.T) {
	h := newHouse(t, core.Config{})
	h.sink.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 421, Text: "down"}, Down: true}
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
	h.until("a try", func() bool { return len(h.sink.all()) == 1 })
	h.idle()
	h.stop()
	again := openHouse(t, h.dir, core.Config{})
	again.clock.Advance(time.Hour)
	again.until("delivery", func() bool { return len(again.sink.all()) == 1 })
}

func TestQuota(t *testing.T) {
	h := newHouse(t, core.Config{})
	if err := h.store.SetQuota(t.Context(), "bob@our.example", 1500); err != nil {
		t.Fatal(err)
	}
	text := plain + strings.Repeat("0123456789\r\n", 80)
	h.accept(session(), "a@a.example", text, "bob@our.example", "alice@our.example")
	h.idle()
	h.accept(session(), "a@a.example", text, "alice@our.example", "bob@our.example")
	h.idle()
	if a, b := len(h.box("alice@our.example", "INBOX")), len(h.box("bob@our.example", "INBOX")); a != 2 || b != 1 {
		t.Errorf("alice has %d, bob %d; want 2 and 1", a, b)
	}
	if h.spooled() != 1 {
		t.Errorf("the message that did not fit must wait: %d spooled", h.spooled())
	}
	if err := h.store.SetQuota(t.Context(), "bob@our.example", 0); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(10 * time.Minute)
	h.until("the deferred delivery", func() bool { return len(h.box("bob@our.example", "INBOX")) == 2 })
}

func TestPoliciesAtEveryStage(t *testing.T) {
	var seen []string
	note := func(p hooks.Point, v hooks.Verdict) hooks.Handler {
		return at(p, func(*hooks.Event) (hooks.Verdict, error) { seen = append(seen, string(p)); return v, nil })
	}
	h := newHouse(t, core.Config{},
		note(hooks.ReceiveMail, hooks.Verdict{}), note(hooks.ReceiveRcpt, hooks.Verdict{}), note(hooks.ReceiveHeaders, hooks.Verdict{}),
		note(hooks.ReceiveData, hooks.Verdict{}), note(hooks.QueueExpand, hooks.Verdict{}), note(hooks.QueueCommit, hooks.Verdict{}),
		note(hooks.DeliverAttempt, hooks.Verdict{}), note(hooks.DeliverLocal, hooks.Verdict{Action: hooks.FileInto, Folder: "Lists"}),
		note(hooks.DeliverResult, hooks.Verdict{}))
	id := h.accept(session(), "a@a.example", plain, "alice@our.example")
	h.idle()
	want := "receive.mail receive.rcpt receive.headers receive.data queue.expand queue.commit deliver.attempt deliver.local deliver.result"
	if got := strings.Join(seen, " "); got != want {
		t.Errorf("hooks ran as\n%s\nwant\n%s", got, want)
	}
	if len(h.box("alice@our.example", "Lists")) != 1 {
		t.Error("not filed into the folder")
	}
	trail, err := h.store.Trail(t.Context(), id)
	if err != nil || len(trail) < 2 {
		t.Errorf("trail %v, %v", trail, err)
	}
}

func TestPolicyFailureIsNeverConsent(t *testing.T) {
	boom := func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, errors.New("boom") }
	for _, p := range []hooks.Point{hooks.ReceiveMail, hooks.ReceiveRcpt, hooks.ReceiveHeaders, hooks.ReceiveData, hooks.QueueExpand,
		hooks.QueueCommit} {
		h := newHouse(t, core.Config{}, at(p, boom))
		st := h.offer(session(), &envelope.Transaction{Sender: "a@a.example"}, plain, "alice@our.example")
		if st == nil || st.Code != 451 {
			t.Errorf("%s: answer %v, want 451", p, st)
		}
		h.idle()
		if len(h.box("alice@our.example", "INBOX")) != 0 {
			t.Errorf("%s: delivered", p)
		}
		h.stop()
	}
	for _, p := range []hooks.Point{hooks.DeliverAttempt, hooks.DeliverLocal, hooks.DeliverResult} {
		h := newHouse(t, core.Config{}, at(p, boom))
		h.accept(session(), "a@a.example", plain, "alice@our.example")
		h.idle()
		if len(h.box("alice@our.example", "INBOX")) != 1 {
			t.Errorf("%s: after 250 a failure must not lose the message", p)
		}
		h.stop()
	}
}

func TestExpansionByPolicy(t *testing.T) {
	sender := envelope.Address("list-bounces@our.example")
	h := newHouse(t, core.Config{}, at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "list@our.example" {
			return hooks.Verdict{}, nil
		}
		var to []hooks.Target
		for _, a := range []envelope.Address{"alice@our.example", "bob@our.example", "x@out.example"} {
			to = append(to, hooks.Target{Address: a, Sender: &sender, Fields: "List-Id: <list>\r\n"})
		}
		return hooks.Verdict{}, e.Replace(e.Rcpt, to)
	}), at(hooks.ReceiveRcpt, func(e *hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Accept}, nil }))
	h.accept(session(), "a@a.example", plain, "list@our.example")
	h.idle()
	got := h.box("bob@our.example", "INBOX")
	if len(got) != 1 || !strings.Contains(got[0], "Return-Path: <list-bounces@our.example>") ||
		!strings.Contains(got[0], "List-Id: <list>\r\n") {
		t.Errorf("bob got %q", got)
	}
	if out := h.sink.all(); len(out) != 1 || out[0].sender != sender || !strings.HasPrefix(out[0].text, "List-Id: <list>\r\n") {
		t.Errorf("out got %+v", out)
	}
	// accept at RCPT does not invent mailboxes: nobody expands this one.
	if st := h.offer(session(), &envelope.Transaction{Sender: "a@a.example"}, plain, "nobody@our.example"); st == nil || st.Code != 550 {
		t.Errorf("unknown recipient: %v", st)
	}
}

func TestSubmissionsAreSentOnce(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.DeliverLocal, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Msg.Sender == "" {
			return hooks.Verdict{}, nil
		}
		if err := e.AddEffect(envelope.Effect{Space: "scripts", Op: envelope.Incr, Key: "n", N: 1}); err != nil {
			return hooks.Verdict{}, err
		}
		return hooks.Verdict{}, e.AddSubmit(hooks.Submit{Rcpts: []envelope.Address{e.Msg.Sender},
			Header: []byte("Subject: Auto\r\nAuto-Submitted: auto-replied\r\n\r\n"), Body: []byte("away\r\n")})
	}))
	h.accept(session(), "bob@our.example", plain, "alice@our.example")
	h.idle()
	if got := h.box("bob@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "Return-Path: <>\r\n") ||
		!strings.HasSuffix(got[0], "away\r\n") {
		t.Errorf("reply: %q", got)
	}
	if v, err := h.store.Get(t.Context(), "scripts", "n"); err != nil || string(v) != "1" {
		t.Errorf("effect: %q %v", v, err)
	}
}

func TestPriorityOrder(t *testing.T) {
	h := newHouse(t, core.Config{Shaping: map[string]queue.Shaping{"out.example": {Connections: 1}}})
	h.sink.hold = make(chan struct{})
	send := func(p envelope.Priority, to envelope.Address) {
		pr := p
		tx := &envelope.Transaction{Sender: "alice@our.example", Params: envelope.Params{Priority: &pr}}
		if st := h.offer(user("alice@our.example"), tx, "From: alice@our.example\r\n\r\n", to); st != nil {
			t.Fatal(st)
		}
	}
	send(0, "first@out.example")
	h.until("the first is on its way", func() bool { return h.InFlight() == 1 })
	for i := range 20 {
		send(-6, envelope.Address(fmt.Sprintf("bulk%d@out.example", i)))
	}
	send(6, "urgent@out.example")
	h.until("all are committed", func() bool { return h.spooled() == 22 })
	go func() {
		for range 22 {
			h.sink.hold <- struct{}{}
		}
	}()
	h.until("all are sent", func() bool { return len(h.sink.all()) == 22 })
	got := h.sink.all()
	if got[0].to[0] != "first@out.example" || got[1].to[0] != "urgent@out.example" {
		t.Errorf("order: %v, %v", got[0].to, got[1].to)
	}
}

func TestAgeingLetsBulkMailLeave(t *testing.T) {
	h := newHouse(t, core.Config{Shaping: map[string]queue.Shaping{"out.example": {Connections: 1}}})
	h.sink.hold = make(chan struct{})
	send := func(p envelope.Priority, to envelope.Address) {
		pr := p
		tx := &envelope.Transaction{Sender: "alice@our.example", Params: envelope.Params{Priority: &pr}}
		if st := h.offer(user("alice@our.example"), tx, "From: alice@our.example\r\n\r\n", to); st != nil {
			t.Fatal(st)
		}
	}
	send(6, "u0@out.example")
	h.until("the first is on its way", func() bool { return h.InFlight() == 1 })
	send(-4, "bulk@out.example")
	for i := 1; i <= 10; i++ { // one urgent message waits at any time
		send(6, envelope.Address(fmt.Sprintf("u%d@out.example", i)))
		h.sink.hold <- struct{}{}
		h.until("it is sent", func() bool { return len(h.sink.all()) == i })
		h.until("the next is on its way", func() bool { return h.InFlight() == 1 })
		if got := h.sink.all(); got[len(got)-1].to[0] == "bulk@out.example" {
			if i < 3 {
				t.Errorf("bulk left after %d urgent ones", i)
			}
			close(h.sink.hold)
			return
		}
		h.clock.Advance(queue.AgeStep)
	}
	close(h.sink.hold)
	t.Error("bulk mail starved")
}

func TestRefusalsAndDiscardsAreExplained(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.ReceiveHelo, func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, nil }),
		at(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Tx.Sender == "spam@a.example" {
				return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Enhanced: "5.7.1", Text: "spam"}}, nil
			}
			return hooks.Verdict{Action: hooks.Discard, Reason: "trap"}, nil
		}))
	refused := &envelope.Transaction{Sender: "spam@a.example"}
	if st := h.offer(session(), refused, plain, "alice@our.example"); st == nil || st.Code != 550 {
		t.Fatalf("answer %v", st)
	}
	discarded := h.accept(session(), "b@a.example", plain, "alice@our.example")
	h.idle()
	if len(h.box("alice@our.example", "INBOX")) != 0 {
		t.Error("a discarded message was delivered")
	}
	for id, want := range map[envelope.ID]string{refused.ID: "reject 550 5.7.1 spam", discarded: "discard (trap)"} {
		trail, err := h.store.Trail(t.Context(), id)
		found := false
		for _, e := range trail {
			found = found || e.Verdict == want && e.Handler == "policy.lua:1"
		}
		if err != nil || !found {
			t.Errorf("no %q in %+v, %v", want, trail, err)
		}
	}
}

func TestAPanicInAnAttemptHurtsOneMessage(t *testing.T) {
	h := newHouse(t, core.Config{})
	h.sink.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if r.Address == "bad@out.example" {
			panic("boom")
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "bad@out.example")
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "good@out.example")
	h.until("the good one is sent", func() bool { return len(h.sink.all()) == 1 })
	h.idle()
	if h.spooled() != 1 {
		t.Errorf("%d messages in the spool, want the bad one, for later", h.spooled())
	}
}

func TestSmarthost(t *testing.T) {
	h := newHouse(t, core.Config{Relay: &envelope.NextHop{Name: "relay", Hosts: []envelope.Host{{Name: "relay.example.net", Port: 587}},
		User: "us"}})
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@nowhere.example")
	h.idle()
	if got := h.sink.all(); len(got) != 1 || got[0].hop.Hosts[0].Name != "relay.example.net" || got[0].hop.User != "us" {
		t.Errorf("sent %+v", got)
	}
}

func TestTransactionKeepsItsGeneration(t *testing.T) {
	mark := func(name string) hooks.Handler {
		return at(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Text: name}}, nil
		})
	}
	h := newHouse(t, core.Config{}, mark("old"))
	ctx, s, tx := t.Context(), session(), &envelope.Transaction{Sender: "a@a.example"}
	if st := h.Mail(ctx, s, tx); st != nil {
		t.Fatal(st)
	}
	h.gen.Swap(&hooks.Generation{ID: "new", Chain: hooks.NewChain([]hooks.Handler{mark("new")})})
	r := &envelope.Recipient{Address: "alice@our.example"}
	if st := h.Rcpt(ctx, s, tx, r); st != nil {
		t.Fatal(st)
	}
	tx.Recipients = append(tx.Recipients, r)
	if st, _ := h.Data(ctx, s, tx, strings.NewReader(plain)); st == nil || st.Text != "old" {
		t.Errorf("the open transaction was judged by %v", st)
	}
	h.End(s, tx)
	if st := h.offer(s, &envelope.Transaction{Sender: "a@a.example"}, plain, "alice@our.example"); st == nil || st.Text != "new" {
		t.Errorf("the next one was judged by %v", st)
	}
}

func TestNoRelayWhateverAPolicySays(t *testing.T) {
	yes := func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Accept}, nil }
	h := newHouse(t, core.Config{}, at(hooks.ReceiveRcpt, yes), handler{hooks.Info{Point: hooks.ReceiveRcpt, Tier: hooks.Bundle,
		File: "b.lua"}, yes})
	if st := h.offer(session(), &envelope.Transaction{Sender: "a@a.example"}, plain, "x@out.example"); st == nil || st.Code != 554 {
		t.Errorf("relayed for a stranger: %v", st)
	}
}

func TestTarpitDelaysOneSession(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.ReceiveMail, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Tx.Sender == "slow@a.example" {
			return hooks.Verdict{}, e.Tarpit(time.Hour) // cut to MaxDelay
		}
		return hooks.Verdict{}, nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s, tx := session(), &envelope.Transaction{Sender: "slow@a.example"}
		h.Mail(ctx, s, tx)
		h.End(s, tx)
		close(done)
	}()
	h.accept(session(), "fast@a.example", plain, "alice@our.example")
	select {
	case <-done:
		t.Error("the slow session did not wait")
	default:
	}
	cancel() // the client has gone: nobody waits any more
	<-done
}

// TestStatusPerRecipient: where the client can be told of each recipient it
// is, and gets no report; else a report tells of those that were refused.
func TestStatusPerRecipient(t *testing.T) {
	refuse := at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address == "bob@our.example" {
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Enhanced: "5.7.1", Text: "bob does not want it"}}, nil
		}
		return hooks.Verdict{}, nil
	})
	for _, kind := range []string{"smtp", "lmtp", "prdr"} {
		h := newHouse(t, core.Config{}, refuse)
		s, tx := user("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}
		s.Protocol, tx.Params.PRDR = "smtp", kind == "prdr"
		if kind == "lmtp" {
			s.Protocol = "lmtp"
		}
		if st := h.Mail(t.Context(), s, tx); st != nil {
			t.Fatal(st)
		}
		for _, a := range []envelope.Address{"alice@our.example", "bob@our.example"} {
			r := &envelope.Recipient{Address: a, Orig: a}
			if st := h.Rcpt(t.Context(), s, tx, r); st != nil {
				t.Fatal(st)
			}
			tx.Recipients = append(tx.Recipients, r)
		}
		st, each := h.Data(t.Context(), s, tx, strings.NewReader("From: alice@our.example\r\nSubject: hello\r\n\r\nhello\r\n"))
		h.End(s, tx)
		h.idle()
		reports := 0
		for _, text := range h.box("alice@our.example", "INBOX") {
			if strings.Contains(text, "bob does not want it") {
				reports++
			}
		}
		told := len(each) == 2 && each[0] == nil && each[1] != nil && each[1].Code == 550
		if st != nil || told != (kind != "smtp") || (reports == 1) != (kind == "smtp") || len(h.box("bob@our.example", "INBOX")) != 0 {
			t.Errorf("%s: %v, per recipient %v, %d reports", kind, st, each, reports)
		}
		h.stop()
	}
}
