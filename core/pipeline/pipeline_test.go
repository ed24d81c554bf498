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
	srv := newTestServer(t, core.Config{})
	id := srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example", "bob+tag@our.example")
	srv.waitIdle()
	for _, who := range []envelope.Address{"alice@our.example", "bob@our.example"} {
		got := srv.mailbox(who, "INBOX")
		if len(got) != 1 {
			t.Fatalf("%s has %d messages, want 1", who, len(got))
		}
		if !strings.HasPrefix(got[0], "Return-Path: <a@a.example>\r\nDelivered-To: "+string(who)+"\r\nReceived: from client.example "+
			"([192.0.2.7])\r\n\tby mx.our.example with ESMTP\r\n\tid "+id.String()+";") {
			t.Errorf("wrong trace fields: %q", got[0])
		}
		if !strings.HasSuffix(got[0], plainMessage) {
			t.Errorf("content changed, want it as sent: %q", got[0])
		}
	}
	if n := srv.spoolCount(); n != 0 {
		t.Errorf("%d messages are left in the spool, want 0", n)
	}
}

func TestRefusals(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	tests := []struct {
		name string
		s    *envelope.Session
		from envelope.Address
		to   envelope.Address
		text string
		want string
	}{
		{"relay", newSession(), "a@a.example", "x@out.example", plainMessage, "554 5.7.1"},
		{"unknown", newSession(), "a@a.example", "nobody@our.example", plainMessage, "550 5.1.1"},
		{"foreign sender", newUserSession("alice@our.example"), "bob@our.example", "x@out.example", plainMessage, "550 5.7.1"},
		{"foreign From", newUserSession("alice@our.example"), "alice@our.example", "x@out.example", "From: bob@our.example\r\n\r\n", "550 5.7.1"},
		{"two From", newUserSession("alice@our.example"), "alice@our.example", "x@out.example",
			"From: alice@our.example\r\nFrom: alice@our.example\r\n\r\n", "550 5.6.0"},
		{"hops", newSession(), "a@a.example", "alice@our.example", strings.Repeat("Received: x\r\n", 101) + "\r\n", "554 5.4.6"},
	}
	for _, tt := range tests {
		st := srv.send(tt.s, &envelope.Transaction{Sender: tt.from}, tt.text, tt.to)
		if st == nil || !strings.HasPrefix(st.Reply(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, st, tt.want)
		}
	}
	srv.waitIdle()
	if n := srv.spoolCount() + len(srv.transport.messages()); n != 0 {
		t.Errorf("%d messages of refused transactions, want 0", n)
	}
}

func TestPostmasterIsAlwaysKnown(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	srv.mustSend(newSession(), "a@a.example", plainMessage, "PostMaster@our.example")
	srv.waitIdle()
	if got := srv.mailbox("alice@our.example", "INBOX"); len(got) != 1 {
		t.Errorf("the postmaster has %d messages, want 1", len(got))
	}
}

// cutOffReader returns some octets, then the error of a session whose client has gone.
type cutOffReader struct{ r io.Reader }

func (c cutOffReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestMessageCutOffIsDropped(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	for _, text := range []string{plainMessage[:20], plainMessage[:len(plainMessage)-3], plainMessage} {
		s, tx := newSession(), &envelope.Transaction{Sender: "a@a.example"}
		if st := srv.Mail(t.Context(), s, tx); st != nil {
			t.Fatal(st)
		}
		r := &envelope.Recipient{Address: "alice@our.example"}
		if st := srv.Rcpt(t.Context(), s, tx, r); st != nil {
			t.Fatal(st)
		}
		tx.Recipients = append(tx.Recipients, r)
		if st, _ := srv.Data(t.Context(), s, tx, cutOffReader{strings.NewReader(text)}); st == nil || st.Code < 400 {
			t.Errorf("message cut off: got reply %v, want an error", st)
		}
		srv.End(s, tx)
	}
	srv.waitIdle()
	if len(srv.mailbox("alice@our.example", "INBOX")) != 0 || srv.spoolCount() != 0 {
		t.Error("a message that was cut off was stored or delivered")
	}
}

func TestSubmissionCompletesAndStripsBcc(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	text := "From: alice@our.example\r\nTo: x@out.example\r\nbCC : secret@out.example,\r\n other@out.example\r\nResent-Bcc: " +
		"z@z.example\r\nSubject: Bcc: stays\r\n\r\nBcc: body\r\n"
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", text, "x@out.example", "secret@out.example")
	srv.waitIdle()
	got := srv.transport.messages()
	if len(got) != 1 || len(got[0].to) != 2 {
		t.Fatalf("want one transaction with two recipients, got %+v", got)
	}
	head, body, _ := strings.Cut(got[0].text, "\r\n\r\n")
	if strings.Contains(head, "secret@") || strings.Contains(head, "z@z.example") || strings.Contains(head, "for <") {
		t.Errorf("the header section reveals the Bcc: %q", head)
	}
	for _, want := range []string{"Date: ", "Message-ID: <", "Subject: Bcc: stays", "with ESMTPA"} {
		if !strings.Contains(head, want) {
			t.Errorf("no %q in %q", want, head)
		}
	}
	if body != "Bcc: body\r\n" {
		t.Errorf("got body %q, want it unchanged", body)
	}
	if hosts := got[0].hop.Hosts; len(hosts) != 2 {
		t.Errorf("got hosts %+v, want 2", hosts)
	}
}

func TestUnknownRemoteRecipientBounces(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	srv.transport.answer = func(hop envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if strings.HasPrefix(string(r.Address), "nobody") {
			return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no such user"}, Host: "mx1.out.example"}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: x\r\n\r\nquoted text\r\n",
		"nobody@out.example", "x@out.example", "nobody2@out.example")
	srv.waitIdle()
	got := srv.mailbox("alice@our.example", "INBOX")
	if len(got) != 1 {
		t.Fatalf("alice has %d DSNs, want 1", len(got))
	}
	for _, want := range []string{"Return-Path: <>\r\n", "Auto-Submitted: auto-replied", "multipart/report; report-type=delivery-status",
		"Reporting-MTA: dns; mx.our.example", "Final-Recipient: rfc822; nobody@out.example", "Final-Recipient: rfc822; nobody2@out.example",
		"Action: failed", "Status: 5.1.1", "Remote-MTA: dns; mx1.out.example", "Diagnostic-Code: smtp; 550 5.1.1 no such user", "quoted text"} {
		if !strings.Contains(got[0], want) {
			t.Errorf("no %q in the DSN\n%s", want, got[0])
		}
	}
	if strings.Contains(got[0], "rfc822; x@out.example") || srv.spoolCount() != 0 {
		t.Error("a delivered recipient is in the DSN, or the spool is not empty")
	}
}

func TestNullSenderGetsNoDSN(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	s := newSession()
	s.Trusted = true
	srv.mustSend(s, "", plainMessage, "x@null.example", "y@nowhere.example")
	srv.waitIdle()
	if n := srv.spoolCount(); n != 0 {
		t.Errorf("%d messages are left in the spool, want 0", n)
	}
}

func TestRetryWarnExpire(t *testing.T) {
	srv := newTestServer(t,
		core.Config{Retry: []time.Duration{5 * time.Minute, 15 * time.Minute}, Expire: 24 * time.Hour, Warn: 4 * time.Hour})
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 451, Enhanced: "4.2.0", Text: "later"}, Host: "mx1.out.example"}
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
	tries := func(n int) {
		t.Helper()
		srv.waitFor(fmt.Sprintf("%d tries", n), func() bool { return len(srv.transport.messages()) >= n })
		srv.waitIdle()
		if got := len(srv.transport.messages()); got != n {
			t.Fatalf("%d tries, want %d", got, n)
		}
	}
	tries(1)
	srv.clock.Advance(4 * time.Minute)
	tries(1)
	srv.clock.Advance(2 * time.Minute)
	tries(2)
	srv.clock.Advance(14 * time.Minute)
	tries(2)
	srv.clock.Advance(2 * time.Minute)
	tries(3)
	srv.clock.Advance(4 * time.Hour)
	tries(4)
	srv.waitFor("the warning", func() bool { return len(srv.mailbox("alice@our.example", "INBOX")) == 1 })
	srv.clock.Advance(20 * time.Hour)
	tries(5)
	srv.waitFor("the DSN", func() bool { return len(srv.mailbox("alice@our.example", "INBOX")) == 2 })
	got := srv.mailbox("alice@our.example", "INBOX")
	if !strings.Contains(got[0], "Action: delayed") || !strings.Contains(got[0], "Will-Retry-Until: ") {
		t.Errorf("want a DSN with Action: delayed and Will-Retry-Until, got %s", got[0])
	}
	if !strings.Contains(got[1], "Status: 5.4.7") || !strings.Contains(got[1], "Action: failed") {
		t.Errorf("want a DSN with Action: failed and status 5.4.7, got %s", got[1])
	}
	if srv.spoolCount() != 0 {
		t.Error("expired message is still there")
	}
}

func TestRoutes(t *testing.T) {
	srv := newTestServer(t, core.Config{Port: 2525, NextHops: map[string]envelope.NextHop{"legacy.example": {Name: "legacy", LMTP: true,
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
		hop, st := srv.route(t.Context(), &envelope.Envelope{}, &envelope.Group{Kind: envelope.Remote, Domain: tt.domain, Key: tt.domain})
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
			t.Errorf("%s: next hop or status%s, want %s", tt.domain, got, tt.want)
		}
	}
}

func TestAliases(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	ctx := t.Context()
	if err := srv.accounts.AddAlias(ctx, "sales@our.example", []envelope.Address{"alice@our.example", "bob@our.example",
		"x@out.example"}); err != nil {
		t.Fatal(err)
	}
	if err := srv.accounts.AddAlias(ctx, "@our.example", []envelope.Address{"sales@our.example"}); err != nil {
		t.Fatal(err)
	}
	srv.mustSend(newSession(), "a@a.example", plainMessage, "anything@our.example", "alice@our.example", "Sales+x@our.example")
	srv.waitIdle()
	if a, b, out := len(srv.mailbox("alice@our.example", "INBOX")), len(srv.mailbox("bob@our.example", "INBOX")),
		len(srv.transport.messages()); a != 1 || b != 1 || out != 1 {
		t.Errorf("alice got %d, bob %d, the peer %d; want 1 each", a, b, out)
	}
}

func TestRestartDeliversWhatWasQueued(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 421, Text: "down"}, Down: true}
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@out.example")
	srv.waitFor("a try", func() bool { return len(srv.transport.messages()) == 1 })
	srv.waitIdle()
	srv.stop()
	again := openTestServer(t, srv.dir, core.Config{})
	again.clock.Advance(time.Hour)
	again.waitFor("delivery", func() bool { return len(again.transport.messages()) == 1 })
}

func TestQuota(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	if err := srv.store.SetQuota(t.Context(), "bob@our.example", 1500); err != nil {
		t.Fatal(err)
	}
	text := plainMessage + strings.Repeat("0123456789\r\n", 80)
	srv.mustSend(newSession(), "a@a.example", text, "bob@our.example", "alice@our.example")
	srv.waitIdle()
	srv.mustSend(newSession(), "a@a.example", text, "alice@our.example", "bob@our.example")
	srv.waitIdle()
	if a, b := len(srv.mailbox("alice@our.example", "INBOX")), len(srv.mailbox("bob@our.example", "INBOX")); a != 2 || b != 1 {
		t.Errorf("alice has %d messages, bob %d; want 2 and 1", a, b)
	}
	if srv.spoolCount() != 1 {
		t.Errorf("%d messages are spooled, want 1: the one that did not fit", srv.spoolCount())
	}
	if err := srv.store.SetQuota(t.Context(), "bob@our.example", 0); err != nil {
		t.Fatal(err)
	}
	srv.clock.Advance(10 * time.Minute)
	srv.waitFor("the deferred delivery", func() bool { return len(srv.mailbox("bob@our.example", "INBOX")) == 2 })
}

func TestPoliciesAtEveryStage(t *testing.T) {
	var seen []string
	note := func(p hooks.Point, v hooks.Verdict) hooks.Handler {
		return handlerAt(p, func(*hooks.Event) (hooks.Verdict, error) { seen = append(seen, string(p)); return v, nil })
	}
	srv := newTestServer(t, core.Config{},
		note(hooks.ReceiveMail, hooks.Verdict{}), note(hooks.ReceiveRcpt, hooks.Verdict{}), note(hooks.ReceiveHeaders, hooks.Verdict{}),
		note(hooks.ReceiveData, hooks.Verdict{}), note(hooks.QueueExpand, hooks.Verdict{}), note(hooks.QueueCommit, hooks.Verdict{}),
		note(hooks.DeliverAttempt, hooks.Verdict{}), note(hooks.DeliverLocal, hooks.Verdict{Action: hooks.FileInto, Folder: "Lists"}),
		note(hooks.DeliverResult, hooks.Verdict{}))
	id := srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	want := "receive.mail receive.rcpt receive.headers receive.data queue.expand queue.commit deliver.attempt deliver.local deliver.result"
	if got := strings.Join(seen, " "); got != want {
		t.Errorf("hooks ran as\n%s\nwant\n%s", got, want)
	}
	if len(srv.mailbox("alice@our.example", "Lists")) != 1 {
		t.Error("the message is not in the folder Lists")
	}
	trail, err := srv.store.Trail(t.Context(), id)
	if err != nil || len(trail) < 2 {
		t.Errorf("trail: got %v, %v, want at least 2 entries", trail, err)
	}
}

func TestPolicyFailureIsNeverConsent(t *testing.T) {
	boom := func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, errors.New("boom") }
	for _, p := range []hooks.Point{hooks.ReceiveMail, hooks.ReceiveRcpt, hooks.ReceiveHeaders, hooks.ReceiveData, hooks.QueueExpand,
		hooks.QueueCommit} {
		srv := newTestServer(t, core.Config{}, handlerAt(p, boom))
		st := srv.send(newSession(), &envelope.Transaction{Sender: "a@a.example"}, plainMessage, "alice@our.example")
		if st == nil || st.Code != 451 {
			t.Errorf("%s: got reply %v, want 451", p, st)
		}
		srv.waitIdle()
		if len(srv.mailbox("alice@our.example", "INBOX")) != 0 {
			t.Errorf("%s: a message was delivered that was deferred", p)
		}
		srv.stop()
	}
	for _, p := range []hooks.Point{hooks.DeliverAttempt, hooks.DeliverLocal, hooks.DeliverResult} {
		srv := newTestServer(t, core.Config{}, handlerAt(p, boom))
		srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
		srv.waitIdle()
		if len(srv.mailbox("alice@our.example", "INBOX")) != 1 {
			t.Errorf("%s: a failure after the 250 lost the message", p)
		}
		srv.stop()
	}
}

func TestExpansionByPolicy(t *testing.T) {
	sender := envelope.Address("list-bounces@our.example")
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "list@our.example" {
			return hooks.Verdict{}, nil
		}
		var to []hooks.Target
		for _, a := range []envelope.Address{"alice@our.example", "bob@our.example", "x@out.example"} {
			to = append(to, hooks.Target{Address: a, Sender: &sender, Fields: "List-Id: <list>\r\n"})
		}
		return hooks.Verdict{}, e.Replace(e.Rcpt, to)
	}), handlerAt(hooks.ReceiveRcpt, func(e *hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Accept}, nil }))
	srv.mustSend(newSession(), "a@a.example", plainMessage, "list@our.example")
	srv.waitIdle()
	got := srv.mailbox("bob@our.example", "INBOX")
	if len(got) != 1 || !strings.Contains(got[0], "Return-Path: <list-bounces@our.example>") ||
		!strings.Contains(got[0], "List-Id: <list>\r\n") {
		t.Errorf("bob got %q, want one copy with the list's return path and List-Id", got)
	}
	if out := srv.transport.messages(); len(out) != 1 || out[0].sender != sender || !strings.HasPrefix(out[0].text, "List-Id: <list>\r\n") {
		t.Errorf("the peer got %+v, want one copy with the list's sender and List-Id", out)
	}
	// accept at RCPT does not create mailboxes: no policy expands this address.
	if st := srv.send(newSession(), &envelope.Transaction{Sender: "a@a.example"}, plainMessage, "nobody@our.example"); st == nil ||
		st.Code != 550 {
		t.Errorf("unknown recipient: got reply %v, want 550", st)
	}
}

func TestSubmissionsAreSentOnce(t *testing.T) {
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.DeliverLocal, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Msg.Sender == "" {
			return hooks.Verdict{}, nil
		}
		if err := e.AddEffect(envelope.Effect{Space: "scripts", Op: envelope.Incr, Key: "n", N: 1}); err != nil {
			return hooks.Verdict{}, err
		}
		return hooks.Verdict{}, e.AddSubmit(hooks.Submit{Rcpts: []envelope.Address{e.Msg.Sender},
			Header: []byte("Subject: Auto\r\nAuto-Submitted: auto-replied\r\n\r\n"), Body: []byte("away\r\n")})
	}))
	srv.mustSend(newSession(), "bob@our.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	if got := srv.mailbox("bob@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "Return-Path: <>\r\n") ||
		!strings.HasSuffix(got[0], "away\r\n") {
		t.Errorf("bob got %q, want one reply with the null sender", got)
	}
	if v, err := srv.store.Get(t.Context(), "scripts", "n"); err != nil || string(v) != "1" {
		t.Errorf("effect: got %q, %v, want 1", v, err)
	}
}

func TestPriorityOrder(t *testing.T) {
	srv := newTestServer(t, core.Config{Shaping: map[string]queue.Shaping{"out.example": {Connections: 1}}})
	srv.transport.block = make(chan struct{})
	send := func(p envelope.Priority, to envelope.Address) {
		pr := p
		tx := &envelope.Transaction{Sender: "alice@our.example", Params: envelope.Params{Priority: &pr}}
		if st := srv.send(newUserSession("alice@our.example"), tx, "From: alice@our.example\r\n\r\n", to); st != nil {
			t.Fatal(st)
		}
	}
	send(0, "first@out.example")
	srv.waitFor("the first is on its way", func() bool { return srv.InFlight() == 1 })
	for i := range 20 {
		send(-6, envelope.Address(fmt.Sprintf("bulk%d@out.example", i)))
	}
	send(6, "urgent@out.example")
	srv.waitFor("all are committed", func() bool { return srv.spoolCount() == 22 })
	go func() {
		for range 22 {
			srv.transport.block <- struct{}{}
		}
	}()
	srv.waitFor("all are sent", func() bool { return len(srv.transport.messages()) == 22 })
	got := srv.transport.messages()
	if got[0].to[0] != "first@out.example" || got[1].to[0] != "urgent@out.example" {
		t.Errorf("sent to %v, then %v; want first@, then urgent@", got[0].to, got[1].to)
	}
}

func TestAgeingLetsBulkMailLeave(t *testing.T) {
	srv := newTestServer(t, core.Config{Shaping: map[string]queue.Shaping{"out.example": {Connections: 1}}})
	srv.transport.block = make(chan struct{})
	send := func(p envelope.Priority, to envelope.Address) {
		pr := p
		tx := &envelope.Transaction{Sender: "alice@our.example", Params: envelope.Params{Priority: &pr}}
		if st := srv.send(newUserSession("alice@our.example"), tx, "From: alice@our.example\r\n\r\n", to); st != nil {
			t.Fatal(st)
		}
	}
	send(6, "u0@out.example")
	srv.waitFor("the first is on its way", func() bool { return srv.InFlight() == 1 })
	send(-4, "bulk@out.example")
	for i := 1; i <= 10; i++ { // one urgent message waits at any time
		send(6, envelope.Address(fmt.Sprintf("u%d@out.example", i)))
		srv.transport.block <- struct{}{}
		srv.waitFor("it is sent", func() bool { return len(srv.transport.messages()) == i })
		srv.waitFor("the next is on its way", func() bool { return srv.InFlight() == 1 })
		if got := srv.transport.messages(); got[len(got)-1].to[0] == "bulk@out.example" {
			if i < 3 {
				t.Errorf("bulk mail was sent after %d urgent messages, want at least 3", i)
			}
			close(srv.transport.block)
			return
		}
		srv.clock.Advance(queue.AgeStep)
	}
	close(srv.transport.block)
	t.Error("bulk mail was never sent")
}

func TestRefusalsAndDiscardsAreExplained(t *testing.T) {
	srv := newTestServer(
		t,
		core.Config{},
		handlerAt(hooks.ReceiveHelo, func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, nil }),
		handlerAt(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Tx.Sender == "spam@a.example" {
				return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Enhanced: "5.7.1", Text: "spam"}}, nil
			}
			return hooks.Verdict{Action: hooks.Discard, Reason: "trap"}, nil
		}),
	)
	refused := &envelope.Transaction{Sender: "spam@a.example"}
	if st := srv.send(newSession(), refused, plainMessage, "alice@our.example"); st == nil || st.Code != 550 {
		t.Fatalf("got reply %v, want 550", st)
	}
	discarded := srv.mustSend(newSession(), "b@a.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	if len(srv.mailbox("alice@our.example", "INBOX")) != 0 {
		t.Error("a discarded message was delivered")
	}
	for id, want := range map[envelope.ID]string{refused.ID: "reject 550 5.7.1 spam", discarded: "discard (trap)"} {
		trail, err := srv.store.Trail(t.Context(), id)
		found := false
		for _, e := range trail {
			found = found || e.Verdict == want && e.Handler == "policy.lua:1"
		}
		if err != nil || !found {
			t.Errorf("no %q of policy.lua:1 in the trail %+v, %v", want, trail, err)
		}
	}
}

func TestAPanicInAnAttemptHurtsOneMessage(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	srv.transport.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if r.Address == "bad@out.example" {
			panic("boom")
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "bad@out.example")
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "good@out.example")
	srv.waitFor("the good one is sent", func() bool { return len(srv.transport.messages()) == 1 })
	srv.waitIdle()
	if srv.spoolCount() != 1 {
		t.Errorf("%d messages in the spool, want 1: the bad one, deferred", srv.spoolCount())
	}
}

func TestSmarthost(t *testing.T) {
	srv := newTestServer(t, core.Config{Relay: &envelope.NextHop{Name: "relay", Hosts: []envelope.Host{{Name: "relay.example.net", Port: 587}},
		User: "us"}})
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\n", "x@nowhere.example")
	srv.waitIdle()
	if got := srv.transport.messages(); len(got) != 1 || got[0].hop.Hosts[0].Name != "relay.example.net" || got[0].hop.User != "us" {
		t.Errorf("sent %+v, want one message to the smarthost, as user us", got)
	}
}

func TestTransactionKeepsItsGeneration(t *testing.T) {
	mark := func(name string) hooks.Handler {
		return handlerAt(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Text: name}}, nil
		})
	}
	srv := newTestServer(t, core.Config{}, mark("old"))
	ctx, s, tx := t.Context(), newSession(), &envelope.Transaction{Sender: "a@a.example"}
	if st := srv.Mail(ctx, s, tx); st != nil {
		t.Fatal(st)
	}
	srv.policies.Swap(&hooks.Generation{ID: "new", Chain: hooks.NewChain([]hooks.Handler{mark("new")})})
	r := &envelope.Recipient{Address: "alice@our.example"}
	if st := srv.Rcpt(ctx, s, tx, r); st != nil {
		t.Fatal(st)
	}
	tx.Recipients = append(tx.Recipients, r)
	if st, _ := srv.Data(ctx, s, tx, strings.NewReader(plainMessage)); st == nil || st.Text != "old" {
		t.Errorf("open transaction: got reply %v, want that of the old policy", st)
	}
	srv.End(s, tx)
	if st := srv.send(s, &envelope.Transaction{Sender: "a@a.example"}, plainMessage, "alice@our.example"); st == nil || st.Text != "new" {
		t.Errorf("next transaction: got reply %v, want that of the new policy", st)
	}
}

func TestNoRelayWhateverAPolicySays(t *testing.T) {
	yes := func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Accept}, nil }
	srv := newTestServer(
		t,
		core.Config{},
		handlerAt(hooks.ReceiveRcpt, yes),
		goHandler{hooks.Info{Point: hooks.ReceiveRcpt, Tier: hooks.Bundle,
			File: "b.lua"}, yes},
	)
	if st := srv.send(newSession(), &envelope.Transaction{Sender: "a@a.example"}, plainMessage, "x@out.example"); st == nil || st.Code != 554 {
		t.Errorf("relaying for a stranger: got reply %v, want 554", st)
	}
}

func TestTarpitDelaysOneSession(t *testing.T) {
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.ReceiveMail, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Tx.Sender == "slow@a.example" {
			return hooks.Verdict{}, e.Tarpit(time.Hour) // limited to MaxDelay
		}
		return hooks.Verdict{}, nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s, tx := newSession(), &envelope.Transaction{Sender: "slow@a.example"}
		srv.Mail(ctx, s, tx)
		srv.End(s, tx)
		close(done)
	}()
	srv.mustSend(newSession(), "fast@a.example", plainMessage, "alice@our.example")
	select {
	case <-done:
		t.Error("the tarpit did not delay the slow session")
	default:
	}
	cancel() // the client has gone: the wait ends
	<-done
}

// TestStatusPerRecipient: a client whose protocol allows it gets a status for each
// recipient and no DSN; other clients get a DSN about rejected recipients.
func TestStatusPerRecipient(t *testing.T) {
	refuse := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address == "bob@our.example" {
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Enhanced: "5.7.1", Text: "bob does not want it"}}, nil
		}
		return hooks.Verdict{}, nil
	})
	for _, kind := range []string{"smtp", "lmtp", "prdr"} {
		srv := newTestServer(t, core.Config{}, refuse)
		s, tx := newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}
		s.Protocol, tx.Params.PRDR = "smtp", kind == "prdr"
		if kind == "lmtp" {
			s.Protocol = "lmtp"
		}
		if st := srv.Mail(t.Context(), s, tx); st != nil {
			t.Fatal(st)
		}
		for _, a := range []envelope.Address{"alice@our.example", "bob@our.example"} {
			r := &envelope.Recipient{Address: a, Orig: a}
			if st := srv.Rcpt(t.Context(), s, tx, r); st != nil {
				t.Fatal(st)
			}
			tx.Recipients = append(tx.Recipients, r)
		}
		st, each := srv.Data(t.Context(), s, tx, strings.NewReader("From: alice@our.example\r\nSubject: hello\r\n\r\nhello\r\n"))
		srv.End(s, tx)
		srv.waitIdle()
		reports := 0
		for _, text := range srv.mailbox("alice@our.example", "INBOX") {
			if strings.Contains(text, "bob does not want it") {
				reports++
			}
		}
		told := len(each) == 2 && each[0] == nil && each[1] != nil && each[1].Code == 550
		if st != nil || told != (kind != "smtp") || (reports == 1) != (kind == "smtp") || len(srv.mailbox("bob@our.example", "INBOX")) != 0 {
			t.Errorf("%s: got reply %v, per recipient %v, %d DSNs", kind, st, each, reports)
		}
		srv.stop()
	}
}
