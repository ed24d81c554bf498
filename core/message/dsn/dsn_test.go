package dsn

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

var errDisk = errors.New("disk")

func opener(body string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
}

// statusOf parses a report whose delivery-status part is text.
func statusOf(text string) (*Received, error) {
	head := mime.ParseHeader([]byte("Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"))
	return Parse(
		head,
		opener(
			"--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"+text+"\r\n--b\r\nContent-Type: message/rfc822\r\n"+
				"\r\nSubject: orig\r\n\r\nbody\r\n--b--\r\n",
		),
	)
}

func TestParseFieldForms(t *testing.T) {
	rcpt := func(final envelope.Address, action, status string, class Class, diagnostic string) ReceivedRecipient {
		return ReceivedRecipient{Final: final, Action: action, Status: status, Class: class, Diagnostic: diagnostic}
	}
	tests := []struct {
		name, text string
		want       []ReceivedRecipient
	}{
		{
			"by the book",
			"Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; a@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n" +
				"Diagnostic-Code: smtp; 550 5.1.1 no\r\n",
			[]ReceivedRecipient{rcpt("a@x.example", "failed", "5.1.1", Hard, "550 5.1.1 no")},
		},
		{
			"comments and case",
			"reporting-mta:dns;mx\r\n\r\n\r\nFINAL-RECIPIENT: RFC822;<a@x.example>\r\nACTION: Failed (really)\r\nSTATUS: 4.2.2 (full)\r\n",
			[]ReceivedRecipient{rcpt("a@x.example", "failed", "4.2.2", Soft, "")},
		},
		{
			"no blank lines, LF",
			"Reporting-MTA: dns; mx\nFinal-Recipient: rfc822; a@x.example\nAction: delayed\nStatus: 4.4.1\n" +
				"Final-Recipient: rfc822; b@x.example\nAction: delivered\nStatus: 2.1.5\n",
			[]ReceivedRecipient{rcpt("a@x.example", "delayed", "4.4.1", Soft, ""), rcpt("b@x.example", "delivered", "2.1.5", "", "")},
		},
		{
			"no type",
			"Final-Recipient: a@x.example\r\nAction: failed\r\nStatus: 5.0.0\r\n",
			[]ReceivedRecipient{rcpt("a@x.example", "failed", "5.0.0", Hard, "")},
		},
		{"no status", "Final-Recipient: rfc822; a@x.example\r\nAction: failed\r\nDiagnostic-Code: smtp; 552-5.2.2 over quota\r\n",
			[]ReceivedRecipient{rcpt("a@x.example", "failed", "5.0.0", Hard, "552-5.2.2 over quota")}},
		{
			"status in words",
			"Final-Recipient: rfc822; a@x.example\r\nAction: failed\r\nStatus: none\r\nDiagnostic-Code: smtp; 450 #4.2.1 later\r\n",
			[]ReceivedRecipient{rcpt("a@x.example", "failed", "4.2.1", Soft, "450 #4.2.1 later")},
		},
		{"code only", "Final-Recipient: rfc822; a@x.example\r\nDiagnostic-Code: smtp; 421 busy\r\n",
			[]ReceivedRecipient{rcpt("a@x.example", "delayed", "4.0.0", Soft, "421 busy")}},
		{"nothing but a name", "Final-Recipient: rfc822; a@x.example\r\n", []ReceivedRecipient{rcpt("a@x.example", "failed", "5.0.0", Hard, "")}},
		{
			"unknown action",
			"Final-Recipient: rfc822; a@x.example\r\nAction: returned\r\nStatus: 2.0.0\r\n",
			[]ReceivedRecipient{rcpt("a@x.example", "delivered", "2.0.0", "", "")},
		},
		{
			"original alone",
			"Original-Recipient: rfc822;a@x.example\r\nAction: failed\r\nStatus: 5.7.1\r\n\r\nOriginal-Recipient: rfc822;b@x.example\r\n" +
				"Final-Recipient: rfc822; c@x.example\r\nAction: relayed\r\n",
			[]ReceivedRecipient{
				{Original: "a@x.example", Action: "failed", Status: "5.7.1", Class: Hard},
				{Original: "b@x.example", Final: "c@x.example", Action: "relayed", Status: "2.0.0"},
			},
		},
		{
			"UTF-8",
			"Final-Recipient: utf-8; jos\\x{E9}@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n" +
				"Final-Recipient: utf-8; josé@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
			[]ReceivedRecipient{rcpt("josé@x.example", "failed", "5.1.1", Hard, ""), rcpt("josé@x.example", "failed", "5.1.1", Hard, "")},
		},
		{
			"folded",
			"Final-Recipient: rfc822;\r\n a@x.example\r\nAction:\r\n failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550\r\n" +
				" \x1b[31mno\r\n\tsuch user\r\n",
			[]ReceivedRecipient{rcpt("a@x.example", "failed", "5.1.1", Hard, "550  [31mno such user")},
		},
		{"nobody", "Reporting-MTA: dns; mx\r\n\r\nAction: failed\r\n\r\nFinal-Recipient: rfc822; nobody\r\n", nil},
		{"x400", "Final-Recipient: x400; /c=br/\r\nAction: failed\r\n", nil},
		{"empty", "", nil},
	}
	for _, tt := range tests {
		n, err := statusOf(tt.text)
		if tt.want == nil {
			if !errors.Is(err, ErrNotDSN) {
				t.Errorf("%s: %+v, %v", tt.name, n, err)
			}
			continue
		}
		if err != nil || !slices.Equal(n.Rcpts, tt.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", tt.name, err, n, tt.want)
			continue
		}
		if v, _ := n.Header.Get("Subject"); v != "orig" || n.Header.Count("body") > 0 {
			t.Errorf("%s: returned header %q", tt.name, n.Header.Bytes())
		}
	}
}

// TestParseElsewhere: a DSN that is encoded, in another multipart, without one, or absent.
func TestParseElsewhere(t *testing.T) {
	const status = "\r\n\r\nFinal-Recipient: rfc822; a@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
	tests := map[string]struct {
		kind, body string
		found      bool
	}{
		"mixed": {
			"multipart/mixed; boundary=b",
			"--b\r\nContent-Type: multipart/report; boundary=c\r\n\r\n--c\r\nContent-Type: message/delivery-status" + status + "--c--\r\n--b--",
			true,
		},
		"base64": {
			"multipart/report; boundary=b",
			"--b\r\nContent-Type: message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
				"RmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGFAeC5leGFtcGxl\r\n--b--",
			true,
		},
		"alone":   {"message/delivery-status", status, true},
		"text":    {"text/plain", status, false},
		"inside":  {"message/rfc822", "Content-Type: message/delivery-status" + status, false},
		"receipt": {"multipart/report; boundary=b", "--b\r\nContent-Type: message/disposition-notification" + status + "--b--", false},
	}
	for name, tt := range tests {
		n, err := Parse(mime.ParseHeader([]byte("Content-Type: "+tt.kind+"\r\n\r\n")), opener(tt.body))
		if tt.found != (err == nil) || err == nil && n.Rcpts[0].Final != "a@x.example" || err != nil && !errors.Is(err, ErrNotDSN) {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
	if _, err := Parse(&mime.Header{}, func() (io.ReadCloser, error) { return nil, errDisk }); !errors.Is(err, errDisk) {
		t.Errorf("a fault of storage: %v", err)
	}
}

// TestParseIsBounded: no report grows without end.
func TestParseIsBounded(t *testing.T) {
	n, err := statusOf(strings.Repeat("Final-Recipient: rfc822; a@x.example\r\n\r\n", 20_000))
	if err != nil || len(n.Rcpts) != maxRcpts {
		t.Errorf("%d recipients, %v", len(n.Rcpts), err)
	}
	if _, err := statusOf(strings.Repeat("a:\n\n", 300_000)); !errors.Is(err, ErrNotDSN) {
		t.Errorf("many blocks: %v", err)
	}
}

// sampleReport returns a report with everything in it.
func sampleReport(to, final envelope.Address, action string, st envelope.Status) *Notification {
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	return &Notification{
		ID:        envelope.NewID(at),
		Hostname:  "mx.our.example",
		To:        to,
		Action:    action,
		Now:       at.Add(time.Hour),
		Arrival:   at,
		EnvID:     "QQ314",
		RetryTill: at.Add(48 * time.Hour),
		Header:    []byte("Subject: orig\r\nMessage-ID: <1@x.example>\r\n\r\n"),
		Body:      []byte("words\r\n"),
		Rcpts: []Recipient{
			{
				Original:   "rfc822;" + string(final),
				Final:      final,
				Status:     st,
				RemoteMTA:  "mx.out.example",
				Diagnostic: true,
				Last:       at.Add(30 * time.Minute),
			},
		},
	}
}

func TestComposeThenParse(t *testing.T) {
	for _, final := range []envelope.Address{"a@x.example", `"a;b"@x.example`, "josé@exämple.example", "a@[192.0.2.1]"} {
		for _, action := range []string{"failed", "delayed", "delivered", "relayed", "expanded"} {
			for _, st := range []envelope.Status{
				{Code: 550, Enhanced: "5.1.1", Text: "no such user"}, {Code: 451, Text: "later"}, {Code: 250, Text: "ok"},
			} {
				r := sampleReport("s@our.example", final, action, st)
				checkRoundTrip(t, r)
				r.Body = nil
				checkRoundTrip(t, r)
			}
		}
	}
}

// checkRoundTrip composes a DSN, parses it and compares the result.
func checkRoundTrip(t *testing.T, r *Notification) {
	t.Helper()
	h, body := r.Compose()
	n, err := Parse(mime.ParseHeader(h.Bytes()), opener(string(body)))
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if n.ReportingMTA != r.Hostname || n.EnvID != strings.TrimSpace(r.EnvID) || !n.Arrival.Equal(r.Arrival) || len(n.Rcpts) != len(r.Rcpts) {
		t.Fatalf("read %+v of %s", n, body)
	}
	if string(n.Header.Bytes()) != string(mime.ParseHeader(r.Header).Bytes()) {
		t.Errorf("returned header %q", n.Header.Bytes())
	}
	for i, rc := range r.Rcpts {
		got := n.Rcpts[i]
		if got.Final != rc.Final || got.Original != parseAddress(rc.Original) || got.Action != r.Action || got.Status != enhancedCode(rc) ||
			got.RemoteMTA != rc.RemoteMTA ||
			!got.Last.Equal(rc.Last) {
			t.Errorf("recipient %+v\nread as %+v of %s", rc, got, body)
		}
		if told := rc.Diagnostic && rc.Status.Code >= 400; told != (got.Diagnostic != "") ||
			told && got.Diagnostic != strings.TrimSpace(rc.Status.Reply()) {
			t.Errorf("diagnostic of %+v read as %q", rc, got.Diagnostic)
		}
	}
}

// TestComposeHoldsStrangersDown: with any text of a peer and its DNS, fields stay fields,
// lines are short, and 8-bit octets are declared.
func TestComposeHoldsStrangersDown(t *testing.T) {
	evil := "x\r\nBcc: v@x.example\r\n\r\n--dsn\x00\x1b[31m\u0085\u202e" + strings.Repeat("y", 5000)
	r := sampleReport("s@our.example", "a@x.example", "failed", envelope.Status{Code: 550, Text: evil + "\xff"})
	r.EnvID, r.Rcpts[0].Original, r.Rcpts[0].RemoteMTA = evil, "rfc822;"+evil, evil
	r.Header = []byte("Message-ID: <" + strings.Repeat("z", 3000) + "@x>\r\nSubject: \xff\x00\r\n\r\n")
	r.Body = []byte("\xff\r\n")
	h, body := r.Compose()
	own, _, _ := strings.Cut(string(body), "Content-Type: message/global\r\n") // behind it are the sender's octets
	for line := range strings.SplitSeq(string(h.Bytes())+own, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00\x1b\x7f") || strings.HasPrefix(line, "Bcc") {
			t.Errorf("line of %d octets: %.100q", len(line), line)
		}
	}
	if v, _ := h.Get("Content-Transfer-Encoding"); v != "8bit" {
		t.Errorf("8-bit content is declared as %q", v)
	}
	n, err := Parse(h, opener(string(body)))
	if err != nil || len(n.Rcpts) != 1 || n.Rcpts[0].Status != "5.0.0" {
		t.Errorf("reads back as %+v, %v", n, err)
	}
}
