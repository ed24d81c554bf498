package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/cmd/carteiro/internal/testserver"
)

// postfix is an instance of Postfix with its own folders, on loopback. It
// is the mail server of example.net, with one mailbox, carol's, and relays
// for loopback clients: example.com by SMTP with a verified certificate,
// bob@example.com by LMTP.
type postfix struct {
	dir      string
	port     string
	more     string // lines for main.cf
	services string // lines for master.cf
	cmd      *exec.Cmd
	done     chan struct{}
}

const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/maillog
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.net
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
virtual_mailbox_domains = example.net
virtual_mailbox_maps = inline:{ carol@example.net=carol/ }
virtual_mailbox_base = %[1]s/mail
virtual_uid_maps = static:%[2]s
virtual_gid_maps = static:%[3]s
virtual_minimum_uid = 1
transport_maps = inline:{ { bob@example.com = lmtp:[127.0.0.1]:%[5]s }, { example.com = smtp:[127.0.0.1]:%[4]s } }
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = secure
smtp_tls_CAfile = %[6]s/cert.pem
smtp_tls_secure_cert_match = mx.example.com
smtp_tls_loglevel = 1
lmtp_tls_security_level = encrypt
smtpd_tls_security_level = may
smtpd_tls_cert_file = %[1]s/cert.pem
smtpd_tls_key_file = %[1]s/key.pem
smtpd_tls_received_header = yes
smtpd_peername_lookup = no
queue_run_delay = 2s
minimal_backoff_time = 2s
maximal_backoff_time = 4s
`

const postfixMaster = `127.0.0.1:%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// newPostfix writes an instance, at a port that was free a moment ago. It is
// started when the peer's ports are known.
func newPostfix(t testing.TB) *postfix {
	t.Helper()
	// Its processes run as another user, who cannot get into t.TempDir.
	dir, err := os.MkdirTemp("", "carteiro-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &postfix{dir: dir, port: testserver.FreePort(t)}
}

// overridden is main.cf with settings in place of those that it has. Two of one
// name would be warned of by each process, and what they have to say before
// there is a process that logs can be more than a socket holds: then all wait.
func overridden(main, more string) string {
	var out strings.Builder
	for line := range strings.Lines(main) {
		if name, _, ok := strings.Cut(line, " = "); !ok || !strings.Contains("\n"+more, "\n"+name+" = ") {
			out.WriteString(line)
		}
	}
	return out.String() + more
}

// start runs the instance until the test ends.
func (p *postfix) start(t testing.TB, program string, peer *testserver.Server) {
	t.Helper()
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Skipf("Postfix's user: %v", err)
	}
	cert, key, err := site.SelfSigned("mail.example.net", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"cert.pem":    string(cert),
		"key.pem":     string(key),
		"ca/cert.pem": "",
		"master.cf":   fmt.Sprintf(postfixMaster, p.port) + p.services,
		"main.cf": overridden(fmt.Sprintf(postfixMain, p.dir, owner.Uid, owner.Gid, peer.Port("mx"), peer.Port("lmtp"),
			filepath.Join(p.dir, "ca")), p.more),
	}
	ca, err := os.ReadFile(filepath.Join(peer.Dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	files["ca/cert.pem"] = string(ca)
	for _, sub := range []string{"", "ca", "queue", "data", "mail"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(p.dir, sub), 0o755), os.Chmod(filepath.Join(p.dir, sub), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var uid, gid int
	fmt.Sscan(owner.Uid, &uid)
	fmt.Sscan(owner.Gid, &gid)
	for _, sub := range []string{"data", "mail"} {
		if err := os.Chown(filepath.Join(p.dir, sub), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	p.cmd = exec.Command(program, "-c", p.dir, "start-fg")
	out, err := os.Create(filepath.Join(p.dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("Postfix said:\n%s", p.log())
		}
	})
	p.await(t)
}

// stop ends the master, who ends the others; the script waits for it.
func (p *postfix) stop(t testing.TB) {
	pid := p.cmd.Process.Pid
	if text, err := os.ReadFile(filepath.Join(p.dir, "queue", "pid", "master.pid")); err == nil {
		fmt.Sscan(string(text), &pid)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Errorf("stop Postfix's master, process %d: %v", pid, err)
	}
	select {
	case <-p.done:
	case <-time.After(testserver.Patience):
		t.Errorf("Postfix, process %d, did not end", pid)
		p.cmd.Process.Kill()
	}
}

// await returns when the instance greets.
func (p *postfix) await(t testing.TB) {
	t.Helper()
	ok := testserver.Poll(testserver.Patience, func() bool {
		select {
		case <-p.done:
			t.Fatalf("Postfix ended\n%s", p.log())
		default:
		}
		w, err := testserver.Dial("127.0.0.1:" + p.port)
		if err != nil {
			return false
		}
		defer w.Close()
		code, _, err := w.SMTP("")
		w.SMTP("QUIT")
		return err == nil && code == 220
	})
	if !ok {
		t.Fatalf("Postfix does not answer within %v\n%s", testserver.Patience, p.log())
	}
}

func (p *postfix) log() string {
	said, _ := os.ReadFile(filepath.Join(p.dir, "output"))
	b, _ := os.ReadFile(filepath.Join(p.dir, "maillog"))
	return string(said) + string(b)
}

// mail waits for the only message in carol's mailbox, and removes it.
func (p *postfix) mail(t testing.TB) string {
	t.Helper()
	return takeFromMaildir(t, filepath.Join(p.dir, "mail", "carol"))
}

// send gives a message to the instance.
func (p *postfix) send(t testing.TB, from, to, text string) {
	t.Helper()
	reply, err := testserver.SendSMTP("127.0.0.1:"+p.port, "EHLO client.example.net", from, []string{to}, text)
	if err != nil || !strings.HasPrefix(reply, "250 ") {
		t.Fatalf("Postfix: %s, %v", reply, err)
	}
}

// TestInteropPostfix: mail to Postfix, mail from Postfix, and reports both
// ways, over TLS both ways.
func TestInteropPostfix(t *testing.T) {
	program := need(t, "postfix")
	if os.Getuid() != 0 {
		t.Skip("Postfix's master needs root")
	}
	p := newPostfix(t)
	h := testserver.New(t, "[nexthop.\"example.net\"]\nhost = \"127.0.0.1:"+p.port+"\"\n[nexthop.\"strict.example\"]\nhost = \"127.0.0.1:"+
		p.port+"\"\ntls = \"verify\"\n[queue]\nretry = [\"1s\"]\n")
	p.start(t, program, h)

	t.Run("to Postfix", func(t *testing.T) {
		h.Sendmail(t, "carol@example.net",
			"From: alice@example.com\nTo: carol@example.net\nSubject: to carol\n\nhello\n.a line with a dot\n.\nlast line\n")
		testserver.Contains(t, p.mail(t), "Return-Path: <alice@example.com>\n", "Received: from mx.example.com", "(using TLSv1.3 with cipher",
			"Subject: to carol\n",
			"\n\nhello\n.a line with a dot\n.\nlast line\n")
	})
	t.Run("a large one with octets above 127 to Postfix", func(t *testing.T) {
		line := strings.Repeat("Olá ✉ ", 10) + "\n"
		h.Sendmail(t, "carol@example.net",
			"From: alice@example.com\nSubject: large\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"+
				"Content-Transfer-Encoding: 8bit\n\n"+strings.Repeat(line, 20_000))
		got := p.mail(t)
		if n := strings.Count(got, "\n"+line[:len(line)-1]); n != 20_000 {
			t.Errorf("%d of 20000 lines arrived", n)
		}
	})
	t.Run("from Postfix by SMTP", func(t *testing.T) {
		p.send(t, "carol@example.net", "alice@example.com", "From: carol@example.net\nSubject: from carol\n\nhello\n.a line with a dot\n")
		testserver.Contains(t, h.Mail(t, "alice"), "Return-Path: <carol@example.net>\n", "Received: from mail.example.net ", "with ESMTPS ",
			"Subject: from carol\n", "\n.a line with a dot\n")
		testserver.Contains(t, p.log(), "Verified TLS connection established to 127.0.0.1", "status=sent (250 2.0.0 Ok: queued as ")
	})
	t.Run("from Postfix by LMTP", func(t *testing.T) {
		p.send(t, "carol@example.net", "bob@example.com", "From: carol@example.net\nSubject: by LMTP\n\nhello\n")
		testserver.Contains(t, h.Mail(t, "bob"), "with LMTPS", "Subject: by LMTP\n")
	})
	t.Run("Postfix refuses, alice gets a report", func(t *testing.T) {
		h.Sendmail(t, "nobody@example.net", "From: alice@example.com\nSubject: anybody?\n\nhello\n")
		testserver.Contains(t, h.Mail(t, "alice"), "Return-Path: <>\n", "multipart/report", "Final-Recipient: rfc822; nobody@example.net\n",
			"Action: failed\n",
			"Status: 5.1.1\n", "Remote-MTA: dns; ", "Diagnostic-Code: smtp; 550", "Subject: anybody?\n")
	})
	t.Run("Carteiro refuses, carol gets a report", func(t *testing.T) {
		p.send(t, "carol@example.net", "nobody@example.com", "From: carol@example.net\nSubject: anybody?\n\nhello\n")
		testserver.Contains(t, p.mail(t), "Return-Path: <>\n", "multipart/report", "Final-Recipient: rfc822; nobody@example.com\n",
			"Action: failed\n", "Status: 5.1.1\n", "Diagnostic-Code: smtp; 550 5.1.1")
	})
	t.Run("Carteiro refuses, alice gets Postfix's report", func(t *testing.T) {
		p.send(t, "alice@example.com", "nobody@example.com", "From: alice@example.com\nSubject: anybody?\n\nhello\n")
		testserver.Contains(t, h.Mail(t, "alice"), "Return-Path: <>\n", "Reporting-MTA: dns; mail.example.net\n", "Action: failed\n")
	})
	t.Run("a certificate that is not verified gets no mail", func(t *testing.T) {
		h.Sendmail(t, "x@strict.example", "From: alice@example.com\nSubject: strict\n\nhello\n")
		testserver.Until(t, "the message is deferred for the certificate", func() bool {
			out := h.Ctl(t, "queue", "list", "--domain", "strict.example")
			return strings.Contains(out, "deferred") && strings.Contains(out, "certificate")
		})
	})
}
