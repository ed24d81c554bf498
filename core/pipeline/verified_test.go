package pipeline_test

import (
	"strings"
	"testing"

	"carteiro/core"
	"carteiro/hooks"
)

func TestVerifiedOnceAndTold(t *testing.T) {
	var at1, at2 string
	h := newHouse(t, core.Config{}, at(hooks.ReceiveData, func(e *hooks.Event) (hooks.Verdict, error) {
		a, err := e.Msg.Auth(t.Context())
		if err != nil {
			return hooks.Verdict{}, err
		}
		at1 = a.SPF.Result + " " + a.DMARC.Result + " " + a.DMARC.Policy
		return hooks.Verdict{}, nil
	}), at(hooks.DeliverLocal, func(e *hooks.Event) (hooks.Verdict, error) {
		a, err := e.Msg.Auth(t.Context())
		if err != nil {
			return hooks.Verdict{}, err
		}
		at2 = a.SPF.Result + " " + a.DMARC.Result + " " + a.DMARC.Policy
		return hooks.Verdict{}, nil
	}))
	forged := "Authentication-Results: mx.our.example; dmarc=pass\r\n" + plain
	h.accept(session(), "x@a.example", forged, "alice@our.example")
	h.idle()
	if at1 != "pass pass reject" || at2 != at1 {
		t.Errorf("at receive.data %q, at deliver.local %q", at1, at2)
	}
	got := h.box("alice@our.example", "INBOX")[0]
	if !strings.Contains(got, "Authentication-Results: mx.our.example; spf=pass smtp.mailfrom=a.example;") ||
		strings.Contains(got, "example; dmarc=pass\r\n") {
		t.Errorf("fields of %s", got)
	}
}

func TestUnaskedIsUnverified(t *testing.T) {
	h := newHouse(t, core.Config{})
	h.accept(session(), "x@a.example", plain, "alice@our.example")
	h.idle()
	if got := h.box("alice@our.example", "INBOX")[0]; strings.Contains(got, "Authentication-Results") {
		t.Errorf("results that nobody asked for: %s", got)
	}
}
