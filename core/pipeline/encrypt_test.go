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

// TestEncrypted: a message is encrypted behind all other edits, with what
// handlers after the one that asked for it did, at receive.data and for one
// recipient; one that cannot be is refused for now and nothing of it is kept.
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
		at(hooks.ReceiveData, func(ev *hooks.Event) (hooks.Verdict, error) {
			if ev.Tx.Sender == "fork@a.example" {
				return hooks.Verdict{}, nil
			}
			return seal(ev, ev.Msg)
		}),
		at(hooks.ReceiveData, func(ev *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{}, ev.AppendText(ev.Msg, mime.Text{Text: "-- \n"}, mime.Text{Name: "who", Text: "the foot"})
		}),
		at(hooks.QueueExpand, func(ev *hooks.Event) (hooks.Verdict, error) {
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
	h := newHouse(t, core.Config{}, policies...)
	eight := strings.Replace(plain, "hello", "olá", 1)
	for _, sender := range []envelope.Address{"a@a.example", "fork@a.example"} {
		h.accept(session(), sender, eight, "alice@our.example", "bob@our.example")
	}
	h.idle()
	for who, want := range map[envelope.Address][]bool{"alice@our.example": {true, true}, "bob@our.example": {true, false}} {
		got := h.box(who, "INBOX")
		if len(got) != len(want) {
			t.Fatalf("%s has %d messages", who, len(got))
		}
		for _, text := range got {
			sealed := want[0]
			if strings.Contains(text, "<fork@a.example>") {
				sealed = want[1]
			}
			if strings.Contains(text, "the foot") == sealed {
				t.Errorf("%s: encrypted is to be %v: %q", who, sealed, text)
			}
			if !sealed {
				continue
			}
			inside, err := key.Decrypt([]byte(text))
			if s := string(inside); err != nil || !strings.Contains(s, "Content-Type: text/plain") || !strings.Contains(s, "=C3=A1") ||
				!strings.HasSuffix(strings.TrimSpace(strings.ReplaceAll(s, "=\r\n", "")), "the foot") {
				t.Errorf("%s: inside is %q, %v", who, inside, err)
			}
		}
	}
	for n, err := range h.store.Messages(t.Context()) {
		t.Errorf("left: %v, %v", n, err)
	}
	h.clock.Advance(48 * time.Hour) // between the policy's look at the key and its use, so to speak
	for _, sender := range []envelope.Address{"a@a.example", "fork@a.example"} {
		if st := h.offer(session(), &envelope.Transaction{Sender: sender}, plain, "alice@our.example"); st == nil || st.Code != 451 {
			t.Errorf("%s: answer %v", sender, st)
		}
	}
	h.idle()
	if n := len(h.box("alice@our.example", "INBOX")); n != 2 || h.spooled() != 0 {
		t.Errorf("%d messages, %d in the spool", n, h.spooled())
	}
}
