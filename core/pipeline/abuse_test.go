package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/telemetry"
	"carteiro/hooks"
)

// readEverything returns policies that read everything of a message.
func readEverything() []hooks.Handler {
	look := func(e *hooks.Event) (hooks.Verdict, error) {
		h := e.Msg.Header
		h.Addresses("From", "To", "Cc")
		if v, ok := h.Get("Subject"); ok {
			mime.DecodeWords(v)
		}
		if e.Msg.Body == nil {
			return hooks.Verdict{}, nil
		}
		x, err := e.Msg.Parts()
		if err != nil {
			return hooks.Verdict{}, err
		}
		for _, p := range x.Parts[:min(len(x.Parts), 20)] {
			if err := readPart(e.Msg, p); err != nil {
				return hooks.Verdict{}, err
			}
		}
		return hooks.Verdict{}, nil
	}
	return []hooks.Handler{handlerAt(hooks.ReceiveHeaders, look), handlerAt(hooks.ReceiveData, look), handlerAt(hooks.DeliverLocal, look)}
}

func readPart(m *hooks.Message, p mime.Part) error {
	body, err := m.Body()
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = p.Text(body, 64<<10)
	return err
}

// TestBombs: messages that are made to be slow pass the whole pipeline, with policies
// that read them, in little processor time. They arrive complete or are refused.
func TestBombs(t *testing.T) {
	fill := func(s string, n int) string { return strings.Repeat(s, n/len(s)) }
	var deep, wide strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&deep, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	for range 100_000 {
		wide.WriteString("--b0\r\n\r\nx\r\n")
	}
	const multi = "Content-Type: multipart/mixed; boundary=b0\r\n"
	tests := []struct {
		name, text string
		want       int // code; 0: accepted
	}{
		{"100,000 addresses", "To: " + strings.Repeat("a@b.cd,\r\n ", 100_000) + "\r\n\r\nx\r\n", 0},
		{"open comments", "To: " + fill("(", 1_000_000) + "\r\n\r\nx\r\n", 0},
		{"open words", "Subject: " + fill("=?utf-8?q?x", 1_000_000) + "\r\n\r\nx\r\n", 0},
		{"a folded field of 2 MiB", "Subject: " + fill("x\r\n ", 2<<20) + "\r\n\r\nx\r\n", 552},
		{"1,000,000 fields", strings.Repeat("a:\r\n", 1_000_000) + "\r\nx\r\n", 552},
		{"100,000 fields", strings.Repeat("a:\r\n", 100_000) + "\r\nx\r\n", 552},
		{"10,000 fields", strings.Repeat("List-Id: <x>\r\n", 10_000) + "\r\nx\r\n", 0},
		{"10,000 nested", multi + "\r\n" + deep.String(), 0},
		{"100,000 parts", multi + "\r\n" + wide.String(), 0},
		{"a line of 1 MiB", "Subject: x\r\n\r\n" + fill("x", 1<<20), 0},
		{"a header line of 1 MiB", "Subject: " + fill("x", 1<<20), 552},
		{"10 MiB in base64", "Content-Transfer-Encoding: base64\r\n\r\n" + fill("QUJD\r\n", 10<<20), 0},
		{"parameters", "Content-Type: multipart/mixed" + fill("; a*0=b", 900_000) + "\r\n\r\nx\r\n", 0},
		{"no header section", fill("no field\r\n", 500_000), 0},
		{"nothing", "", 0},
	}
	for _, tt := range tests {
		srv := newTestServer(t, core.Config{}, readEverything()...)
		before := processorTime(t)
		st := srv.send(newSession(), &envelope.Transaction{Sender: "a@a.example"}, tt.text, "alice@our.example")
		if tt.want == 0 && st != nil || tt.want != 0 && (st == nil || st.Code != tt.want) {
			t.Errorf("%s: got reply %v, want code %d (0: accepted)", tt.name, st, tt.want)
		}
		srv.waitIdle()
		if took := processorTime(t) - before; took > 20*time.Second { // linear work takes less than a second, quadratic work takes minutes
			t.Errorf("%s: took %v of processor time, want at most 20s", tt.name, took)
		} else {
			t.Logf("%s: %v", tt.name, took)
		}
		if got := len(srv.mailbox("alice@our.example", "INBOX")); (got == 1) != (tt.want == 0) || srv.spoolCount() != 0 {
			t.Errorf("%s: %d messages in the mailbox, %d in the spool", tt.name, got, srv.spoolCount())
		}
		srv.stop()
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBccInEveryForm: a Bcc field in any form is removed from a submission; text that
// only looks like one stays.
func TestBccInEveryForm(t *testing.T) {
	const from = "From: alice@our.example\r\nTo: undisclosed-recipients:;\r\n"
	tests := []struct {
		name, text string
		refused    bool
		stays      []string
	}{
		{"plain", from + "Bcc: secret@x.example\r\n\r\n", false, nil},
		{"folded", from + "Bcc:\r\n secret@x.example,\r\n\tsecret2@x.example\r\nX: 1\r\n\r\n", false, []string{"X: 1"}},
		{"repeated, cases", from + "bcc: secret@x.example\r\nBCC: secret@x.example\r\nbCc: secret@x.example\r\n\r\n", false, nil},
		{"blanks before the colon", from + "bcc : secret@x.example\r\nBcc\t \t: secret@x.example\r\n\r\n", false, nil},
		{"resent", from + "Resent-Bcc: secret@x.example\r\nRESENT-bcc : secret@x.example\r\n\r\n", false, nil},
		{"group", from + "Bcc: Hidden: secret@x.example, Two <secret@y.example>;\r\n\r\n", false, nil},
		{"blank continuation", from + "Bcc: secret@x.example\r\n \r\n secret@y.example\r\nX: 1\r\n\r\n", false, []string{"X: 1"}},
		{"LF", strings.ReplaceAll(from+"Bcc: secret@x.example\r\n\r\n", "\r\n", "\n"), false, nil},
		{"first of all", "Bcc: secret@x.example\r\n" + from + "\r\n", false, nil},
		{"last, without a blank line", from + "Bcc: secret@x.example", false, nil},
		{"broken addresses", from + "Bcc: secret <secret@@, \"\r\n\r\n", false, nil},
		{"behind an mbox line", "From alice Mon Nov  2 10:00:00 2026\r\n" + from + "Bcc: secret@x.example\r\n\r\n", false,
			[]string{"From: alice@our.example"}},
		{"behind a broken line", from + "this is no field\r\nBcc: secret@x.example\r\n\r\n", true, nil},
		{"behind a broken first line", "no field\r\n" + from + "bcc : secret@x.example\r\n\r\n", true, nil},
		{"in a folded Subject", from + "Subject: about\r\n Bcc: stays\r\n\r\n", false, []string{"Subject: about\r\n Bcc: stays\r\n"}},
		{"in a nested message", from + "Content-Type: message/rfc822\r\n\r\nBcc: stays@x.example\r\n\r\nx\r\n", false,
			[]string{"\r\n\r\nBcc: stays@x.example\r\n"}},
		{"in a part", from + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nBcc: stays\r\n\r\nx\r\n--b--\r\n", false,
			[]string{"--b\r\nBcc: stays\r\n"}},
		{"in the text", from + "\r\nBcc: stays\r\n", false, []string{"\r\n\r\nBcc: stays\r\n"}},
		{"other names", from + "X-Bcc: stays\r\nBcc-X: stays\r\n\r\n", false, []string{"X-Bcc: stays", "Bcc-X: stays"}},
	}
	srv := newTestServer(t, core.Config{})
	for _, tt := range tests {
		sent := len(srv.transport.messages())
		st := srv.send(newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}, tt.text, "x@out.example",
			"secret@out.example")
		if tt.refused {
			if st == nil || st.Code != 550 {
				t.Errorf("%s: got reply %v, want 550", tt.name, st)
			}
			continue
		}
		if st != nil {
			t.Errorf("%s: got reply %v, want 250", tt.name, st)
			continue
		}
		srv.waitFor(tt.name, func() bool { return len(srv.transport.messages()) == sent+1 })
		got := srv.transport.messages()[sent].text
		if strings.Contains(got, "secret") {
			t.Errorf("%s: the Bcc address is in the message %q", tt.name, got)
		}
		for _, want := range append(tt.stays, "Date: ", "Message-ID: ") {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in the message %q", tt.name, want, got)
			}
		}
	}
}

// TestOncePerSubmission: fields that may occur only once (RFC 5322 3.6).
func TestOncePerSubmission(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	for _, name := range []string{"From", "Sender", "Date", "Message-ID", "Subject", "To", "Cc", "Reply-To"} {
		text := "From: alice@our.example\r\n" + name + ": alice@our.example\r\n" + strings.ToUpper(name) + " :\r\n alice@our.example\r\n\r\n"
		st := srv.send(newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}, text, "bob@our.example")
		if st == nil || st.Reply()[:9] != "550 5.6.0" {
			t.Errorf("two %s fields: got reply %v, want 550 5.6.0", name, st)
		}
	}
	for _, from := range []string{"", "nobody", "alice@our.example, ", "<alice@our.example", "bob@our.example <alice@our.example>",
		"alice@our.example (", "a: alice@our.example"} {
		st := srv.send(newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}, "From: "+from+"\r\n\r\n",
			"bob@our.example")
		if fine := from == "alice@our.example, "; fine != (st == nil) {
			t.Errorf("From: %q: got reply %v, want 250 only for one address", from, st)
		}
	}
}

func TestOneCopyForEachMailbox(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	if err := srv.accounts.AddAlias(t.Context(), "team@our.example", []envelope.Address{"bob@our.example", "alice@our.example"}); err != nil {
		t.Fatal(err)
	}
	srv.mustSend(newSession(), "a@a.example", plainMessage, "bob@our.example", "BOB+x@our.example", "team@our.example", "bob@our.example")
	srv.waitIdle()
	for _, who := range []envelope.Address{"alice@our.example", "bob@our.example"} {
		got := srv.mailbox(who, "INBOX")
		if len(got) != 1 {
			t.Errorf("%s has %d copies, want 1", who, len(got))
		}
		if other := map[envelope.Address]string{"alice@our.example": "bob@", "bob@our.example": "alice@"}[who]; len(got) == 1 &&
			strings.Contains(strings.SplitN(got[0], "From:", 2)[0], other) {
			t.Errorf("the trace fields of %s name another recipient: %q", who, got[0])
		}
	}
}

// logRecords is a slog.Handler that keeps every text it gets.
type logRecords struct {
	mu   sync.Mutex
	text []string
}

func (r *logRecords) Enabled(context.Context, slog.Level) bool { return true }
func (r *logRecords) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *logRecords) WithGroup(string) slog.Handler            { return r }
func (r *logRecords) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, rec.Message)
	rec.Attrs(func(a slog.Attr) bool {
		r.text = append(r.text, a.Value.String())
		return true
	})
	return nil
}

func (r *logRecords) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.text)
}

// strangersText is what strangers put wherever they can. The tests search for the word
// EVIL, to be sure that the text got there.
const strangersText = "EVIL\x1b[31m\r\nBcc: v@x.example\r\n\x00\x7f\u0085\u202e\xff"

// isPrintable reports whether a text has no character that controls a terminal; the
// line ends of a traceback are allowed.
func isPrintable(s string) bool {
	return len(s) <= 9000 && !strings.ContainsFunc(s, func(c rune) bool {
		return c != '\n' &&
			(c == unicode.ReplacementChar || !unicode.IsGraphic(c))
	})
}

// TestStrangersWordsStayText: text of peers in names, addresses, replies and errors,
// also if policies repeat it, is only printable text in logs, trails and header
// sections.
func TestStrangersWordsStayText(t *testing.T) {
	repeat := func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, errors.New("bad: " + strangersText)
	}
	log := &logRecords{}
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.DeliverAttempt, repeat), handlerAt(hooks.DeliverLocal, repeat),
		handlerAt(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Tx.Sender == "refused@a.example" {
				return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Text: "no " + strangersText}}, nil
			}
			return hooks.Verdict{}, e.AddScore(hooks.Score{Name: strangersText})
		}))
	srv.log.Logger = telemetry.With(slog.New(log)).Logger
	long := strangersText + strings.Repeat("x", 20_000)
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: long, Err: errors.New(long)}, Host: "mx" + long}
	}
	s := newUserSession("alice@our.example")
	s.Helo, s.RDNS, s.Remote = long, long, netip.MustParseAddrPort("[2001:db8::1%eth0]:1")
	srv.Auth(t.Context(), s, &envelope.Credentials{Mechanism: "PLAIN", User: long, Password: "x"})
	tx := &envelope.Transaction{Sender: "alice@our.example", Params: envelope.Params{EnvID: long}}
	text := "From: alice@our.example\r\nSubject: EVIL\x1b[31m\u202e\xff\r\n\r\nx\r\n"
	if st := srv.send(s, tx, text, "x@out.example"); st != nil {
		t.Fatal(st)
	}
	srv.waitIdle()
	refused := &envelope.Transaction{Sender: "refused@a.example"}
	srv.send(newSession(), refused, plainMessage, "alice@our.example")
	seen := 0
	for _, v := range log.all() {
		if strings.Contains(v, "EVIL") {
			seen++
		}
		if !isPrintable(v) {
			t.Errorf("not printable in the log: %.300q", v)
		}
	}
	if seen < 5 {
		t.Errorf("the text was logged %d times, want at least 5: else the test checks too little", seen)
	}
	srv.checkTrail(tx.ID)
	srv.checkTrail(refused.ID)
	got := srv.mailbox("alice@our.example", "INBOX")
	if len(got) != 1 {
		t.Fatalf("alice has %d DSNs, want 1", len(got))
	}
	own, returned, _ := strings.Cut(got[0], "Content-Type: message/global\r\n")
	trace, _, _ := strings.Cut(returned, "From: alice")
	if !strings.Contains(own, "EVIL") || !strings.Contains(trace, "Received: from unknown (unknown [IPv6:2001:db8::1])") {
		t.Errorf("the DSN lacks the text or the masked trace field: %.3000q", got[0])
	}
	for line := range strings.SplitSeq(own+trace, "\r\n") {
		if len(line) > 998 || strings.HasPrefix(line, "Bcc") || strings.ContainsFunc(line, unicode.IsControl) && !strings.HasPrefix(line, "\t") {
			t.Errorf("not safe in the DSN: %.300q", line)
		}
	}
}

func (srv *testServer) checkTrail(id envelope.ID) {
	srv.t.Helper()
	trail, err := srv.store.Trail(srv.t.Context(), id)
	if err != nil || len(trail) == 0 {
		srv.t.Fatalf("Trail: got %v, %v, want entries", trail, err)
	}
	seen := false
	for _, e := range trail {
		for _, v := range append(slices.Clone(e.Changes), e.Text, e.Verdict, e.Err, string(e.Rcpt)) {
			seen = seen || strings.Contains(v, "EVIL")
			if !isPrintable(v) {
				srv.t.Errorf("not printable in the trail: %.300q", v)
			}
		}
	}
	if !seen {
		srv.t.Error("the text is not in the trail: the test checks nothing")
	}
}
