package pipeline_test

import (
	"strings"
	"testing"

	"carteiro/core"
	"carteiro/hooks"
)

func TestVerifiedOnceAndTold(t *testing.T) {
	var at1, at2 string
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
		a, err := e.Msg.Auth(t.Context())
		if err != nil {
			return hooks.Verdict{}, err
		}
		at1 = a.SPF.Result + " " + a.DMARC.Result + " " + a.DMARC.Policy
		return hooks.Verdict{}, nil
	}), handlerAt(hooks.DeliverLocal, func(e *hooks.Event) (hooks.Verdict, error) {
		a, err := e.Msg.Auth(t.Context())
		if err != nil {
			return hooks.Verdict{}, err
		}
		at2 = a.SPF.Result + " " + a.DMARC.Result + " " + a.DMARC.Policy
		return hooks.Verdict{}, nil
	}))
	forged := "Authentication-Results: mx.our.example; dmarc=pass\r\n" + plainMessage
	srv.mustSend(newSession(), "x@a.example", forged, "alice@our.example")
	srv.waitIdle()
	if at1 != "pass pass reject" || at2 != at1 {
		t.Errorf("at receive.data got %q, at deliver.local %q, want \"pass pass reject\"", at1, at2)
	}
	got := srv.mailbox("alice@our.example", "INBOX")[0]
	if !strings.Contains(got, "Authentication-Results: mx.our.example; spf=pass smtp.mailfrom=a.example;") ||
		strings.Contains(got, "example; dmarc=pass\r\n") {
		t.Errorf("unexpected Authentication-Results fields: %s", got)
	}
}

func TestUnaskedIsUnverified(t *testing.T) {
	srv := newTestServer(t, core.Config{})
	srv.mustSend(newSession(), "x@a.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	if got := srv.mailbox("alice@our.example", "INBOX")[0]; strings.Contains(got, "Authentication-Results") {
		t.Errorf("Authentication-Results without a policy that asked: %s", got)
	}
}
