package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

// eximConf is the mail server of example.org, with one mailbox, carol's. It
// refuses nobody at RCPT, and ghost only when it delivers. To example.com it
// wants TLS and a certificate that it can verify.
const eximConf = `exim_path = %[1]s/exim4
spool_directory = %[1]s/spool
log_file_path = %[1]s/spool/log-%%slog
pid_file_path = %[1]s/spool/exim.pid
primary_hostname = mail.example.org
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[2]s
tls_advertise_hosts = *
tls_certificate = %[1]s/cert.pem
tls_privatekey = %[1]s/key.pem
acl_smtp_rcpt = rcpt
deliver_drop_privilege
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
begin acl
rcpt:
  deny domains = example.org
       local_parts = nobody
       message = no such mailbox here
  accept
begin routers
ours:
  driver = accept
  domains = example.org
  local_parts = carol
  transport = maildir
peer:
  driver = manualroute
  domains = example.com
  transport = smtp
  route_list = * 127.0.0.1
  self = send
begin transports
maildir:
  driver = appendfile
  directory = %[1]s/mail/carol
  maildir_format
  return_path_add
smtp:
  driver = smtp
  port = %[3]s
  allow_localhost
  hosts_require_tls = *
  tls_verify_hosts = *
  tls_verify_certificates = %[1]s/ca.pem
begin retry
* * F,1h,1s
`

// needExim returns the path of Exim's program. On a system that has Postfix,
// where Debian does not install it, it is in the folder of .ci/tools.
func needExim(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		return need(t, "exim4")
	}
	if path, err := exec.LookPath(filepath.Join(cache, "carteiro-ci", "exim", "usr", "sbin", "exim4")); err == nil {
		return path
	}
	return need(t, "exim4")
}

// startExim runs an instance for a server that sends to its port.
func startExim(t testing.TB, program, port string, h *testserver.Server) *peer {
	t.Helper()
	p := newPeer(t, "Exim", "Debian-exim", "spool", "mail")
	// A copy that its user can run, without the right to become root.
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(p.path("exim4"), b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.certificates(t, "mail.example.org", h)
	// Exim wants its configuration to be root's.
	if err := os.WriteFile(p.path("exim.conf"), fmt.Appendf(nil, eximConf, p.dir, port, h.Port("mx")), 0o644); err != nil {
		t.Fatal(err)
	}
	p.start(t, []string{port}, p.path("exim4"), "-C", p.path("exim.conf"), "-bdf", "-q1s")
	return p
}

// TestInteropExim: mail to Exim, mail from Exim, and reports both ways, over
// TLS both ways.
func TestInteropExim(t *testing.T) {
	program := needExim(t)
	port := testserver.FreePort(t)
	h := testserver.New(t, "[nexthop.\"example.org\"]\nhost = \"127.0.0.1:"+port+"\"\n[queue]\nretry = [\"1s\"]\n")
	p := startExim(t, program, port, h)
	send := func(t *testing.T, from, to, text string) {
		t.Helper()
		if reply, err := testserver.SendSMTP("127.0.0.1:"+port, "EHLO client.example.org", from, []string{to}, text); err != nil ||
			reply[:4] != "250 " {
			t.Fatalf("Exim: %s, %v", reply, err)
		}
	}

	t.Run("to Exim", func(t *testing.T) {
		h.Sendmail(t, "carol@example.org",
			"From: alice@example.com\nTo: carol@example.org\nSubject: to carol\n\nhello\n.a line with a dot\n.\nlast line\n")
		testserver.Contains(t, p.mail(t, "mail/carol"), "Return-path: <alice@example.com>\n",
			"Received: from [127.0.0.1] (helo=mx.example.com)", "with esmtps  (TLS1.3)", "Subject: to carol\n",
			"\n\nhello\n.a line with a dot\n.\nlast line\n")
	})
	t.Run("from Exim", func(t *testing.T) {
		send(t, "carol@example.org", "alice@example.com", "From: carol@example.org\nSubject: from carol\n\nhello\n.a line with a dot\n")
		testserver.Contains(t, h.Mail(t, "alice"), "Return-Path: <carol@example.org>\n", "Received: from mail.example.org ", "with ESMTPS ",
			"Subject: from carol\n", "\n.a line with a dot\n")
	})
	t.Run("Exim refuses, alice gets our report", func(t *testing.T) {
		h.Sendmail(t, "nobody@example.org", "From: alice@example.com\nSubject: anybody?\n\nhello\n")
		testserver.Contains(t, h.Mail(t, "alice"), "Return-Path: <>\n", "multipart/report", "Final-Recipient: rfc822; nobody@example.org\n",
			"Action: failed\n",
			"Remote-MTA: dns; ", "Diagnostic-Code: smtp; 550", "no such mailbox here", "Subject: anybody?\n")
	})
	t.Run("Exim accepts and cannot deliver, alice gets its report", func(t *testing.T) {
		h.Sendmail(t, "ghost@example.org", "From: alice@example.com\nSubject: anybody?\n\nhello\n")
		testserver.Contains(t, h.Mail(t, "alice"), "Return-Path: <>\n", "multipart/report", "Reporting-MTA: dns; mail.example.org\n",
			"Action: failed\n", "Final-Recipient: rfc822;ghost@example.org\n")
	})
	t.Run("Carteiro refuses, carol gets a report", func(t *testing.T) {
		send(t, "carol@example.org", "nobody@example.com", "From: carol@example.org\nSubject: anybody?\n\nhello\n")
		testserver.Contains(t, p.mail(t, "mail/carol"), "Return-path: <>\n", "multipart/report",
			"Final-Recipient: rfc822;nobody@example.com\n", "Action: failed\n", "Diagnostic-Code: smtp; 550 5.1.1")
	})
}
