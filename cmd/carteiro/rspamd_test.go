package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/scripts"
)

// rspamdConf is a filter by itself: no network, no database, only the
// patterns that everybody tests filters with.
const rspamdConf = `options {
  pidfile = "%[1]s/run/pid";
  tempdir = "%[1]s/run";
  hs_cache_dir = "%[1]s/run";
  control_socket = "%[1]s/run/control mode=0600";
  url_tld = "%[1]s/suffixes";
  filters = "regexp";
  enable_test_patterns = true;
  dns { nameserver = "127.0.0.1:1"; timeout = 0.1s; retransmits = 1; }
}
logging { type = "console"; level = "notice"; }
worker "rspamd_proxy" {
  bind_socket = "127.0.0.1:%[2]s";
  milter = yes;
  count = 1;
  upstream "local" { default = yes; self_scan = yes; }
}
actions { reject = 15; add_header = 6; }
`

// TestInteropRspamd: the example of the manual sends messages to Rspamd by the milter
// protocol, and its verdicts are carried out.
func TestInteropRspamd(t *testing.T) {
	program := need(t, "rspamd")
	port := testserver.FreePort(t)
	p := newPeer(t, "Rspamd", "nobody", "run")
	p.write(t, "rspamd.conf", fmt.Sprintf(rspamdConf, p.dir, port))
	p.write(t, "suffixes", "com\nexample\n") // it takes half a minute to learn the real ones
	h := testserver.New(t, "[milter.rspamd]\naddr = \"127.0.0.1:"+port+"\"\ntimeout = \"30s\"\n")
	example, err := scripts.Examples().ReadFile("examples/rspamd.lua")
	if err != nil {
		t.Fatal(err)
	}
	h.SetPolicy(t, "rspamd.lua", string(example))
	send := func(body string) string {
		reply, err := testserver.SendSMTP(h.Addr("mx"), "EHLO client.example.net", "ann@a.example", []string{"alice@example.com"},
			"From: ann@a.example\nTo: alice@example.com\nSubject: hello\nDate: "+time.Now().Format(time.RFC1123Z)+
				"\nMessage-ID: <1@a.example>\n\n"+body+"\n")
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	const pattern = "JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
	if reply := send("Is the filter there?"); !strings.HasPrefix(reply, "451 4.3.0 ") {
		t.Errorf("without the filter: %s", reply)
	}
	p.start(t, nil, program, "-f", "-i", "-c", p.path("rspamd.conf"), "-u", p.owner.Username, "-g", "nogroup")
	testserver.Until(t, "Rspamd listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	spam := send("X" + pattern)
	if !strings.HasPrefix(spam, "554 5.7.1 ") {
		t.Errorf("spam: %s", spam)
	}
	for _, body := range []string{"Y" + pattern, "How are you?"} {
		if reply := send(body); !strings.HasPrefix(reply, "250 ") {
			t.Errorf("%s: %s", body, reply)
		}
	}
	testserver.Contains(t, h.Mail(t, "alice"), "\n\nHow are you?\n")
	h.WaitFolder(t, "alice@example.com", "Junk", 1)
}
