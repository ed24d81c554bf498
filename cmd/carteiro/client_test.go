package main

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// wire is a line dialogue of a test.
type wire struct {
	net.Conn
	*textproto.Reader
}

func dialWire(addr string) (*wire, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &wire{conn, textproto.NewReader(bufio.NewReader(conn))}, nil
}

// smtp sends a command ("" sends nothing) and returns the reply's code and
// text, its lines joined by newlines.
func (w *wire) smtp(command string) (int, string, error) {
	if command != "" {
		if _, err := w.Write([]byte(command + "\r\n")); err != nil {
			return 0, "", err
		}
	}
	code, text, err := w.ReadResponse(0)
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return reply.Code, reply.Msg, nil
	}
	return code, text, err
}

// sendSMTP sends one message and returns the last reply. Its error is one of
// the connection; a refusal is a reply.
func sendSMTP(addr, helo, from string, to []string, text string) (string, error) {
	w, err := dialWire(addr)
	if err != nil {
		return "", err
	}
	defer w.Close()
	commands := []string{"", helo, "MAIL FROM:<" + from + ">"}
	for _, r := range to {
		commands = append(commands, "RCPT TO:<"+r+">")
	}
	for _, c := range append(commands, "DATA") {
		code, reply, err := w.smtp(c)
		if err != nil {
			return "", err
		}
		if code >= 400 {
			return fmt.Sprintf("%d %s", code, reply), nil
		}
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	text = strings.TrimSuffix(strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n..")[2:], "\r\n")
	code, reply, err := w.smtp(text + "\r\n.")
	if err != nil {
		return "", err
	}
	_, _, err = w.smtp("QUIT")
	return fmt.Sprintf("%d %s", code, reply), err
}

// pop sends a command and wants +OK.
func (w *wire) pop(command string) (string, error) {
	if command != "" {
		if _, err := w.Write([]byte(command + "\r\n")); err != nil {
			return "", err
		}
	}
	line, err := w.ReadLine()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		verb, _, _ := strings.Cut(command, " ")
		err = fmt.Errorf("%s: %s", verb, line)
	}
	return line, err
}

// readPOP reads all messages of an account, logging in with APOP, and removes
// them if asked to.
func readPOP(addr, user string, remove bool) ([]string, error) {
	w, err := dialWire(addr)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	banner, err := w.pop("")
	if err != nil {
		return nil, err
	}
	i, j := strings.IndexByte(banner, '<'), strings.IndexByte(banner, '>')
	if i < 0 || j < i {
		return nil, fmt.Errorf("greeting without a timestamp: %s", banner)
	}
	sum := md5.Sum([]byte(banner[i:j+1] + apopSecret))
	if _, err := w.pop("APOP " + user + " " + hex.EncodeToString(sum[:])); err != nil {
		return nil, err
	}
	stat, err := w.pop("STAT")
	if err != nil {
		return nil, err
	}
	var n, size int
	if _, err := fmt.Sscanf(stat, "+OK %d %d", &n, &size); err != nil {
		return nil, fmt.Errorf("STAT: %s", stat)
	}
	var out []string
	for i := 1; i <= n; i++ {
		if _, err := w.pop(fmt.Sprintf("RETR %d", i)); err != nil {
			return nil, err
		}
		lines, err := w.ReadDotLines()
		if err != nil {
			return nil, err
		}
		out = append(out, strings.Join(lines, "\n")+"\n")
		if remove {
			if _, err := w.pop(fmt.Sprintf("DELE %d", i)); err != nil {
				return nil, err
			}
		}
	}
	_, err = w.pop("QUIT")
	return out, err
}

// patience is how long tests wait for what should be a matter of moments.
const patience = 20 * time.Second

// waitPOP reads a mailbox when at least n messages are in it, and removes
// them.
func waitPOP(addr, user string, n int) ([]string, error) {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got, err := readPOP(addr, user, false)
		if err == nil && len(got) >= n {
			return readPOP(addr, user, true)
		}
		if time.Now().After(end) {
			return got, fmt.Errorf("%d of %d messages for %s came within %v, %v", len(got), n, user, patience, err)
		}
	}
}

// mail waits for exactly one message to a resident and returns it.
func (h *house) mail(t testing.TB, user string) string {
	t.Helper()
	got, err := waitPOP(h.addr("pop3"), user, 1)
	if err != nil {
		t.Fatalf("%v\n%s", err, h.log())
	}
	if len(got) != 1 {
		t.Fatalf("%d messages for %s, want 1:\n%s", len(got), user, strings.Join(got, "\n---\n"))
	}
	return got[0]
}

// contains fails the test for each of words that is not in text.
func contains(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%.4000s", w, text)
		}
	}
}
