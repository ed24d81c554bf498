package dsn

import (
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// FuzzCompose: a DSN that is composed and parsed again has the same content and no other
// fields.
func FuzzCompose(f *testing.F) {
	f.Add("s@our.example", "a@x.example", "no such user", "mx.x.example", "id", uint8(0), uint16(550))
	f.Add("s@our.example", "josé@x.example", "não", "mx\r\nX: 1", "id\x00", uint8(1), uint16(451))
	f.Fuzz(func(t *testing.T, to, final, text, host, envid string, action uint8, code uint16) {
		sender, err := envelope.ParseAddress(to)
		if err != nil {
			return
		}
		rcpt, err := envelope.ParseAddress(final)
		if err != nil {
			return
		}
		actions := []string{"failed", "delayed", "delivered", "relayed", "expanded"}
		r := sampleReport(sender, rcpt, actions[int(action)%len(actions)], envelope.Status{Code: 200 + int(code)%400, Text: text})
		r.EnvID, r.Rcpts[0].RemoteMTA, r.Rcpts[0].Original = envid, host, "rfc822;"+final
		h, body := r.Compose()
		n, err := Parse(mime.ParseHeader(h.Bytes()), opener(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		utf8 := !sender.ASCII() || !rcpt.ASCII()
		rc := n.Rcpts[0]
		if len(n.Rcpts) != 1 || rc.Final != rcpt || rc.Action != r.Action || rc.Status != enhancedCode(r.Rcpts[0]) || rc.Class != wantClass(r) ||
			n.EnvID != statusText(envid, utf8) || !rc.Last.Equal(r.Rcpts[0].Last.Truncate(time.Second)) {
			t.Errorf("%+v\nread as %+v of %q", r, n, body)
		}
		if v, _ := n.Header.Get("Subject"); v != "orig" {
			t.Errorf("returned header %q", n.Header.Bytes())
		}
	})
}

func wantClass(r *Notification) Class {
	switch {
	case r.Action == "delayed" || r.Action == "failed" && r.Rcpts[0].Status.Code/100 == 4:
		return Soft
	case r.Action == "failed":
		return Hard
	}
	return ""
}

// FuzzParse: any DSN is parsed within the limits, and the result has valid fields.
func FuzzParse(f *testing.F) {
	f.Add("Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; a@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n")
	f.Add("Original-Recipient: utf-8; \\x{E9}@x.example\nDiagnostic-Code: smtp; 450 #4.2.1")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := statusOf(text)
		if err != nil {
			return
		}
		for _, r := range n.Rcpts {
			if !envelope.ValidEnhanced(r.Status) || !slices.Contains([]string{"failed", "delayed", "delivered", "relayed", "expanded"}, r.Action) ||
				r.Final == "" && r.Original == "" || (r.Action == "failed" || r.Action == "delayed") != (r.Class != "") ||
				strings.ContainsAny(r.Diagnostic+r.RemoteMTA+n.EnvID+n.ReportingMTA, "\r\n\x00") {
				t.Errorf("%+v of %q", r, text)
			}
		}
	})
}
