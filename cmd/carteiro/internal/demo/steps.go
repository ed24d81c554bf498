package demo

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/admin"
)

// checkHas checks that a text has all of some words.
func checkHas(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("no %q in the message", w)
		}
	}
	return nil
}

// checkTrail checks that a trail has an entry with all of some words.
func checkTrail(s admin.MessageTrail, words ...string) error {
	for _, t := range s.Trail {
		line := fmt.Sprint(t.Step, " ", t.Hook, " ", t.Rcpt, " ", t.Verdict, " ", t.Text, " ", t.Changes)
		if checkHas(line, words...) == nil {
			return nil
		}
	}
	return fmt.Errorf("no step with %q in the trail of %s", words, s.ID)
}

func stepSubmission(ctx context.Context, d *demo) (string, error) {
	text := "From: Bob <bob@example.org>\r\nTo: alice@example.com\r\nSubject: Lunch\r\n\r\nAt noon?\r\n.a line that begins with a dot\r\n"
	id, err := d.org.submit(ctx, "bob@example.org", "alice@example.com", text)
	if err != nil {
		return "", err
	}
	trail, err := d.org.explain(ctx, id)
	if err != nil {
		return "", err
	}
	if err := checkTrail(trail, "deliver", "alice@example.com", "delivered", "mx2.example.com"); err != nil {
		return "", err
	}
	got, err := d.com.one(ctx, "alice")
	if err != nil {
		return "", err
	}
	if err := checkHas(got, "Return-Path: <bob@example.org>", "with ESMTPSA", "with ESMTPS (", "Date: ", "Message-ID: <",
		"At noon?\r\n.a line that begins with a dot\r\n"); err != nil {
		return "", err
	}
	return "over TLS to mx2, since nothing answered at the preferred mx1; read and removed with APOP", nil
}

func stepSMTPDialogue(ctx context.Context, d *demo) (string, error) {
	t, err := d.com.dial(ctx, d.com.ports.mx)
	if err != nil {
		return "", err
	}
	defer t.close()
	for _, c := range [][2]string{{"", "220"}, {"HELO relay.example.org", "250"}, {"MAIL FROM:<bob@example.org>", "250"},
		{"RCPT TO:<alice@example.com>", "250"}, {"RCPT TO:<theboss@example.com>", "250"}} {
		if _, err := t.smtp(c[0], c[1]); err != nil {
			return "", err
		}
	}
	id, err := t.content(
		"From: \"Bob Example\" <bob@example.org>\r\nTo: \"Alice Example\" <alice@example.com>\r\nCc: theboss@example.com\r\n" +
			"Date: Tue, 15 Jan 2008 16:02:43 -0500\r\nSubject: Test message\r\n\r\nHello Alice.\r\n" +
			"This is a test message with 5 header fields and 4 lines in the message body.\r\nYour friend,\r\nBob\r\n",
	)
	if err != nil {
		return "", err
	}
	if _, err := t.smtp("QUIT", "221"); err != nil {
		return "", err
	}
	if _, err := d.com.explain(ctx, id); err != nil {
		return "", err
	}
	for _, who := range []string{"alice", "theboss"} {
		got, err := d.com.one(ctx, who)
		if err != nil {
			return "", err
		}
		if err := checkHas(got, "Cc: theboss@example.com\r\n", "with SMTP\r\n", "id "+id, "Your friend,\r\nBob\r\n"); err != nil {
			return "", err
		}
		if strings.Contains(got, "for <") {
			return "", fmt.Errorf("the trace field names one of two recipients")
		}
	}
	return "queued as " + id + ", both mailboxes have it", nil
}

func stepPOP3Dialogue(ctx context.Context, d *demo) (string, error) {
	for i, subject := range []string{"first", "second"} {
		if _, err := d.com.deliver(ctx, "bob@example.org", "mrose@example.com",
			"From: bob@example.org\r\nTo: mrose@example.com\r\nSubject: "+subject+"\r\n\r\n"+subject+" message\r\n"); err != nil {
			return "", err
		}
		if err := d.com.mailbox(ctx, "mrose@example.com", "INBOX", int64(i+1)); err != nil {
			return "", err
		}
	}
	t, err := d.com.apop(ctx, "mrose")
	if err != nil {
		return "", err
	}
	defer t.close()
	if s, err := t.pop3("STAT"); err != nil || !strings.HasPrefix(s, "+OK 2 ") {
		return "", fmt.Errorf("%w answer to STAT: %q, %v", errUnexpected, s, err)
	}
	if s, err := t.multi("LIST"); err != nil || !strings.HasPrefix(s, "1 ") || !strings.Contains(s, "\r\n2 ") {
		return "", fmt.Errorf("%w answer to LIST: %q, %v", errUnexpected, s, err)
	}
	for i, subject := range []string{"first", "second"} {
		text, err := t.multi(fmt.Sprintf("RETR %d", i+1))
		if err == nil {
			err = checkHas(text, "Subject: "+subject+"\r\n")
		}
		if err == nil {
			_, err = t.pop3(fmt.Sprintf("DELE %d", i+1))
		}
		if err != nil {
			return "", err
		}
	}
	if s, err := t.pop3("QUIT"); err != nil || !strings.Contains(s, "maildrop empty") {
		return "", fmt.Errorf("%w answer to QUIT: %q, %v", errUnexpected, s, err)
	}
	return "two messages read and removed, maildrop empty", nil
}

func stepMIME(ctx context.Context, d *demo) (string, error) {
	data := make([]byte, 2000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	var encoded strings.Builder
	for b64 := base64.StdEncoding.EncodeToString(data); b64 != ""; {
		n := min(76, len(b64))
		encoded.WriteString(b64[:n] + "\r\n")
		b64 = b64[n:]
	}
	body := "This is a message with several parts.\r\n--frontier\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n" +
		"Ol=C3=A1, a carta =E2=9C=89 chegou =\r\nbem.\r\n--frontier\r\nContent-Type: image/png; name=letter.png\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + encoded.String() + "--frontier--\r\n"
	head := "From: bob@example.org\r\nTo: alice@example.com\r\nSubject: =?utf-8?Q?Ol=C3=A1?=\r\nDate: " + startDate +
		"\r\nMessage-ID: <mime@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=frontier\r\n\r\n"
	if _, err := d.org.submit(ctx, "bob@example.org", "alice@example.com", head+body); err != nil {
		return "", err
	}
	got, err := d.com.one(ctx, "alice")
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(got, head+body) {
		return "", fmt.Errorf("what arrived is not what was sent")
	}
	index, err := mime.ReadIndex(mime.ParseHeader([]byte(head)), strings.NewReader(body))
	if err != nil || len(index.Parts) != 3 {
		return "", fmt.Errorf("%d parts, %v", len(index.Parts), err)
	}
	text, err := index.Parts[1].Text(strings.NewReader(body), 1000)
	if err != nil || text != "Olá, a carta ✉ chegou bem." {
		return "", fmt.Errorf("text part is %q, %v", text, err)
	}
	return fmt.Sprintf("%d octets of header section and body, unchanged under the trace fields", len(head+body)), nil
}

func stepPolicy(ctx context.Context, d *demo) (string, error) {
	id, err := d.com.deliver(
		ctx,
		"x@sender.example",
		"alice@example.com",
		"From: x@sender.example\r\nTo: alice@example.com\r\nSubject: You won\r\nImportance: high\r\n\r\nthe lottery\r\n",
	)
	if err != nil {
		return "", err
	}
	trail, err := d.com.explain(ctx, id)
	if err != nil {
		return "", err
	}
	for _, want := range [][]string{{"receive.data", "score LOTTERY", "X-Spam"}, {"queue.commit", "priority"},
		{"deliver.local", "X-Delivered-By"}, {"class urgent"}} {
		if err := checkTrail(trail, want...); err != nil {
			return "", err
		}
	}
	if err := d.com.mailbox(ctx, "alice@example.com", "Junk", 1); err != nil {
		return "", err
	}
	// The route: partner.example has no MX record, the policy knows the way.
	if err := d.com.ask(ctx, "domain.add", admin.DomainArgs{Domain: "partner.example"}, &struct{}{}); err != nil {
		return "", err
	}
	if err := d.com.ask(ctx, "alias.add", admin.AliasArgs{Address: "friend@partner.example", Targets: []string{"theboss@example.com"}},
		&struct{}{}); err != nil {
		return "", err
	}
	id, err = d.org.submit(
		ctx,
		"bob@example.org",
		"friend@partner.example",
		"From: bob@example.org\r\nTo: friend@partner.example\r\nSubject: routed\r\n\r\nby policy\r\n",
	)
	if err != nil {
		return "", err
	}
	if trail, err = d.org.explain(ctx, id); err != nil {
		return "", err
	}
	if err := checkTrail(trail, "deliver", "friend@partner.example", "mx2.example.com"); err != nil {
		return "", err
	}
	got, err := d.com.one(ctx, "theboss@example.com")
	if err != nil {
		return "", err
	}
	return "scored and filed into Junk, queued as urgent, routed without MX, marked on delivery", checkHas(
		got,
		"Subject: routed",
		"X-Delivered-By: policy one",
	)
}

func stepReload(ctx context.Context, d *demo) (string, error) {
	send := func(want string) error {
		if _, err := d.com.deliver(ctx, "bob@example.org", "alice@example.com",
			"From: bob@example.org\r\nSubject: "+want+"\r\n\r\nhello\r\n"); err != nil {
			return err
		}
		got, err := d.com.one(ctx, "alice")
		if err != nil {
			return err
		}
		return checkHas(got, "X-Delivered-By: "+want+"\r\n")
	}
	if err := send("policy one"); err != nil {
		return "", err
	}
	file := filepath.Join(d.com.dir, "scripts", "policy.lua")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(comPolicy, "policy one", "policy two")), 0o600); err != nil {
		return "", err
	}
	var gen admin.Generation
	if err := d.com.ask(ctx, "reload", struct{}{}, &gen); err != nil {
		return "", err
	}
	fmt.Fprintf(d.out, "[%s] carteiro reload: generation %s, %d handlers\n", d.com.name, gen.ID, gen.Handlers)
	if err := send("policy two"); err != nil {
		return "", err
	}
	if err := os.WriteFile(file, []byte("on(\"receive.data\", function(session, tx, msg)\n  if then\nend)\n"), 0o600); err != nil {
		return "", err
	}
	err := d.com.ask(ctx, "reload", struct{}{}, &gen)
	if err == nil {
		return "", fmt.Errorf("a broken policy was accepted")
	}
	fmt.Fprintf(d.out, "[%s] carteiro reload: %v\n", d.com.name, err)
	if !strings.Contains(err.Error(), "policy.lua:2") {
		return "", fmt.Errorf("the error does not name the place: %w", err)
	}
	if err := send("policy two"); err != nil {
		return "", err
	}
	return "generation " + gen.ID + " from the next message on; the broken one was refused with its line", nil
}

func stepBounce(ctx context.Context, d *demo) (string, error) {
	id, err := d.org.submit(
		ctx,
		"bob@example.org",
		"nobody@example.com",
		"From: bob@example.org\r\nTo: nobody@example.com\r\nSubject: Anybody there?\r\n\r\nHello?\r\n",
	)
	if err != nil {
		return "", err
	}
	trail, err := d.org.explain(ctx, id)
	if err != nil {
		return "", err
	}
	if err := checkTrail(trail, "bounce", "failed"); err != nil {
		return "", err
	}
	got, err := d.org.one(ctx, "bob")
	if err != nil {
		return "", err
	}
	return "bob has a multipart/report that says 5.1.1 and holds his message",
		checkHas(
			got,
			"Return-Path: <>",
			"multipart/report; report-type=delivery-status",
			"Final-Recipient: rfc822; nobody@example.com",
			"Action: failed",
			"Status: 5.1.1",
			"Remote-MTA: dns; mx2.example.com",
			"Subject: Anybody there?",
			"Auto-Submitted: auto-replied",
		)
}

func stepKill(ctx context.Context, d *demo) (string, error) {
	d.com.stop()
	fmt.Fprintf(d.out, "[%s] stopped\n", d.com.name)
	id, err := d.org.submit(
		ctx,
		"bob@example.org",
		"alice@example.com",
		"From: bob@example.org\r\nTo: alice@example.com\r\nSubject: Survivor\r\n\r\nstill here\r\n",
	)
	if err != nil {
		return "", err
	}
	var lines []admin.QueueLine
	err = d.org.until(ctx, "deferred the message", func() bool {
		return d.org.ask(ctx, "queue.list", admin.QueueArgs{}, &lines) == nil && len(lines) == 1 && lines[0].Status == "deferred"
	})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(d.out, "[%s] queue: %s %s for %s: %s\n", d.org.name, lines[0].ID, lines[0].Status, lines[0].Key, lines[0].Reason)
	d.org.kill()
	fmt.Fprintf(d.out, "[%s] killed with SIGKILL\n", d.org.name)
	// The broken policy of the reload step is still on disk: example.com
	// starts with the last good generation.
	for _, s := range []*server{d.org, d.com} {
		if err := s.start(ctx); err != nil {
			return "", err
		}
	}
	var status admin.StatusReport
	if err := d.com.ask(ctx, "status", struct{}{}, &status); err != nil || !status.Generation.Fallback {
		return "", fmt.Errorf("example.com does not run on its last good generation: %+v, %w", status.Generation, err)
	}
	var now map[string]time.Time
	if err := d.org.ask(ctx, "clock", map[string]time.Duration{"by": 6 * time.Minute}, &now); err != nil {
		return "", err
	}
	fmt.Fprintf(d.out, "[%s] carteiro clock advance 6m: %s\n", d.org.name, now["now"].Format(time.RFC3339))
	if _, err := d.org.explain(ctx, id); err != nil {
		return "", err
	}
	got, err := d.com.one(ctx, "alice")
	if err != nil {
		return "", err
	}
	if _, err := envelope.ParseID(id); err != nil {
		return "", err
	}
	return "the message was on disk before its 250; it arrived once, under the id " + id, checkHas(
		got,
		"Subject: Survivor",
		"id "+id,
		"still here",
	)
}
