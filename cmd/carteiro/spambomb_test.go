package main

import (
	"strings"
	"syscall"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

// TestSpamBombs: messages built to cost are answered by a server that scores
// mail, their header says what they are, and the next message goes its way.
func TestSpamBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: sends some 100 MB")
	}
	h := testserver.New(t, "[[bundle]]\nname = \"carteiro/spamscore\"\nconfig = { greylisting = \"off\", junk = 0, reject = 0 }\n")
	deep := "Content-Type: multipart/mixed; boundary=b0\n\n"
	for range 1000 {
		deep += "--b0\nContent-Type: multipart/mixed; boundary=b0\n\n"
	}
	bombs := []struct{ name, rest string }{
		{"50000 parts", "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\npart\n", 50_000)},
		{"depth 1000", deep},
		{"35 MB of base64", "Content-Transfer-Encoding: base64\n\n" + strings.Repeat(strings.Repeat("QUJD", 19)+"\n", 450_000)},
		{"a million links", "Content-Type: text/html\n\n" + strings.Repeat("<a href=\"http://a.example/\">x</a>\n", 1_000_000)},
	}
	for _, b := range bombs {
		t.Run(b.name, func(t *testing.T) {
			reply, err := testserver.SendSMTP(h.Addr("mx"), "EHLO client.example.net", "x@example.net", []string{"alice@example.com"},
				"From: x@example.net\nSubject: "+b.name+"\n"+b.rest)
			if err != nil || !strings.HasPrefix(reply, "250 ") {
				t.Fatalf("%s, %v", reply, err)
			}
		})
	}
	reply, err := testserver.SendSMTP(h.Addr("mx"), "EHLO client.example.net", "x@example.net", []string{"bob@example.com"},
		"From: x@example.net\nSubject: hello\n\nhello\n")
	if err != nil || !strings.HasPrefix(reply, "250 ") {
		t.Errorf("the next message: %s, %v", reply, err)
	}
	got, err := testserver.WaitPOP3(h.Addr("pop3"), "alice", len(bombs))
	if err != nil || len(got) != len(bombs) {
		t.Fatalf("%d messages came, %v", len(got), err)
	}
	for i, m := range got {
		if !strings.Contains(m, "TOO_COMPLEX=5.00") {
			t.Errorf("message %d is not called too complex: %.600s", i, m)
		}
	}
	if status, err := h.Stop(syscall.SIGTERM); status != 0 || err != nil {
		t.Error(status, err)
	}
}
