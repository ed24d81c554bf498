package pop3

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"

	"carteiro/core/internal/dialogtest"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/auth"
	"carteiro/core/store/badgerstore"
)

// directoryBackend is a backend with real accounts, and a judge of one token.
type directoryBackend struct {
	*memoryBackend
	*auth.Directory
}

func (d *directoryBackend) Auth(ctx context.Context, _ *envelope.Session, c *envelope.Credentials) (*envelope.Identity, *envelope.Status) {
	if c.Token == "good" {
		return &envelope.Identity{User: envelope.Address(c.User)}, nil
	}
	a, err := d.Login(ctx, c)
	if err != nil {
		return nil, envelope.Reject(535, "5.7.8", "wrong name or password")
	}
	return &envelope.Identity{User: a}, nil
}

func (d *directoryBackend) Tokens() bool { return true }

func TestScramAndTokens(t *testing.T) {
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	dir, err := auth.New(t.Context(), auth.Options{Data: st, Domains: []string{"example.com"}, WeakHash: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.AddAccount(t.Context(), "mrose@example.com", "tan staaf"); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	boxes := newMemory()
	boxes.put("mrose@example.com", first)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- New(Config{Hostname: "pop.example.com", TLS: serverTLS()}, &directoryBackend{&memoryBackend{}, dir}, boxes).Serve(ctx, ln)
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	connect := func() (*client, []byte) {
		c := dial(t, ln.Addr().String())
		c.line("+OK")
		c.send("STLS\r\n")
		c.line("+OK")
		return c, c.starttls()
	}
	c, _ := connect()
	if last, err := c.scram("SCRAM-SHA-256", dialogtest.Scram{User: "mrose", Password: "wrong"}); err == nil ||
		!strings.HasPrefix(last, "-ERR [AUTH]") {
		t.Errorf("wrong: %q, %v", last, err)
	}
	if last, err := c.scram("SCRAM-SHA-256", dialogtest.Scram{User: "mrose", Password: "tan staaf"}); err != nil ||
		!strings.HasPrefix(last, "+OK maildrop has 1") {
		t.Errorf("right: %q, %v", last, err)
	}
	c.send("QUIT\r\n")
	c.line("+OK")
	c, binding := connect()
	bound := dialogtest.Scram{User: "mrose", Password: "tan staaf", GS2: "p=tls-exporter,,", Binding: binding}
	if last, err := c.scram("SCRAM-SHA-256-PLUS", bound); err != nil || !strings.HasPrefix(last, "+OK maildrop has 1") {
		t.Errorf("bound: %q, %v", last, err)
	}
	c.send("QUIT\r\n")
	c.line("+OK")
	c, _ = connect()
	c.send("AUTH XOAUTH2 " + encode("user=mrose@example.com\x01auth=Bearer bad\x01\x01") + "\r\n")
	c.line("+ ")
	c.send("\r\n")
	c.line("-ERR [AUTH]")
	c.send("AUTH OAUTHBEARER " + encode("n,a=mrose@example.com,\x01auth=Bearer good\x01\x01") + "\r\n")
	c.line("+OK maildrop has 1")
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// scram logs in and returns the last line of the server.
func (c *client) scram(mechanism string, s dialogtest.Scram) (last string, err error) {
	verb := "AUTH " + mechanism + " "
	err = s.Run("nonce", func(resp string) (string, error) {
		c.send(verb + encode(resp) + "\r\n")
		verb = ""
		last = c.line("")
		challenge, ok := strings.CutPrefix(last, "+ ")
		if !ok {
			return "", errors.New("refused")
		}
		text, err := base64.StdEncoding.DecodeString(challenge)
		return string(text), err
	})
	if err == nil {
		c.send("\r\n")
		last = c.line("")
	}
	return last, err
}
