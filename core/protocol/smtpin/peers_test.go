package smtpin

import (
	"bytes"
	"errors"
	"net/smtp"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

const letter = "From: a@example.org\r\nTo: b@example.com\r\nSubject: x\r\n\r\n.dots\r\n..\r\nend\r\n"

// The client of the standard library, over STARTTLS with AUTH.
func TestNetSMTPClient(t *testing.T) {
	l := serve(t, Config{Protocol: Submission, TLS: serverTLS()})
	c, err := smtp.Dial(l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := func() error {
		if err := c.StartTLS(clientTLS()); err != nil {
			return err
		}
		if err := c.Auth(smtp.PlainAuth("", "alice", "secret word", "127.0.0.1")); err != nil {
			return err
		}
		if err := c.Mail("alice@example.com"); err != nil {
			return err
		}
		if err := c.Rcpt("b@example.com"); err != nil {
			return err
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := w.Write([]byte(letter)); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		return c.Quit()
	}
	if err := w(); err != nil {
		t.Fatal(err)
	}
	m := l.k.messages()
	if len(m) != 1 || m[0].body != letter || m[0].session != "UTF8SMTPSA" && m[0].session != "ESMTPSA" {
		t.Errorf("got %+v", m)
	}
}

// go-smtp's client: DSN parameters, a large message, and LMTP.
func TestGoSMTPClient(t *testing.T) {
	l := serve(t, Config{Protocol: Submission, TLS: serverTLS(), Implicit: true})
	c, err := gosmtp.DialTLS(l.addr, clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", "alice", "secret word")); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("alice@example.com", &gosmtp.MailOptions{
		Return: gosmtp.DSNReturnHeaders, EnvelopeID: "a+b=c", UTF8: true, RequireTLS: true,
	}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"b@example.com", "jürgen@example.com"} {
		if err := c.Rcpt(to, &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifySuccess}}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat(letter, 20000)
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	m := l.k.messages()
	if len(m) != 1 || m[0].body != body || m[0].tx.Params.EnvID != "a+b=c" || !m[0].tx.Params.RequireTLS || len(m[0].rcpts) != 2 {
		t.Errorf("got %d messages, params %+v", len(m), m[0].tx.Params)
	}
}

func TestGoSMTPClientLMTP(t *testing.T) {
	l := serve(t, Config{Protocol: LMTP})
	nc := dial(t, l.addr)
	c := gosmtp.NewClientLMTP(nc.nc)
	defer c.Close()
	if err := c.Mail("a@example.org", nil); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"b@example.com", "full@example.com"} {
		if err := c.Rcpt(to, nil); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bytes.NewBufferString(letter).WriteTo(w); err != nil {
		t.Fatal(err)
	}
	_, err = w.CloseWithLMTPResponse()
	refused, isLMTP := errors.AsType[gosmtp.LMTPDataError](err)
	if !isLMTP || len(refused) != 1 || refused["full@example.com"] == nil || refused["full@example.com"].Code != 552 {
		t.Errorf("statuses %v", err)
	}
}
