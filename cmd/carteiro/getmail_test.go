package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
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
	h := newHouse(t, "")
	dir, box := filepath.Join(h.dir, "getmail"), filepath.Join(h.dir, "getmail-box")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, kind, listener, password, more string }{
		{"APOP", "SimplePOP3Retriever", "pop3", apopSecret, "use_apop = true"},
		{"TLS from the start", "SimplePOP3SSLRetriever", "pop3s", password, "ca_certs = " + filepath.Join(h.dir, "cert.pem")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			subjects := []string{"first " + tt.name, "second " + tt.name}
			for _, s := range subjects {
				h.put(t, s)
			}
			rc := h.file(t, "getmailrc", fmt.Sprintf(getmailrc, tt.kind, h.port(tt.listener), tt.password, tt.more, box))
			h.ok(t, "", getmail, "--getmaildir", dir, "--rcfile", rc)
			all, err := os.ReadFile(box)
			if err != nil {
				t.Fatal(err)
			}
			contains(t, string(all), "Subject: "+subjects[0]+"\n", "Subject: "+subjects[1]+"\n", "\nhello\n.a line with a dot\n")
			if left, err := readPOP(h.addr("pop3"), "alice", false); err != nil || len(left) != 0 {
				t.Errorf("%d messages left, %v", len(left), err)
			}
		})
	}
	rc := h.file(t, "getmailrc", fmt.Sprintf(getmailrc, "SimplePOP3Retriever", h.port("pop3"), "wrong", "use_apop = true", box))
	out, _ := h.client(t, "", getmail, "--getmaildir", dir, "--rcfile", rc)
	contains(t, out, "-ERR [AUTH]")
}
