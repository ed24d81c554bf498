package lua_test

import (
	"context"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

func TestAuth(t *testing.T) {
	w := hookstest.New(t).Script(`
on("receive.data", function(session, tx, msg)
  local a = msg:auth()
  if a.dmarc.result == "fail" and a.dmarc.policy == "reject" then
    return reject(550, "5.7.26", a.spf.result .. " " .. a.dkim.domain .. " " .. #a.dkim.signatures .. " " .. tostring(a.spf.domain))
  end
end)`)
	if h := w.Generation.Chain.Handlers(hooks.ReceiveData)[0]; !h.Info().MayBlock {
		t.Error("a handler that calls msg:auth() is in the fast pool")
	}
	e := dataEvent(plainMail)
	if a := w.Ask(e); a.Err() != "" || a.Action != hooks.Continue {
		t.Errorf("without a client: %v %s", a.Verdict, a.Err())
	}
	e = dataEvent(plainMail)
	asked := 0
	e.Msg.Auth = func(context.Context) (*envelope.AuthResults, error) {
		asked++
		return &envelope.AuthResults{SPF: envelope.AuthResult{Result: "fail"}, DKIM: []envelope.AuthResult{{Result: "fail", Domain: "b.example"}},
			DMARC: envelope.AuthResult{Result: "fail", Domain: "a.example", Policy: "reject"}}, nil
	}
	if a := w.Ask(e); a.Err() != "" || a.Status.Text != "fail b.example 1 nil" || asked != 1 {
		t.Errorf("%v %s, asked %d times", a.Verdict, a.Err(), asked)
	}
}
