package smtpout

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"carteiro/core/message/envelope"
)

// otherBackend is a backend for go-smtp's server.
type otherBackend struct {
	mu   sync.Mutex
	kept []string // "sender|recipients|envid|body"
}

type otherSession struct {
	o        *otherBackend
	from     string
	to       []string
	opts     gosmtp.MailOptions
	loggedIn bool
}

func (o *otherBackend) NewSession(*gosmtp.Conn) (gosmtp.Session, error) {
	return &otherSession{o: o}, nil
}
func (s *otherSession) Reset()                   { s.from, s.to = "", nil }
func (s *otherSession) Logout() error            { return nil }
func (s *otherSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *otherSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		if user != "alice" || pass != "secret" {
			return gosmtp.ErrAuthFailed
		}
		s.loggedIn = true
		return nil
	}), nil
}

func (s *otherSession) Mail(from string, opts *gosmtp.MailOptions) error {
	s.from, s.opts = from, *opts
	return nil
}

func (s *otherSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "refused@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *otherSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	s.o.kept = append(s.o.kept, s.from+"|"+strings.Join(s.to, " ")+"|"+s.opts.EnvelopeID+"|"+string(b))
	return nil
}

func (s *otherSession) LMTPData(r io.Reader, status gosmtp.StatusCollector) error {
	if err := s.Data(r); err != nil {
		return err
	}
	for _, to := range s.to {
		var err error
		if strings.HasPrefix(to, "full@") {
			err = &gosmtp.SMTPError{Code: 452, EnhancedCode: gosmtp.EnhancedCode{4, 2, 2}, Message: "mailbox full\nclean up"}
		}
		status.SetStatus(to, err)
	}
	return nil
}

func serveOther(t *testing.T, edit func(*gosmtp.Server)) (envelope.Host, *otherBackend) {
	t.Helper()
	o := &otherBackend{}
	srv := gosmtp.NewServer(o)
	srv.Domain, srv.TLSConfig, srv.EnableDSN, srv.EnableSMTPUTF8, srv.MaxRecipients = "mx.example.com", serverTLS(), true, true, 10
	if edit != nil {
		edit(srv)
	}
	ln, err := net.Listen("tcp", any4)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return hostOf(ln), o
}

func TestGoSMTPServer(t *testing.T) {
	h, o := serveOther(t, nil)
	nh := hop(h)
	nh.TLS, nh.User, nh.Password = envelope.TLSVerify, "alice", "secret"
	tr := transfer("b@example.com", "refused@example.com", "jürgen@example.com")
	tr.EnvID, tr.SMTPUTF8 = "x+y", true
	c := client(t, Config{})
	for range 2 {
		if out := c.Send(t.Context(), nh, tr); codes(out) != "250, 550 5.1.1, 250" || out[0].TLS != "TLS1.3" || out[0].NoDSN {
			t.Fatalf("outcomes %+v", out)
		}
	}
	want := "a@example.org|b@example.com jürgen@example.com|x+y|" + letter
	if len(o.kept) != 2 || o.kept[0] != want || o.kept[1] != want {
		t.Errorf("kept %q", o.kept)
	}
}

func TestGoSMTPServerTooMany(t *testing.T) {
	h, o := serveOther(t, nil)
	var to []string
	for range 25 {
		to = append(to, "r@example.com")
	}
	out := client(t, Config{}).Send(t.Context(), hop(h), transfer(to...))
	if strings.Count(codes(out), "250") != 25 || len(o.kept) != 3 {
		t.Errorf("%d transactions: %s", len(o.kept), codes(out))
	}
}

func TestGoSMTPServerLMTP(t *testing.T) {
	h, o := serveOther(t, func(s *gosmtp.Server) { s.LMTP = true })
	nh := hop(h)
	nh.LMTP = true
	out := client(t, Config{}).Send(t.Context(), nh, transfer("b@example.com", "refused@example.com", "full@example.com", "c@example.com"))
	if codes(out) != "250, 550 5.1.1, 452 4.2.2, 250" || len(o.kept) != 1 || !strings.HasSuffix(o.kept[0], letter) {
		t.Errorf("outcomes %+v, kept %q", out, o.kept)
	}
}
