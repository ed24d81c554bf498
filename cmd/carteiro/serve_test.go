package main

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/demo"
	"carteiro/cmd/carteiro/internal/testserver"
)

// TestDemo runs the demo once, as anybody would.
func TestDemo(t *testing.T) {
	cmd := exec.Command(testserver.Binary(), "demo")
	cmd.Env = append(os.Environ(), testserver.RunAsCommand+"=1", "TMPDIR="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, &stderr)
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	n := len(demo.Steps())
	if got, want := lines[len(lines)-1], fmt.Sprintf("%d of %d steps verified", n, n); got != want {
		t.Errorf("the last line is %q, want %q", got, want)
	}
	if left, err := filepath.Glob(filepath.Join(cmd.Env[len(cmd.Env)-1][len("TMPDIR="):], "carteiro-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind, %v", left, err)
	}
}

// freeOffset finds an offset at which all ports of `carteiro dev` are free.
func freeOffset(t *testing.T) int {
	for range 100 {
		offset := 20000 + rand.IntN(40000)
		free := true
		for _, p := range []int{25, 587, 465, 110, 995, 80} {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p+offset))
			if free = err == nil; !free {
				break
			}
			ln.Close()
		}
		if free {
			return offset
		}
	}
	t.Fatal("no free ports for dev")
	return 0
}

// TestDev: start, send, read by APOP, stop, twice over the same folder.
func TestDev(t *testing.T) {
	dir := t.TempDir()
	h := &testserver.Server{Dir: dir}
	for life := range 2 {
		if err := h.Run("dev", "--dir", dir, "--port-offset", fmt.Sprint(freeOffsetOnce(t, dir))); err != nil {
			t.Fatal(err)
		}
		reply, err := testserver.SendSMTP(h.Addr("mx"), "EHLO there.example", "you@there.example", []string{"alice@dev.example"},
			"From: you@there.example\nSubject: hello\n\nhello\n")
		if err != nil || !strings.HasPrefix(reply, "250 ") {
			t.Fatalf("%s, %v\n%s", reply, err, h.Log())
		}
		got, err := readDev(h.Addr("pop3"))
		if err != nil {
			t.Fatalf("life %d: %v\n%s", life, err, h.Log())
		}
		testserver.Contains(t, got, "Subject: hello\n", "\nhello\n")
		if status, err := h.Stop(syscall.SIGINT); status != 0 || err != nil {
			t.Fatalf("status %d, %v\n%s", status, err, h.Log())
		}
		for _, w := range []string{"alice@dev.example and bob@dev.example", `password and APOP secret "carteiro"`} {
			if !strings.Contains(h.Log(), w) {
				t.Errorf("dev did not print %q", w)
			}
		}
	}
}

// freeOffsetOnce: the ports of a folder are in its configuration from the
// first start on.
func freeOffsetOnce(t *testing.T, dir string) int {
	if _, err := os.Stat(filepath.Join(dir, "carteiro.toml")); err == nil {
		return 1
	}
	return freeOffset(t)
}

// readDev waits for a message to alice and returns it.
func readDev(addr string) (string, error) {
	for end := time.Now().Add(testserver.Patience); ; time.Sleep(20 * time.Millisecond) {
		w, err := testserver.Dial(addr)
		if err != nil {
			return "", err
		}
		banner, err := w.POP3("")
		if err != nil {
			return "", err
		}
		stamp := banner[strings.IndexByte(banner, '<') : strings.IndexByte(banner, '>')+1]
		sum := md5.Sum([]byte(stamp + devPassword))
		if _, err := w.POP3("APOP alice " + hex.EncodeToString(sum[:])); err != nil {
			return "", err
		}
		if _, err := w.POP3("RETR 1"); err == nil {
			lines, err := w.ReadDotLines()
			if err == nil {
				_, err = w.POP3("DELE 1")
			}
			if err == nil {
				_, err = w.POP3("QUIT")
			}
			w.Close()
			return strings.Join(lines, "\n") + "\n", err
		}
		w.POP3("QUIT")
		w.Close()
		if time.Now().After(end) {
			return "", fmt.Errorf("no message within %v", testserver.Patience)
		}
	}
}

// TestStopFinishes: SIGTERM lets a message that is on its way arrive, ends
// idle sessions, takes no new ones, and what was acknowledged is there after
// the next start.
func TestStopFinishes(t *testing.T) {
	h := testserver.New(t, "")
	busy, err := testserver.Dial(h.Addr("mx"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, c := range []string{"", "EHLO client.example.net", "MAIL FROM:<x@example.net>", "RCPT TO:<alice@example.com>", "DATA"} {
		if code, text, err := busy.SMTP(c); err != nil || code >= 400 {
			t.Fatalf("%s: %d %s, %v", c, code, text, err)
		}
	}
	idle, err := testserver.Dial(h.Addr("mx"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if _, _, err := idle.SMTP(""); err != nil {
		t.Fatal(err)
	}
	if _, err := busy.Write([]byte("Subject: half\r\n\r\nfirst half\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := h.Process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The idle session's end shows that the signal has come through.
	if code, text, err := idle.SMTP(""); err != nil || code != 421 {
		t.Errorf("the idle session heard %d %s, %v; want 421", code, text, err)
	}
	if conn, err := net.DialTimeout("tcp", h.Addr("mx"), time.Second); err == nil {
		if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil && !strings.HasPrefix(line, "421") {
			t.Errorf("a new session was greeted with %q while the server stops", line)
		}
		conn.Close()
	}
	code, text, err := busy.SMTP("second half\r\n.")
	if err != nil || code != 250 {
		t.Errorf("the message got %d %s, %v; want 250", code, text, err)
	}
	select {
	case <-h.Done:
	case <-time.After(testserver.Patience):
		t.Fatal("the server did not end")
	}
	if got := h.Process.ProcessState.ExitCode(); got != 0 {
		t.Errorf("exit status %d\n%s", got, h.Log())
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	testserver.Contains(t, h.Mail(t, "alice"), "Subject: half\n", "first half\nsecond half\n")
}

// TestHostile: what strangers send does no harm to the next client.
func TestHostile(t *testing.T) {
	h := testserver.New(t, "")
	long := strings.Repeat("x", 100_000)
	tests := []struct {
		name, listener, send string
	}{
		{"HTTP at SMTP", "mx", "GET / HTTP/1.1\r\nHost: mx.example.com\r\n\r\n"},
		{"TLS hello at SMTP", "mx", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + long},
		{"line without end", "mx", long + long},
		{"NULs", "mx", strings.Repeat("\x00", 5000) + "\r\n"},
		{"smuggling by bare LF", "mx",
			"EHLO a\r\nMAIL FROM:<x@example.net>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nSubject: outer\r\n\r\nx\n.\n" +
				"MAIL FROM:<evil@example.net>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\n.\r\nQUIT\r\n"},
		{"chunk cut short", "mx", "EHLO a\r\nMAIL FROM:<x@example.net>\r\nRCPT TO:<alice@example.com>\r\nBDAT 1000 LAST\r\nSubject: cut\r\n\r\n"},
		{"DATA cut short", "mx", "EHLO a\r\nMAIL FROM:<x@example.net>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nSubject: cut\r\n\r\nhello\r\n"},
		{"plain text at implicit TLS", "submissions", "EHLO a\r\nQUIT\r\n"},
		{"SMTP at POP3", "pop3", "EHLO a\r\nMAIL FROM:<x@example.net>\r\n"},
		{"POP3 line without end", "pop3", long},
		{"POP3 numbers", "pop3", "USER alice\r\nPASS x\r\nRETR -1\r\nRETR 99999999999999999999\r\nTOP 1\r\nUIDL \x00\r\n"},
		{"commands injected before STARTTLS", "mx",
			"EHLO a\r\nSTARTTLS\r\nMAIL FROM:<x@example.net>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nSubject: injected\r\n\r\n.\r\n"},
		{"SMTP at the web", "web", "EHLO a\r\nQUIT\r\n"},
	}
	for _, tt := range tests {
		conn, err := net.Dial("tcp", h.Addr(tt.listener))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Write([]byte(tt.send))
		conn.(*net.TCPConn).CloseWrite()
		// The server has to end the session: with the client's half closed
		// there is nothing more to come.
		buf := make([]byte, 4096)
		for {
			if _, err = conn.Read(buf); err != nil {
				break
			}
		}
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Errorf("%s: the session goes on after the client's end", tt.name)
		}
		conn.Close()
	}
	if !h.Running() {
		t.Fatalf("the server is gone\n%s", h.Log())
	}
	reply, err := testserver.SendSMTP(h.Addr("mx"), "HELO there.example", "x@example.net",
		[]string{"alice@example.com", "bob@example.com"}, "Subject: honest\n\nhello\n")
	if err != nil || !strings.HasPrefix(reply, "250 ") {
		t.Fatalf("afterwards: %s, %v", reply, err)
	}
	for _, who := range []string{"alice", "bob"} {
		testserver.Contains(t, h.Mail(t, who), "Subject: honest\n")
	}
	if log := h.Log(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		t.Errorf("the log tells of a panic:\n%s", log)
	}
}
