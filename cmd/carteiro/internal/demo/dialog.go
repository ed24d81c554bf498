package demo

import (
	"bufio"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"time"
)

// dialog is a line dialogue with one of the servers, printed as it goes: what
// the client says after "C:", what the server says after "S:".
type dialog struct {
	server *server
	conn   net.Conn
	r      *bufio.Reader
}

func (s *server) dial(ctx context.Context, port int) (*dialog, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	fmt.Fprintf(s.out, "-- connected to %s, port %d\n", s.name, port)
	return &dialog{server: s, conn: conn, r: bufio.NewReader(conn)}, nil
}

func (t *dialog) close() { t.conn.Close() }

func (t *dialog) print(who, line string) {
	fmt.Fprintf(t.server.out, "%s: %s\n", who, strings.TrimRight(line, "\r\n"))
}

func (t *dialog) line() (string, error) {
	s, err := t.r.ReadString('\n')
	if err == nil {
		t.print("S", s)
	}
	return strings.TrimRight(s, "\r\n"), err
}

func (t *dialog) say(line string) error {
	t.print("C", line)
	_, err := t.conn.Write([]byte(line + "\r\n"))
	return err
}

// smtp says a command ("" only listens) and wants a reply with a code.
func (t *dialog) smtp(command, want string) (string, error) {
	if command != "" {
		if err := t.say(command); err != nil {
			return "", err
		}
	}
	for {
		s, err := t.line()
		if err != nil {
			return "", err
		}
		if len(s) > 3 && s[3] == '-' {
			continue
		}
		if !strings.HasPrefix(s, want) {
			return s, fmt.Errorf("%w answer to %q: %q, want %s", errUnexpected, command, s, want)
		}
		return s, nil
	}
}

// pop3 says a command and wants +OK.
func (t *dialog) pop3(command string) (string, error) {
	if command != "" {
		if err := t.say(command); err != nil {
			return "", err
		}
	}
	s, err := t.line()
	if err == nil && !strings.HasPrefix(s, "+OK") {
		err = fmt.Errorf("%w answer to %q: %q", errUnexpected, command, s)
	}
	return s, err
}

// multi reads a multi-line answer of POP3 up to its dot.
func (t *dialog) multi(command string) (string, error) {
	if _, err := t.pop3(command); err != nil {
		return "", err
	}
	var b strings.Builder
	for {
		s, err := t.line()
		if err != nil {
			return "", err
		}
		if s == "." {
			return b.String(), nil
		}
		b.WriteString(strings.TrimPrefix(s, ".") + "\r\n")
	}
}

// content sends a message after 354 and returns the id of "queued as ID".
func (t *dialog) content(text string) (string, error) {
	if _, err := t.smtp("DATA", "354"); err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if strings.HasPrefix(line, ".") {
			line = "." + line
		}
		if err := t.say(line); err != nil {
			return "", err
		}
	}
	s, err := t.smtp(".", "250")
	if err != nil {
		return "", err
	}
	_, id, ok := strings.Cut(s, "queued as ")
	if !ok {
		return "", fmt.Errorf("%w answer to the message: %q", errUnexpected, s)
	}
	return id, nil
}

// submit sends a message as a user's mail program does.
func (s *server) submit(ctx context.Context, user, to, text string) (string, error) {
	t, err := s.dial(ctx, s.ports.submission)
	if err != nil {
		return "", err
	}
	defer t.close()
	for _, c := range [][2]string{{"", "220"}, {"EHLO laptop.example.org", "250"}, {"STARTTLS", "220"}} {
		if _, err := t.smtp(c[0], c[1]); err != nil {
			return "", err
		}
	}
	secure := tls.Client(t.conn, s.tls())
	if err := secure.HandshakeContext(ctx); err != nil {
		return "", err
	}
	fmt.Fprintf(s.out, "-- encrypted with %s\n", tls.VersionName(secure.ConnectionState().Version))
	t.conn, t.r = secure, bufio.NewReader(secure)
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + secret))
	for _, c := range [][2]string{{"EHLO laptop.example.org", "250"}, {"AUTH PLAIN " + plain, "235"}, {"MAIL FROM:<" + user + ">", "250"},
		{"RCPT TO:<" + to + ">", "250"}} {
		if _, err := t.smtp(c[0], c[1]); err != nil {
			return "", err
		}
	}
	id, err := t.content(text)
	if err != nil {
		return "", err
	}
	_, err = t.smtp("QUIT", "221")
	return id, err
}

// deliver sends a message to the MX port as another server does.
func (s *server) deliver(ctx context.Context, from, to, text string) (string, error) {
	t, err := s.dial(ctx, s.ports.mx)
	if err != nil {
		return "", err
	}
	defer t.close()
	for _, c := range [][2]string{{"", "220"}, {"EHLO mail.sender.example", "250"}, {"MAIL FROM:<" + from + ">", "250"},
		{"RCPT TO:<" + to + ">", "250"}} {
		if _, err := t.smtp(c[0], c[1]); err != nil {
			return "", err
		}
	}
	id, err := t.content(text)
	if err != nil {
		return "", err
	}
	_, err = t.smtp("QUIT", "221")
	return id, err
}

// apop opens a maildrop with APOP (RFC 1939 section 7).
func (s *server) apop(ctx context.Context, user string) (*dialog, error) {
	t, err := s.dial(ctx, s.ports.pop3)
	if err != nil {
		return nil, err
	}
	banner, err := t.pop3("")
	if err != nil {
		return nil, err
	}
	i, j := strings.IndexByte(banner, '<'), strings.IndexByte(banner, '>')
	if i < 0 || j < i {
		return nil, fmt.Errorf("%w greeting without a timestamp: %q", errUnexpected, banner)
	}
	sum := md5.Sum([]byte(banner[i:j+1] + secret))
	_, err = t.pop3("APOP " + user + " " + hex.EncodeToString(sum[:]))
	return t, err
}

// drain reads and removes everything in a maildrop.
func (s *server) drain(ctx context.Context, user string) ([]string, error) {
	t, err := s.apop(ctx, user)
	if err != nil {
		return nil, err
	}
	defer t.close()
	stat, err := t.pop3("STAT")
	if err != nil {
		return nil, err
	}
	var n, size int
	if _, err := fmt.Sscanf(stat, "+OK %d %d", &n, &size); err != nil {
		return nil, fmt.Errorf("%w answer to STAT: %q", errUnexpected, stat)
	}
	var out []string
	for i := 1; i <= n; i++ {
		text, err := t.multi(fmt.Sprintf("RETR %d", i))
		if err != nil {
			return nil, err
		}
		size -= len(text)
		out = append(out, text)
		if _, err := t.pop3(fmt.Sprintf("DELE %d", i)); err != nil {
			return nil, err
		}
	}
	if size != 0 {
		return nil, fmt.Errorf("STAT and the messages differ by %d octets", size)
	}
	_, err = t.pop3("QUIT")
	return out, err
}

// one drains a maildrop that has to hold one message, when that has arrived.
func (s *server) one(ctx context.Context, user string) (string, error) {
	owner := user
	if !strings.Contains(user, "@") {
		owner += "@" + s.name
	}
	if err := s.mailbox(ctx, owner, "INBOX", 1); err != nil {
		return "", err
	}
	got, err := s.drain(ctx, user)
	if err != nil {
		return "", err
	}
	if len(got) != 1 {
		return "", fmt.Errorf("%s has %d messages, not 1", user, len(got))
	}
	return got[0], nil
}

var startDate = time.Now().Format(time.RFC1123Z)
