package smtpout

import (
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/smtpin"
)

func TestDelivery(t *testing.T) {
	h, k := serve(t, smtpin.Config{TLS: serverTLS()})
	c := client(t, Config{})
	tr := transfer("b@example.com", "refused@example.com", "later@example.com", "c@example.com")
	prio := envelope.Priority(4)
	tr.EnvID, tr.Ret, tr.Priority, tr.EightBit = "a+b=c d", "HDRS", prio, true
	tr.By, tr.ByNotify = time.Now().Add(time.Hour), true
	tr.Recipients[0].Notify, tr.Recipients[0].ORcpt = envelope.NotifySuccess|envelope.NotifyDelay, "rfc822;o+x@example.net"
	out := c.Send(t.Context(), hop(h), tr)
	if got, want := codes(out), "250, 550 5.1.1, 450 4.2.1, 250"; got != want {
		t.Fatalf("outcomes %s, want %s", got, want)
	}
	if o := out[0]; o.Host != "mx.example.com" || o.TLS != "TLS1.3" || o.NoDSN || o.Down {
		t.Errorf("outcome %+v", o)
	}
	m := k.messages()
	if len(m) != 1 || m[0].body != letter || m[0].to() != "b@example.com c@example.com" || !m[0].tls || k.helo != "out.example.org" {
		t.Fatalf("kept %+v", m)
	}
	p := m[0].tx.Params
	if p.EnvID != tr.EnvID || p.Ret != "HDRS" || p.Priority == nil || *p.Priority != prio || p.Body != "8BITMIME" || p.Size != tr.Size {
		t.Errorf("parameters %+v", p)
	}
	if p.By < 3590 || p.By > 3600 || p.ByMode != "N" {
		t.Errorf("BY %d %q", p.By, p.ByMode)
	}
	if r := m[0].rcpts[0]; r.Notify != tr.Recipients[0].Notify || r.ORcpt != tr.Recipients[0].ORcpt {
		t.Errorf("recipient %+v", r)
	}
}

func TestSenderRefusedIsFinal(t *testing.T) {
	h, _ := serve(t, smtpin.Config{})
	second, k := serve(t, smtpin.Config{})
	second.Preference = 20
	tr := transfer("b@example.com", "c@example.com")
	tr.Sender = "refused@example.org"
	out := client(t, Config{}).Send(t.Context(), hop(second, h), tr)
	if codes(out) != "550 5.7.1, 550 5.7.1" || k.sessions != 0 {
		t.Errorf("outcomes %s, %d sessions at the second host", codes(out), k.sessions)
	}
}

func TestManyRecipientsInSeveralTransactions(t *testing.T) {
	h, k := serve(t, smtpin.Config{MaxRecipients: 40})
	var to []string
	for i := range 250 {
		to = append(to, strings.Repeat("x", i%50)+"r@example.com")
	}
	out := client(t, Config{}).Send(t.Context(), hop(h), transfer(to...))
	if got := strings.Count(codes(out), "250"); got != 250 {
		t.Errorf("%d of 250 accepted: %s", got, codes(out))
	}
	m := k.messages()
	if len(m) != 7 || len(m[0].rcpts) != 40 || len(m[6].rcpts) != 10 || k.sessions != 1 {
		t.Errorf("%d transactions in %d sessions", len(m), k.sessions)
	}
}

func TestLMTP(t *testing.T) {
	h, k := serve(t, smtpin.Config{Protocol: smtpin.LMTP})
	nh := hop(h)
	nh.LMTP = true
	out := client(t, Config{}).Send(t.Context(), nh, transfer("b@example.com", "refused@example.com", "full@example.com", "c@example.com"))
	if got, want := codes(out), "250, 550 5.1.1, 552 5.2.2, 250"; got != want {
		t.Errorf("outcomes %s, want %s", got, want)
	}
	if m := k.messages(); len(m) != 1 || m[0].body != letter {
		t.Errorf("kept %+v", m)
	}
}

func TestLargeMessage(t *testing.T) {
	h, k := serve(t, smtpin.Config{TLS: serverTLS()})
	body := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("y", 70)+"\r\n.\r\n", 50_000)
	tr := transfer("b@example.com")
	tr.Size, tr.Open = int64(len(body)), opens(body)
	out := client(t, Config{}).Send(t.Context(), hop(h), tr)
	if codes(out) != "250" || len(k.messages()) != 1 || k.messages()[0].body != body {
		t.Errorf("outcomes %s", codes(out))
	}
}

func TestReuse(t *testing.T) {
	h, k := serve(t, smtpin.Config{TLS: serverTLS()})
	reused := 0
	c := client(t, Config{Observe: Observe{Reused: func() { reused++ }}})
	for range 3 {
		if out := c.Send(t.Context(), hop(h), transfer("b@example.com")); codes(out) != "250" || out[0].TLS == "" {
			t.Fatalf("outcomes %+v", out)
		}
	}
	if reused != 2 || k.sessions != 1 || len(k.messages()) != 3 {
		t.Errorf("reused %d times, %d sessions, %d messages", reused, k.sessions, len(k.messages()))
	}
	other := hop(h)
	other.TLS = envelope.TLSNone
	if out := c.Send(t.Context(), other, transfer("b@example.com")); codes(out) != "250" || out[0].TLS != "" || k.sessions != 2 {
		t.Errorf("with another TLS policy: %+v, %d sessions", out, k.sessions)
	}
	c.Close()
	if c.Send(t.Context(), hop(h), transfer("b@example.com")); len(c.pool.idle) != 0 || k.sessions != 3 {
		t.Errorf("after Close: %d idle, %d sessions", len(c.pool.idle), k.sessions)
	}
}

// A transaction without content must not leave its MAIL behind.
func TestReuseAfterRefusals(t *testing.T) {
	h, k := serve(t, smtpin.Config{})
	c := client(t, Config{})
	for range 2 {
		if out := c.Send(t.Context(), hop(h), transfer("refused@example.com")); codes(out) != "550 5.1.1" {
			t.Fatalf("outcomes %s", codes(out))
		}
	}
	if out := c.Send(t.Context(), hop(h), transfer("b@example.com")); codes(out) != "250" || k.sessions != 1 {
		t.Errorf("outcomes %s, %d sessions", codes(out), k.sessions)
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	gone := make(chan string, 1)
	h, _ := runPeer(t, any4, func(p *peer) {
		if p.hello() && p.step("MAIL", "250 ok") && p.step("RCPT", "250 ok") && p.step("DATA", "354 go") {
			p.message()
			p.say("250 ok")
			p.step("QUIT", "221 bye")
			gone <- p.eof()
		}
	})
	c := client(t, Config{IdleTimeout: 10 * time.Millisecond})
	if out := c.Send(t.Context(), hop(h), transfer("b@example.com")); codes(out) != "250" || !out[0].NoDSN {
		t.Fatalf("outcomes %+v", out)
	}
	if rest := <-gone; rest != "" {
		t.Errorf("after QUIT: %q", rest)
	}
}

func TestLogin(t *testing.T) {
	h, k := serve(t, smtpin.Config{Protocol: smtpin.Submission, TLS: serverTLS(), Implicit: true})
	nh := hop(h)
	nh.Implicit, nh.TLS, nh.User, nh.Password = true, envelope.TLSVerify, "alice", "secret word"
	c := client(t, Config{Trace: func(_, line string) {
		if strings.Contains(line, "secret") || strings.Contains(line, "AGFsaWNl") {
			t.Errorf("trace shows %q", line)
		}
	}})
	if out := c.Send(t.Context(), nh, transfer("b@example.com")); codes(out) != "250" {
		t.Fatalf("outcomes %+v", out)
	}
	if m := k.messages(); len(m) != 1 || m[0].user != "alice@example.com" {
		t.Errorf("kept %+v", m)
	}
	nh.Password = "wrong"
	if out := c.Send(t.Context(), nh, transfer("b@example.com")); codes(out) != "451 4.7.8" {
		t.Errorf("wrong password: %s", codes(out))
	}
}

func TestVerifiedTLS(t *testing.T) {
	h, k := serve(t, smtpin.Config{TLS: serverTLS()})
	clear, _ := serve(t, smtpin.Config{})
	wrong := h
	wrong.Name = "mx2.example.com"
	tests := []struct {
		name   string
		host   envelope.Host
		policy envelope.TLSPolicy
		strict bool
		want   string
		tls    string
	}{
		{"verify", h, envelope.TLSVerify, false, "250", "TLS1.3"},
		{"verify, another name", wrong, envelope.TLSVerify, false, "451 4.7.5", ""},
		{"verify, not offered", clear, envelope.TLSVerify, false, "451 4.7.10", ""},
		{"may, another name", wrong, envelope.TLSMay, false, "250", "TLS1.3"},
		{"may, not offered", clear, "", false, "250", ""},
		{"none", h, envelope.TLSNone, false, "250", ""},
		{"requiretls", h, envelope.TLSMay, true, "250", "TLS1.3"},
		{"requiretls, another name", wrong, envelope.TLSMay, true, "550 5.7.30", ""},
		{"requiretls, not offered", clear, envelope.TLSNone, true, "550 5.7.30", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nh, tr := hop(tt.host), transfer("b@example.com")
			nh.TLS, tr.RequireTLS = tt.policy, tt.strict
			out := client(t, Config{}).Send(t.Context(), nh, tr)
			if codes(out) != tt.want || out[0].TLS != tt.tls {
				t.Errorf("outcome %+v, want %s over %q", out, tt.want, tt.tls)
			}
			if m := k.messages(); tt.host == h && (m[len(m)-1].tx.Params.RequireTLS != tt.strict) {
				t.Error("REQUIRETLS was not passed on")
			}
		})
	}
}

func TestSizeIsKnownBefore(t *testing.T) {
	h, k := serve(t, smtpin.Config{MaxSize: 50})
	out := client(t, Config{}).Send(t.Context(), hop(h), transfer("b@example.com"))
	if codes(out) != "552 5.3.4" || !strings.Contains(out[0].Status.Text, "larger than host") || len(k.messages()) != 0 {
		t.Errorf("outcomes %s", codes(out))
	}
}
