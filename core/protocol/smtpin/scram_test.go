package smtpin

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"

	"carteiro/core/internal/dialogtest"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/telemetry"
	"carteiro/core/protocol/sasl"
	"carteiro/core/service/auth"
	"carteiro/core/store/badgerstore"
)

// directoryBackend is a backend with real accounts, and a judge of one token.
type directoryBackend struct {
	*memoryBackend
	dir *auth.Directory
}

func newDirectoryBackend(t testing.TB) *directoryBackend {
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	dir, err := auth.New(context.Background(), auth.Options{Data: st, Domains: []string{"example.com"}, Key: make([]byte, 32), WeakHash: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.AddAccount(context.Background(), "alice@example.com", "secret word"); err != nil {
		t.Fatal(err)
	}
	return &directoryBackend{newMemoryBackend(), dir}
}

func (d *directoryBackend) Auth(ctx context.Context, _ *envelope.Session, c *envelope.Credentials) (*envelope.Identity, *envelope.Status) {
	if c.Token == "good" {
		return &envelope.Identity{User: envelope.Address(c.User)}, nil
	}
	a, err := d.dir.Login(ctx, c)
	if err != nil {
		return nil, envelope.Reject(535, "5.7.8", "Authentication credentials invalid")
	}
	return &envelope.Identity{User: a}, nil
}

func (d *directoryBackend) Scram(ctx context.Context, plus bool, bind func(string) []byte) sasl.Exchange {
	return d.dir.Scram(ctx, plus, bind)
}

func (d *directoryBackend) Tokens() bool { return true }

// scram logs in and returns the last reply.
func (c *client) scram(mechanism string, s dialogtest.Scram, initial bool) (string, error) {
	c.t.Helper()
	last, begun := "", false
	err := s.Run("fyko+d2lbbFgONRv9qkxdawL", func(resp string) (string, error) {
		text := base64.StdEncoding.EncodeToString([]byte(resp))
		switch {
		case begun:
			c.send(text + "\r\n")
		case initial:
			c.send("AUTH " + mechanism + " " + text + "\r\n")
		default:
			c.send("AUTH " + mechanism + "\r\n")
			if line := c.reply(""); line != "334 \r\n" {
				last = line
				return "", errors.New("refused")
			}
			c.send(text + "\r\n")
		}
		begun = true
		last = c.reply("")
		if challenge, ok := strings.CutPrefix(strings.TrimSpace(last), "334 "); ok {
			b, err := base64.StdEncoding.DecodeString(challenge)
			return string(b), err
		}
		return "", errors.New("refused")
	})
	if err == nil {
		c.send("\r\n")
		last = c.reply("")
	}
	return last, err
}

func TestScram(t *testing.T) {
	d := newDirectoryBackend(t)
	addr, stop := start(t, New(Config{Hostname: "mx.example.com", Protocol: Submission, TLS: serverTLS(), Implicit: true, MaxErrors: 100}, d))
	right := dialogtest.Scram{User: "alice", Password: "secret word"}
	connect := func() (*client, *tls.Conn) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		c := overTLS(t, nc)
		c.reply("220 ")
		c.send("EHLO c.example\r\n")
		c.reply("250 AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS OAUTHBEARER XOAUTH2")
		return c, c.nc.(*tls.Conn)
	}
	bound := func(tc *tls.Conn, kind string) dialogtest.Scram {
		st := tc.ConnectionState()
		s := right
		s.GS2 = "p=" + kind + ",,"
		if kind == "tls-exporter" {
			s.Binding, _ = st.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		} else {
			sum := sha256.Sum256(st.PeerCertificates[0].Raw)
			s.Binding = sum[:]
		}
		return s
	}
	for _, initial := range []bool{true, false} {
		c, _ := connect()
		if last, err := c.scram("SCRAM-SHA-256", right, initial); err != nil || !strings.HasPrefix(last, "235 2.7.0") {
			t.Errorf("initial %v: %q, %v", initial, last, err)
		}
		c.send("AUTH PLAIN\r\n")
		c.reply("503 ")
		for _, kind := range []string{"tls-exporter", "tls-server-end-point"} {
			c, tc := connect()
			if last, err := c.scram("scram-sha-256-plus", bound(tc, kind), initial); err != nil || !strings.HasPrefix(last, "235 ") {
				t.Errorf("%s, initial %v: %q, %v", kind, initial, last, err)
			}
		}
	}
	c, _ := connect()
	_, other := connect()
	for _, tt := range []struct {
		mechanism string
		s         dialogtest.Scram
		want      string
	}{
		{"SCRAM-SHA-256", dialogtest.Scram{User: "alice", Password: "wrong"}, "535 5.7.8"},
		{"SCRAM-SHA-256", dialogtest.Scram{User: "nobody", Password: "secret word"}, "535 5.7.8"},
		{"SCRAM-SHA-256", dialogtest.Scram{User: "alice", Password: "secret word", GS2: "y,,"}, "535 5.7.8"},
		{"SCRAM-SHA-256-PLUS", right, "501 5.5.2"},
		{"SCRAM-SHA-256-PLUS", bound(other, "tls-exporter"), "535 5.7.8"}, // a connection in between
		{"SCRAM-SHA-1", right, "504 5.5.4"},
	} {
		last, err := c.scram(tt.mechanism, tt.s, true)
		if err == nil || !strings.HasPrefix(last, tt.want) {
			t.Errorf("%s %+v: %q, %v, want %s", tt.mechanism, tt.s, last, err, tt.want)
		}
	}
	// Cancelled, and not base64.
	c.send("AUTH SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString([]byte(right.First("abc"))) + "\r\n")
	c.reply("334 ")
	c.send("*\r\n")
	c.reply("501 5.7.0")
	c.send("AUTH SCRAM-SHA-256\r\n")
	c.reply("334 ")
	c.send("n,,n=alice\r\n")
	c.reply("501 5.5.2")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestTokens(t *testing.T) {
	d := newDirectoryBackend(t)
	addr, stop := start(t, New(Config{Hostname: "mx.example.com", InsecureAuth: true}, d))
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	c := dial(t, addr)
	c.reply("220 ")
	c.send("EHLO c.example\r\n")
	c.reply("250 AUTH PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2")
	c.send("AUTH OAUTHBEARER " + b64("n,a=alice@example.com,\x01auth=Bearer bad\x01\x01") + "\r\n")
	if line := c.reply("334 "); line != "334 "+b64(`{"status":"invalid_token"}`)+"\r\n" {
		t.Errorf("got %q", line)
	}
	c.send("AQ==\r\n")
	c.reply("535 5.7.8")
	c.send("AUTH XOAUTH2\r\n")
	c.reply("334 ")
	c.send(b64("user=alice@example.com\x01auth=Bearer bad\x01\x01") + "\r\n")
	c.reply("334 ")
	c.send("\r\n")
	c.reply("535 5.7.8")
	c.send("AUTH OAUTHBEARER " + b64("n,a=alice@example.com,\x01auth=Basic bad\x01\x01") + "\r\n")
	c.reply("501 5.5.2")
	c.send("AUTH XOAUTH2 " + b64("user=alice@example.com\x01auth=Bearer good\x01\x01") + "\r\n")
	c.reply("235 ")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
