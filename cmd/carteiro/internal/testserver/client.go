package testserver

import (
	"bufio"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// Dialog is a dialog of lines with a server.
type Dialog struct {
	net.Conn
	*textproto.Reader
}

func newDialog(conn net.Conn) *Dialog {
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &Dialog{conn, textproto.NewReader(bufio.NewReader(conn))}
}

// Dial opens a dialog in the clear.
func Dial(addr string) (*Dialog, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return newDialog(conn), nil
}

// DialTLS opens a dialog with TLS from its first octet.
func DialTLS(addr string) (*Dialog, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	return newDialog(conn), nil
}

// DialStartTLS opens a dialog of SMTP in the clear and encrypts it.
func DialStartTLS(addr string) (*Dialog, error) {
	d, err := Dial(addr)
	if err != nil {
		return nil, err
	}
	for _, c := range []string{"", "EHLO client.example.net", "STARTTLS"} {
		if code, reply, err := d.SMTP(c); err != nil || code >= 400 {
			return nil, fmt.Errorf("%s: %d %s, %w", c, code, reply, err)
		}
	}
	return newDialog(tls.Client(d.Conn, &tls.Config{InsecureSkipVerify: true})), nil
}

// SMTP sends a command ("" sends nothing) and returns the reply's code and
// text, its lines joined by newlines.
func (d *Dialog) SMTP(command string) (int, string, error) {
	if command != "" {
		if _, err := d.Write([]byte(command + "\r\n")); err != nil {
			return 0, "", err
		}
	}
	code, text, err := d.ReadResponse(0)
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return reply.Code, reply.Msg, nil
	}
	return code, text, err
}

// POP3 sends a command ("" sends nothing) and wants +OK.
func (d *Dialog) POP3(command string) (string, error) {
	if command != "" {
		if _, err := d.Write([]byte(command + "\r\n")); err != nil {
			return "", err
		}
	}
	line, err := d.ReadLine()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		verb, _, _ := strings.Cut(command, " ")
		err = fmt.Errorf("%s: %s", verb, line)
	}
	return line, err
}

// SASLPlain is the response of PLAIN (RFC 4616) with the password of all
// accounts.
func SASLPlain(authzid, user string) string {
	return base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + user + "\x00" + Password))
}

// SendSMTP sends one message and returns the last reply. Its error is one of the
// connection; a refusal is a reply.
func SendSMTP(addr, helo, from string, to []string, text string) (string, error) {
	d, err := Dial(addr)
	if err != nil {
		return "", err
	}
	defer d.Close()
	commands := []string{"", helo, "MAIL FROM:<" + from + ">"}
	for _, r := range to {
		commands = append(commands, "RCPT TO:<"+r+">")
	}
	for _, c := range append(commands, "DATA") {
		code, reply, err := d.SMTP(c)
		if err != nil {
			return "", err
		}
		if code >= 400 {
			return fmt.Sprintf("%d %s", code, reply), nil
		}
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	text = strings.TrimSuffix(strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n..")[2:], "\r\n")
	code, reply, err := d.SMTP(text + "\r\n.")
	if err != nil {
		return "", err
	}
	_, _, err = d.SMTP("QUIT")
	return fmt.Sprintf("%d %s", code, reply), err
}

// ReadPOP3 reads all messages of an account, logging in with APOP, and removes
// them if remove is set. Lines end in LF.
func ReadPOP3(addr, user string, remove bool) ([]string, error) {
	d, err := Dial(addr)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	banner, err := d.POP3("")
	if err != nil {
		return nil, err
	}
	i, j := strings.IndexByte(banner, '<'), strings.IndexByte(banner, '>')
	if i < 0 || j < i {
		return nil, fmt.Errorf("greeting without a timestamp: %s", banner)
	}
	sum := md5.Sum([]byte(banner[i:j+1] + APOPSecret))
	if _, err := d.POP3("APOP " + user + " " + hex.EncodeToString(sum[:])); err != nil {
		return nil, err
	}
	stat, err := d.POP3("STAT")
	if err != nil {
		return nil, err
	}
	var n, size int
	if _, err := fmt.Sscanf(stat, "+OK %d %d", &n, &size); err != nil {
		return nil, fmt.Errorf("STAT: %s", stat)
	}
	var out []string
	for i := 1; i <= n; i++ {
		if _, err := d.POP3(fmt.Sprintf("RETR %d", i)); err != nil {
			return nil, err
		}
		lines, err := d.ReadDotLines()
		if err != nil {
			return nil, err
		}
		out = append(out, strings.Join(lines, "\n")+"\n")
		if remove {
			if _, err := d.POP3(fmt.Sprintf("DELE %d", i)); err != nil {
				return nil, err
			}
		}
	}
	_, err = d.POP3("QUIT")
	return out, err
}

// WaitPOP3 reads a mailbox when at least n messages are in it, and removes them.
func WaitPOP3(addr, user string, n int) (got []string, err error) {
	if Poll(Patience, func() bool { got, err = ReadPOP3(addr, user, false); return err == nil && len(got) >= n }) {
		return ReadPOP3(addr, user, true)
	}
	return got, fmt.Errorf("%d of %d messages for %s came within %v, %v", len(got), n, user, Patience, err)
}

// TakeMail waits until an account has exactly n messages, and removes them.
func (s *Server) TakeMail(t testing.TB, user string, n int) []string {
	t.Helper()
	got, err := WaitPOP3(s.Addr("pop3"), user, n)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Log())
	}
	if len(got) != n {
		t.Fatalf("%d messages for %s, want %d:\n%s", len(got), user, n, strings.Join(got, "\n---\n"))
	}
	return got
}

// Mail waits for exactly one message to an account, and removes it.
func (s *Server) Mail(t testing.TB, user string) string {
	t.Helper()
	return s.TakeMail(t, user, 1)[0]
}

// Mailbox is what is in an account's mailbox now.
func (s *Server) Mailbox(t testing.TB, user string) []string {
	t.Helper()
	got, err := ReadPOP3(s.Addr("pop3"), user, false)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// WaitSubject waits until a message of that subject has been delivered to an
// account.
func (s *Server) WaitSubject(t testing.TB, account, subject string) {
	t.Helper()
	Until(t, fmt.Sprintf("%q is in the mailbox of %s", subject, account), func() bool {
		got, err := ReadPOP3(s.Addr("pop3"), account, false)
		return err == nil && strings.Contains(strings.Join(got, ""), "Subject: "+subject+"\n")
	})
}

// Send brings a message to the MX listener, to one or several recipients
// separated by spaces or commas, and returns the last reply.
func (s *Server) Send(t testing.TB, from, to, text string) string {
	t.Helper()
	rcpts := strings.FieldsFunc(to, func(r rune) bool { return r == ' ' || r == ',' })
	reply, err := SendSMTP(s.Addr("mx"), "EHLO mx.s.test", from, rcpts, text)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// Deliver is Send for a message that has to be accepted.
func (s *Server) Deliver(t testing.TB, from, to, text string) {
	t.Helper()
	if reply := s.Send(t, from, to, text); !strings.HasPrefix(reply, "250 ") {
		t.Fatalf("<%s> to %s: %s", from, to, reply)
	}
}
