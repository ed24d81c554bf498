package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/policytest/keys"
	"carteiro/hooks"
)

// TestEncrypted: a message is encrypted after all other edits, also those of later
// handlers, at receive.data and for one recipient. A message that cannot be encrypted
// is deferred, and nothing of it is stored.
func TestEncrypted(t *testing.T) {
	key, err := keys.New(crypt.OpenPGP, "alice@our.example", time.Now().Add(-time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	k, err := crypt.Parse(key.Public, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	e, err := k.Encryption()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(ev *hooks.Event, m *hooks.Message) (hooks.Verdict, error) {
		return hooks.Verdict{}, ev.SetEncryption(m, e)
	}
	policies := []hooks.Handler{
		handlerAt(hooks.ReceiveData, func(ev *hooks.Event) (hooks.Verdict, error) {
			if ev.Tx.Sender == "fork@a.example" {
				return hooks.Verdict{}, nil
			}
			return seal(ev, ev.Msg)
		}),
		handlerAt(hooks.ReceiveData, func(ev *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{}, ev.AppendText(ev.Msg, mime.Text{Text: "-- \n"}, mime.Text{Name: "who", Text: "the foot"})
		}),
		handlerAt(hooks.QueueExpand, func(ev *hooks.Event) (hooks.Verdict, error) {
			if ev.Msg.Sender != "fork@a.example" || ev.Rcpt.Address != "alice@our.example" || ev.Msg.Header.Has("Content-Type") &&
				strings.Contains(ev.Msg.Header.All("Content-Type")[0], "encrypted") {
				return hooks.Verdict{}, nil
			}
			m, err := ev.Fork(ev.Rcpt)
			if err != nil {
				return hooks.Verdict{}, err
			}
			return seal(ev, m)
		}),
	}
	srv := newTestServer(t, core.Config{}, policies...)
	eight := strings.Replace(plainMessage, "hello", "olá", 1)
	for _, sender := range []envelope.Address{"a@a.example", "fork@a.example"} {
		srv.mustSend(newSession(), sender, eight, "alice@our.example", "bob@our.example")
	}
	srv.waitIdle()
	for who, want := range map[envelope.Address][]bool{"alice@our.example": {true, true}, "bob@our.example": {true, false}} {
		got := srv.mailbox(who, "INBOX")
		if len(got) != len(want) {
			t.Fatalf("%s has %d messages, want 2", who, len(got))
		}
		for _, text := range got {
			sealed := want[0]
			if strings.Contains(text, "<fork@a.example>") {
				sealed = want[1]
			}
			if strings.Contains(text, "the foot") == sealed {
				t.Errorf("%s: want encrypted %v, got %q", who, sealed, text)
			}
			if !sealed {
				continue
			}
			inside, err := key.Decrypt([]byte(text))
			if s := string(inside); err != nil || !strings.Contains(s, "Content-Type: text/plain") || !strings.Contains(s, "=C3=A1") ||
				!strings.HasSuffix(strings.TrimSpace(strings.ReplaceAll(s, "=\r\n", "")), "the foot") {
				t.Errorf("%s: decrypted to %q, %v, want the part with the appended text", who, inside, err)
			}
		}
	}
	for n, err := range srv.store.Messages(t.Context()) {
		t.Errorf("message left in the spool: %v, %v", n, err)
	}
	srv.clock.Advance(48 * time.Hour) // the key has expired now
	for _, sender := range []envelope.Address{"a@a.example", "fork@a.example"} {
		if st := srv.send(newSession(), &envelope.Transaction{Sender: sender}, plainMessage, "alice@our.example"); st == nil || st.Code != 451 {
			t.Errorf("%s: got reply %v, want 451", sender, st)
		}
	}
	srv.waitIdle()
	if n := len(srv.mailbox("alice@our.example", "INBOX")); n != 2 || srv.spoolCount() != 0 {
		t.Errorf("%d messages, %d in the spool, want 2 and 0", n, srv.spoolCount())
	}
}
