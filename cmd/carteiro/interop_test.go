package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

// The tests TestInterop* let other people's programs talk to the real server
// on loopback. A test whose program is not installed is skipped; .ci/tools
// installs them all.

// need returns the path of a program, or skips the test.
func need(t testing.TB, program string) string {
	t.Helper()
	if os.Getenv("CARTEIRO_TIME_MOVED") != "" && program != "gpg" { // .ci/othertime
		t.Skipf("%s lives in the machine's time, and that of this process is moved", program)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
			if path, err = exec.LookPath(filepath.Join(dir, program)); err == nil {
				break
			}
		}
	}
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

// deliverNote delivers a message to alice, for a POP3 client to find.
func deliverNote(t testing.TB, h *testserver.Server, subject string) {
	t.Helper()
	reply, err := testserver.SendSMTP(h.Addr("mx"), "EHLO there.example", "x@example.net", []string{"alice@example.com"},
		"From: x@example.net\nTo: alice@example.com\nSubject: "+subject+"\n\nhello\n.a line with a dot\n")
	if err != nil || !strings.HasPrefix(reply, "250 ") {
		t.Fatalf("%s, %v", reply, err)
	}
	h.WaitSubject(t, "alice@example.com", subject)
}

const letter = "From: Alice <alice@example.com>\nTo: bob@example.com\nSubject: a letter\n\nhello\n.a line with a dot\n.\nlast line\n"

func TestInteropSwaks(t *testing.T) {
	swaks := need(t, "swaks")
	h := testserver.New(t, "")
	large := h.WriteFile(t, "large.txt", strings.Repeat("0123456789 0123456789 0123456789 0123456789 0123456789\n", 40_000))
	tests := []struct {
		name, listener string
		args           []string
		status         int
		with           string // protocol of the trace field; empty: refused
		reply          string
	}{
		{"MX", "mx", []string{"--to", "bob@example.com"}, 0, "with ESMTP\n", "250 2.0.0"},
		{"HELO", "mx", []string{"--to", "bob@example.com", "--protocol", "SMTP"}, 0, "with SMTP\n", "250 "},
		{"STARTTLS", "mx", []string{"--to", "bob@example.com", "--tls"}, 0, "with ESMTPS (", "~> EHLO"},
		{"pipelined", "mx", []string{"--to", "bob@example.com", "--pipeline"}, 0, "with ESMTP\n", "250 2.0.0"},
		{"two megabytes", "mx", []string{"--to", "bob@example.com", "--body", "@" + large, "--hide-send"}, 0, "with ESMTP\n", "250 2.0.0"},
		{"unknown recipient", "mx", []string{"--to", "nobody@example.com"}, 24, "", "550 5.1.1"},
		{"relay", "mx", []string{"--to", "x@example.org"}, 24, "", " 5.7.1"},
		{"AUTH at the MX", "mx", []string{"--to", "bob@example.com", "--auth", "PLAIN", "--au", "alice@example.com", "--ap",
			testserver.Password}, 28, "", "did not advertise"},
		{"AUTH without TLS", "submission", []string{"--to", "bob@example.com", "--auth", "PLAIN", "--au", "alice@example.com", "--ap",
			testserver.Password}, 28, "", ""},
		{"no AUTH", "submission", []string{"--to", "bob@example.com", "--tls"}, 23, "", "530 5.7.0"},
		{"AUTH PLAIN", "submission", []string{"--to", "bob@example.com", "--tls", "--auth", "PLAIN", "--au", "alice@example.com", "--ap",
			testserver.Password}, 0, "with ESMTPSA (", "235 2.7.0"},
		{"AUTH LOGIN", "submission", []string{"--to", "bob@example.com", "--tls", "--auth", "LOGIN", "--au", "alice@example.com", "--ap",
			testserver.Password}, 0, "with ESMTPSA (", "235 2.7.0"},
		{"wrong password", "submission", []string{"--to", "bob@example.com", "--tls", "--auth", "PLAIN", "--au", "alice@example.com", "--ap",
			"wrong"}, 28, "", "535 5.7.8"},
		{"sender of another account", "submission", []string{"--to", "bob@example.com", "--from", "bob@example.com", "--tls", "--auth",
			"PLAIN", "--au", "alice@example.com", "--ap", testserver.Password}, 23, "", "5.7.1"},
		{"TLS from the start", "submissions", []string{"--to", "bob@example.com", "--tlsc", "--auth", "PLAIN", "--au", "alice@example.com",
			"--ap", testserver.Password}, 0, "with ESMTPSA (", "235 2.7.0"},
		{"LMTP", "lmtp", []string{"--to", "bob@example.com", "--protocol", "LMTP"}, 0, "with LMTP", "250 2."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			subject := strings.ReplaceAll(tt.name, " ", "-")
			args := append([]string{"--server", "127.0.0.1", "--port", h.Port(tt.listener), "--helo", "client.example.net", "--from",
				"alice@example.com",
				"--header", "Subject: " + subject}, tt.args...)
			out, status := testserver.RunClient(t, h, "", swaks, args...)
			if status != tt.status {
				t.Fatalf("exit status %d, want %d\n%s\n%s", status, tt.status, out, h.Log())
			}
			testserver.Contains(t, out, tt.reply)
			if tt.with != "" {
				testserver.Contains(t, h.Mail(t, "bob"), "Subject: "+subject+"\n", "Received: from client.example.net ", tt.with)
			}
		})
	}
}

func TestInteropCurlSends(t *testing.T) {
	curl := need(t, "curl")
	h := testserver.New(t, "")
	text := h.WriteFile(t, "letter.txt", strings.ReplaceAll(letter, "\n", "\r\n"))
	cert := filepath.Join(h.Dir, "cert.pem")
	common := []string{"-sS", "--max-time", "20", "--cacert", cert, "--mail-from", "alice@example.com", "--mail-rcpt", "bob@example.com",
		"--upload-file", text}
	tests := []struct {
		name, url string
		args      []string
		with      string
	}{
		{"MX", "smtp://127.0.0.1:" + h.Port("mx"), nil, "with ESMTP\n"},
		{"submission", "smtp://127.0.0.1:" + h.Port("submission"),
			[]string{"--ssl-reqd", "--user", "alice@example.com:" + testserver.Password}, "with ESMTPSA ("},
		{"submissions", "smtps://127.0.0.1:" + h.Port("submissions"),
			[]string{"--user", "alice@example.com:" + testserver.Password, "--login-options", "AUTH=PLAIN"}, "with ESMTPSA ("},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			testserver.MustRunClient(t, h, "", curl, append(append(common, tt.args...), tt.url)...)
			testserver.Contains(t, h.Mail(t, "bob"), tt.with, "\n\nhello\n.a line with a dot\n.\nlast line\n")
		})
	}
	if out, status := testserver.RunClient(t, h, "", curl, append(common, "--ssl-reqd", "--user", "alice@example.com:wrong",
		tests[1].url)...); status != 67 {
		t.Errorf("a wrong password: exit status %d, want 67\n%s", status, out)
	}
}

func TestInteropCurlReads(t *testing.T) {
	curl := need(t, "curl")
	h := testserver.New(t, "")
	for i := range 3 {
		deliverNote(t, h, fmt.Sprintf("number-%d", i+1))
	}
	cert := filepath.Join(h.Dir, "cert.pem")
	plain, secure := "pop3://127.0.0.1:"+h.Port("pop3"), "pop3s://127.0.0.1:"+h.Port("pop3s")
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"APOP", []string{"--user", "alice@example.com:" + testserver.APOPSecret, "--login-options", "AUTH=+APOP", plain + "/2"}, 0,
			"Subject: number-2\r\n"},
		{"APOP with a wrong secret", []string{"--user", "alice@example.com:" + testserver.Password, "--login-options", "AUTH=+APOP",
			plain + "/2"}, 67, ""},
		{"LIST", []string{"--user", "alice@example.com:" + testserver.APOPSecret, "--login-options", "AUTH=+APOP", plain + "/"}, 0, "3 "},
		{"UIDL", []string{"--user", "alice@example.com:" + testserver.APOPSecret, "--login-options", "AUTH=+APOP", "-X", "UIDL", plain + "/"},
			0, "3 "},
		{"TOP", []string{"--user", "alice@example.com:" + testserver.APOPSecret, "--login-options", "AUTH=+APOP", "-X", "TOP 3 0",
			plain + "/"}, 0, "Subject: number-3\r\n"},
		{"STLS", []string{"--ssl-reqd", "--user", "alice@example.com:" + testserver.Password, plain + "/1"}, 0,
			"hello\r\n.a line with a dot\r\n"},
		{"pop3s", []string{"--user", "alice@example.com:" + testserver.Password, secure + "/3"}, 0, "Subject: number-3\r\n"},
		{"password without TLS", []string{"--user", "alice@example.com:" + testserver.Password, "--login-options", "AUTH=PLAIN",
			plain + "/1"}, 67, ""},
		{"no such message", []string{"--ssl-reqd", "--user", "alice@example.com:" + testserver.Password, plain + "/4"}, 8, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, status := testserver.RunClient(t, h, "", curl, append([]string{"-sS", "--max-time", "20", "--cacert", cert}, tt.args...)...)
			if status != tt.status {
				t.Fatalf("exit status %d, want %d\n%s\n%s", status, tt.status, out, h.Log())
			}
			testserver.Contains(t, out, tt.want)
		})
	}
}

func TestInteropMsmtp(t *testing.T) {
	msmtp := need(t, "msmtp")
	h := testserver.New(t, "")
	account := "account default\nhost localhost\nport %s\nfrom alice@example.com\nuser alice@example.com\npassword %s\ntls on\n" +
		"tls_starttls %s\ntls_trust_file %s\nauth %s\ntimeout 20\n"
	cert := filepath.Join(h.Dir, "cert.pem")
	for _, tt := range []struct{ name, listener, password, starttls, auth string }{
		{"submission, PLAIN", "submission", testserver.Password, "on", "plain"},
		{"submission, LOGIN", "submission", testserver.Password, "on", "login"},
		{"submission, its own choice", "submission", testserver.Password, "on", "on"},
		{"submissions", "submissions", testserver.Password, "off", "plain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rc := h.WriteFile(t, "msmtprc", fmt.Sprintf(account, h.Port(tt.listener), tt.password, tt.starttls, cert, tt.auth))
			testserver.MustRunClient(t, h, letter, msmtp, "-C", rc, "bob@example.com")
			testserver.Contains(t, h.Mail(t, "bob"), "with ESMTPSA (", "\n\nhello\n.a line with a dot\n.\nlast line\n")
			testserver.MustRunClient(t, h, letter, msmtp, "-C", rc, "-t")
			h.Mail(t, "bob")
		})
	}
	rc := h.WriteFile(t, "msmtprc", fmt.Sprintf(account, h.Port("submission"), "wrong", "on", cert, "plain"))
	if out, status := testserver.RunClient(t, h, letter, msmtp, "-C", rc, "bob@example.com"); status != 77 { // EX_NOPERM
		t.Errorf("a wrong password: exit status %d, want 77\n%s", status, out)
	}
	rc = h.WriteFile(t, "msmtprc", fmt.Sprintf(account, h.Port("submission"), testserver.Password, "on", cert, "plain"))
	out, _ := testserver.RunClient(t, h, "", msmtp, "-C", rc, "--serverinfo")
	testserver.Contains(t, out, "PIPELINING", "DSN", "SIZE", "STARTTLS")
}

func TestInteropMpop(t *testing.T) {
	mpop := need(t, "mpop")
	h := testserver.New(t, "")
	account := "account default\nhost localhost\nport %s\nuser alice@example.com\npassword %s\nauth %s\ntls %s\ntls_starttls %s\n" +
		"tls_trust_file %s\ndelivery mbox %s\nuidls_file %s\ntimeout 20\nkeep off\n"
	for i, tt := range []struct{ name, listener, password, auth, tls, starttls string }{
		{"APOP", "pop3", testserver.APOPSecret, "apop", "off", "off"},
		{"STLS and USER", "pop3", testserver.Password, "user", "on", "on"},
		{"STLS and SASL PLAIN", "pop3", testserver.Password, "plain", "on", "on"},
		{"TLS from the start", "pop3s", testserver.Password, "user", "on", "off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			deliverNote(t, h, fmt.Sprint("first-", i))
			deliverNote(t, h, fmt.Sprint("second-", i))
			box := filepath.Join(h.Dir, fmt.Sprint("mbox-", i))
			rc := h.WriteFile(t, "mpoprc", fmt.Sprintf(account, h.Port(tt.listener), tt.password, tt.auth, tt.tls, tt.starttls,
				filepath.Join(h.Dir, "cert.pem"), box, filepath.Join(h.Dir, "uidls")))
			testserver.MustRunClient(t, h, "", mpop, "-C", rc)
			got, err := os.ReadFile(box)
			if err != nil {
				t.Fatal(err)
			}
			testserver.Contains(t, string(got), fmt.Sprint("Subject: first-", i, "\n"), fmt.Sprint("Subject: second-", i, "\n"),
				"\n.a line with a dot\n")
			if left, err := testserver.ReadPOP3(h.Addr("pop3"), "alice", false); err != nil || len(left) != 0 {
				t.Errorf("%d messages left, %v", len(left), err)
			}
		})
	}
}

func TestInteropFetchmail(t *testing.T) {
	fetchmail := need(t, "fetchmail")
	h := testserver.New(t, "")
	cert := filepath.Join(h.Dir, "cert.pem")
	// fetchmail hands on what it reads: to a program, or by SMTP to the
	// server that it came from.
	tests := []struct{ name, rc string }{
		{"APOP", fmt.Sprintf("poll localhost service %s protocol apop\n"+
			" user \"alice\" password %q is \"bob\" here sslproto '' smtphost \"127.0.0.1/%s\" smtpname \"bob@example.com\"\n",
			h.Port("pop3"), testserver.APOPSecret, h.Port("mx"))},
		{"STLS", fmt.Sprintf("poll localhost service %s protocol pop3\n"+
			" user \"alice\" password %q is \"bob\" here sslproto 'TLS1.2+' sslcertck sslcertfile %q smtphost \"127.0.0.1/%s\" smtpname "+
			"\"bob@example.com\"\n",
			h.Port("pop3"), testserver.Password, cert, h.Port("mx"))},
		{"TLS from the start", fmt.Sprintf("poll localhost service %s protocol pop3 uidl\n"+
			" user \"alice\" password %q is \"bob\" here ssl sslcertck sslcertfile %q smtphost \"127.0.0.1/%s\" smtpname \"bob@example.com\"\n",
			h.Port("pop3s"), testserver.Password, cert, h.Port("mx"))},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			subject := fmt.Sprint("fetched-", i)
			deliverNote(t, h, subject)
			rc := h.WriteFile(t, "fetchmailrc", tt.rc)
			testserver.MustRunClient(t, h, "", fetchmail, "-f", rc, "-v", "--nosyslog", "--pidfile", filepath.Join(h.Dir, "fetchmail.pid"), "-i",
				filepath.Join(h.Dir, "fetchids"), "--timeout", "20")
			testserver.Contains(t, h.Mail(t, "bob"), "Subject: "+subject+"\n", "\nhello\n.a line with a dot\n", "with POP3 (fetchmail")
			if left, err := testserver.ReadPOP3(h.Addr("pop3"), "alice", false); err != nil || len(left) != 0 {
				t.Errorf("%d messages left, %v", len(left), err)
			}
			// Nothing new is status 1.
			if out, status := testserver.RunClient(t, h, "", fetchmail, "-f", rc, "--nosyslog", "--pidfile", filepath.Join(h.Dir, "fetchmail.pid"),
				"-i",
				filepath.Join(h.Dir, "fetchids")); status != 1 {
				t.Errorf("an empty maildrop: exit status %d, want 1\n%s", status, out)
			}
		})
	}
}

func TestInteropPython(t *testing.T) {
	python := need(t, "python3")
	h := testserver.New(t, "")
	script, err := filepath.Abs("testdata/interop/clients.py")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{script, filepath.Join(h.Dir, "cert.pem"), testserver.Password, testserver.APOPSecret}
	for _, l := range []string{"mx", "submission", "submissions", "lmtp", "pop3", "pop3s"} {
		args = append(args, h.Port(l))
	}
	out := testserver.MustRunClient(t, h, "", python, args...)
	if !strings.HasSuffix(out, "all is well\n") {
		t.Errorf("the script printed\n%s", out)
	}
}
