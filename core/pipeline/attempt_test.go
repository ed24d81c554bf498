package pipeline_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/hooks"
)

// Fields that a policy sets at deliver.attempt are sent only with that attempt, are
// counted in the size, and cannot be set for mailboxes here.
func TestFieldsOfAnAttempt(t *testing.T) {
	var here error
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.DeliverAttempt, func(e *hooks.Event) (hooks.Verdict, error) {
		err := e.EditHeader(e.Msg, "X-Try", func(hd *mime.Header) error { return hd.Set("X-Try", fmt.Sprint(e.Attempt.Number)) })
		if e.Group.Kind == envelope.Mailbox {
			here = err
			return hooks.Verdict{}, nil
		}
		if _, err := e.Msg.Header.Get("Subject"); !err {
			return hooks.Verdict{}, errors.New("no Subject")
		}
		return hooks.Verdict{}, err
	}))
	tries := 0
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		if tries++; tries == 1 {
			return envelope.Outcome{Status: envelope.Status{Code: 451, Text: "later"}}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\nSubject: hi\r\n\r\nbody\r\n",
		"x@out.example", "bob@our.example")
	srv.waitIdle()
	srv.clock.Advance(6 * time.Minute)
	srv.waitIdle()
	sent := srv.transport.messages()
	if len(sent) != 2 {
		t.Fatalf("%d attempts, want 2", len(sent))
	}
	for i, s := range sent {
		if !strings.Contains(s.text, fmt.Sprintf("X-Try: %d\r\n", i+1)) || strings.Count(s.text, "X-Try") != 1 ||
			!strings.HasSuffix(s.text, "\r\n\r\nbody\r\n") {
			t.Errorf("attempt %d: want its own X-Try field, once, and the body: %s", i+1, s.text)
		}
		if s.size != int64(len(s.text)) {
			t.Errorf("attempt %d has %d octets, but size %d", i+1, len(s.text), s.size)
		}
	}
	if !errors.Is(here, hooks.ErrNotHere) || strings.Contains(srv.mailbox("bob@our.example", "INBOX")[0], "X-Try") {
		t.Errorf("edit for a mailbox: got error %v, want ErrNotHere and no field in the mailbox", here)
	}
}
