package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

const getmailrc = `[retriever]
type = %s
server = localhost
port = %s
username = alice@example.com
password = %s
%s
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat >>%s")
allow_root_commands = true
[options]
delete = true
received = false
delivered_to = false
`

// TestInteropGetmail: getmail6 speaks APOP and TLS from the start, not STLS.
// What it reads goes to a command, for root is not allowed a maildir.
func TestInteropGetmail(t *testing.T) {
	getmail := need(t, "getmail")
	h := testserver.New(t, "")
	dir, box := filepath.Join(h.Dir, "getmail"), filepath.Join(h.Dir, "getmail-box")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, kind, listener, password, more string }{
		{"APOP", "SimplePOP3Retriever", "pop3", testserver.APOPSecret, "use_apop = true"},
		{"TLS from the start", "SimplePOP3SSLRetriever", "pop3s", testserver.Password, "ca_certs = " + filepath.Join(h.Dir, "cert.pem")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			subjects := []string{"first " + tt.name, "second " + tt.name}
			for _, s := range subjects {
				deliverNote(t, h, s)
			}
			rc := h.WriteFile(t, "getmailrc", fmt.Sprintf(getmailrc, tt.kind, h.Port(tt.listener), tt.password, tt.more, box))
			testserver.MustRunClient(t, h, "", getmail, "--getmaildir", dir, "--rcfile", rc)
			all, err := os.ReadFile(box)
			if err != nil {
				t.Fatal(err)
			}
			testserver.Contains(t, string(all), "Subject: "+subjects[0]+"\n", "Subject: "+subjects[1]+"\n", "\nhello\n.a line with a dot\n")
			if left, err := testserver.ReadPOP3(h.Addr("pop3"), "alice", false); err != nil || len(left) != 0 {
				t.Errorf("%d messages left, %v", len(left), err)
			}
		})
	}
	rc := h.WriteFile(t, "getmailrc", fmt.Sprintf(getmailrc, "SimplePOP3Retriever", h.Port("pop3"), "wrong", "use_apop = true", box))
	out, _ := testserver.RunClient(t, h, "", getmail, "--getmaildir", dir, "--rcfile", rc)
	testserver.Contains(t, out, "-ERR [AUTH]")
}
