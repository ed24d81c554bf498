package smtpout

import (
	"testing"
	"time"

	"carteiro/core/message/envelope"
)

func TestParseExtensions(t *testing.T) {
	e := parseExtensions([]string{"pipelining", "SIZE 1000", "AUTH=LOGIN PLAIN", "LIMITS rcptmax=5 MAILMAX=x", "", "X-ODD a b"})
	if !e.has("PIPELINING") || e.has("") || e.maxSize() != 1000 || !e.auth("plain") || e.auth("CRAM-MD5") {
		t.Errorf("%v", e)
	}
	if e.limit("RCPTMAX") != 5 || e.limit("MAILMAX") != 0 || e["X-ODD"] != "a b" {
		t.Errorf("%v", e)
	}
	for _, size := range []string{"", "0", "x", "-5", "99999999999999999999"} {
		if n := (extensions{"SIZE": size}).maxSize(); n != 0 {
			t.Errorf("SIZE %q is a limit of %d", size, n)
		}
	}
	both := parseExtensions([]string{"AUTH PLAIN", "AUTH=LOGIN"})
	if !both.auth("PLAIN") {
		t.Errorf("%v", both)
	}
}

func TestWording(t *testing.T) {
	now := time.Now()
	tr := &envelope.Transfer{Sender: "ü@bücher.example", Size: 5, EnvID: "a=b", Ret: "FULL", Priority: -3, By: now.Add(90 * time.Second)}
	all := extensions{"SIZE": "", "DSN": "", "MT-PRIORITY": "", "8BITMIME": "", "SMTPUTF8": "", "DELIVERBY": "60"}
	rc := func(orcpt string, n envelope.Notify) *envelope.Recipient {
		return &envelope.Recipient{Address: "b@bücher.example", ORcpt: orcpt, Notify: n}
	}
	w, bare, seven := envelopeParams{all, true}, envelopeParams{}, envelopeParams{ext: extensions{"DSN": ""}}
	tests := []struct{ got, want string }{
		{w.mail(tr, now), "MAIL FROM:<ü@bücher.example> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+3Db MT-PRIORITY=-3 BY=90;R"},
		{
			bare.mail(&envelope.Transfer{Sender: "a@bücher.example", Ret: "FULL", EightBit: true, By: now}, now),
			"MAIL FROM:<a@xn--bcher-kva.example>",
		},
		{bare.mail(&envelope.Transfer{}, now), "MAIL FROM:<>"},
		{
			w.rcpt(rc("rfc822;a b+c@x", envelope.NotifySuccess|envelope.NotifyFailure)),
			"RCPT TO:<b@bücher.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+20b+2Bc@x",
		},
		{w.rcpt(rc("utf-8;ü+a@x", 0)), `RCPT TO:<b@bücher.example> ORCPT=utf-8;ü\x{2B}a@x`},
		{seven.rcpt(rc("utf-8;ü@x", envelope.NotifyNever)), `RCPT TO:<b@xn--bcher-kva.example> NOTIFY=NEVER ORCPT=utf-8;\x{FC}@x`},
		{seven.rcpt(rc("nonsense", 0)), "RCPT TO:<b@xn--bcher-kva.example>"},
		{bare.rcpt(rc("rfc822;x", envelope.NotifyNever)), "RCPT TO:<b@xn--bcher-kva.example>"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got  %s\nwant %s", tt.got, tt.want)
		}
	}
	if w.isLate(tr, now) || !w.isLate(tr, now.Add(31*time.Second)) || bare.isLate(tr, now.Add(31*time.Second)) ||
		!bare.isLate(tr, now.Add(90*time.Second)) {
		t.Error("late is wrong about what is left of the time")
	}
}

func TestBatches(t *testing.T) {
	a := &attempt{client: New(Config{}), t: transfer()}
	var rcpts []int
	for i := range 1000 {
		a.t.Recipients = append(a.t.Recipients, &envelope.Recipient{Address: "somebody.with.a.name@some.domain.example"})
		rcpts = append(rcpts, i)
	}
	x := &transaction{a: a, c: &conn{ext: extensions{"PIPELINING": ""}}, rcpts: rcpts}
	batches := x.batches()
	n := 0
	for i, b := range batches {
		size := 0
		for _, cmd := range b {
			size += len(cmd.line) + 2
			if want := min(n, 1) + n/1001; int(cmd.verb) != want {
				t.Fatalf("command %d is %q", n, cmd.line)
			}
			n++
		}
		if size > maxBatch || i < len(batches)-1 && size < maxBatch-100 {
			t.Errorf("batch %d has %d octets", i, size)
		}
	}
	if n != 1002 {
		t.Errorf("%d commands", n)
	}
	x.c.ext = nil
	if got := len(x.batches()); got != 1002 {
		t.Errorf("%d batches without PIPELINING", got)
	}
}
