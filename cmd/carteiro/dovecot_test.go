package main

import (
	"fmt"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

// dovecotConf is a store of mailboxes: LMTP in, POP3 out.
const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
protocols = lmtp pop3
listen = 127.0.0.1
hostname = store.example.org
ssl = yes
ssl_cert = <%[1]s/cert.pem
ssl_key = <%[1]s/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain
passdb {
  driver = passwd-file
  args = scheme=PLAIN %[1]s/users
}
userdb {
  driver = passwd-file
  args = %[1]s/users
}
mail_location = maildir:%[1]s/mail/%%n
mail_fsync = always
mail_plugins = quota
first_valid_uid = 1
plugin {
  quota = maildir:User quota
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = %[2]s
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    address = 127.0.0.1
    port = %[3]s
  }
  inet_listener pop3s {
    port = 0
  }
}
`

// dovecot is an instance with the accounts carol, and full, for whom any
// message is too large. The user of its mail processes is one without files.
type dovecot struct {
	*peer
	lmtp, pop3 string // ports
}

func startDovecot(t testing.TB, program string, d *dovecot, h *testserver.Server) {
	t.Helper()
	d.peer = newPeer(t, "Dovecot", "nobody", "mail", "state")
	d.certificates(t, "store.example.org", h)
	account := "%s:{PLAIN}" + strings.ReplaceAll(testserver.Password, " ", "-") + ":" + d.owner.Uid + ":" + d.owner.Gid + "::" +
		d.path("mail") + "::%s\n"
	d.write(t, "users", fmt.Sprintf(account, "carol@example.org", "")+fmt.Sprintf(account, "full@example.org", "userdb_quota_rule=*:bytes=10"))
	d.write(t, "dovecot.conf", fmt.Sprintf(dovecotConf, d.dir, d.lmtp, d.pop3))
	d.start(t, []string{d.lmtp, d.pop3}, program, "-F", "-c", d.path("dovecot.conf"))
}

// TestInteropDovecot: its LMTP server is the next hop of a domain. Of several
// recipients each has a reply of its own, one of them only after the content.
func TestInteropDovecot(t *testing.T) {
	program := need(t, "dovecot")
	d := &dovecot{lmtp: testserver.FreePort(t), pop3: testserver.FreePort(t)}
	h := testserver.New(t, "[nexthop.\"example.org\"]\nhost = \"127.0.0.1:"+d.lmtp+"\"\nprotocol = \"lmtp\"\n[queue]\nretry = [\"1s\"]\n")
	startDovecot(t, program, d, h)

	const several = "From: alice@example.com\nSubject: several\n\nhello\n"
	t.Run("one recipient", func(t *testing.T) {
		h.Sendmail(t, "carol@example.org",
			"From: alice@example.com\nTo: carol@example.org\nSubject: to carol\n\nhello\n.a line with a dot\n.\nlast line\n")
		testserver.Contains(t, d.mail(t, "mail/carol"), "Return-Path: <alice@example.com>\n", "Received: from mx.example.com",
			"by store.example.org with LMTP", "(using TLSv1.3 ", "Delivered-To: carol@example.org\n",
			"Subject: to carol\n", "\n\nhello\n.a line with a dot\n.\nlast line\n")
	})
	t.Run("one refused at RCPT", func(t *testing.T) {
		h.Sendmail(t, "carol@example.org nobody@example.org", several)
		testserver.Contains(t, d.mail(t, "mail/carol"), "Subject: several\n")
		report := h.Mail(t, "alice")
		testserver.Contains(t, report, "Return-Path: <>\n", "Final-Recipient: rfc822; nobody@example.org\n", "Action: failed\n",
			"Status: 5.1.1\n", "User doesn't exist")
		if strings.Contains(report, "Final-Recipient: rfc822; carol@example.org") {
			t.Errorf("carol has the message, and the report names her:\n%s", report)
		}
	})
	t.Run("one refused after the content", func(t *testing.T) {
		h.Sendmail(t, "full@example.org carol@example.org", several)
		testserver.Contains(t, d.mail(t, "mail/carol"), "Subject: several\n")
		report := h.Mail(t, "alice")
		testserver.Contains(t, report, "Final-Recipient: rfc822; full@example.org\n", "Action: failed\n", "Status: 5.2.2\n", "Quota exceeded")
		if strings.Contains(report, "Final-Recipient: rfc822; carol@example.org") {
			t.Errorf("carol has the message, and the report names her:\n%s", report)
		}
	})
}
