package pipeline_test

import (
	"errors"
	"strings"
	"testing"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// Hooks also run for messages that result from a commit: DSNs and mail of policies.
// Their effects are in the same commit, and they see the effects that were there
// before.
func TestEffectsOfMailInTheSameCommit(t *testing.T) {
	const space = "s"
	set := func(e *hooks.Event, key string) error {
		return e.AddEffect(envelope.Effect{Space: space, Op: envelope.Set, Key: key, Value: []byte("x")})
	}
	submit := hooks.Submit{Sender: "alice@our.example", Rcpts: []envelope.Address{"bob@our.example"},
		Header: []byte("From: alice@our.example\r\nSubject: more\r\n\r\n"), Body: []byte("x\r\n")}
	expand := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		subject, _ := e.Msg.Header.Get("Subject")
		switch {
		case subject == "hi" && e.Rcpt.Address == "alice@our.example":
			return hooks.Verdict{}, errors.Join(set(e, "cause"), e.AddSubmit(submit))
		case subject == "more":
			if e.Pending.Effects[0].Key != "cause" && e.Pending.Effects[0].Key != "web" {
				return hooks.Verdict{}, errors.New("does not see what caused it")
			}
			return hooks.Verdict{}, set(e, "submitted")
		case strings.HasPrefix(subject, "Undelivered"):
			return hooks.Verdict{}, set(e, "report")
		}
		return hooks.Verdict{}, nil
	})
	web := goHandler{
		hooks.Info{Point: hooks.WebRequest, File: "policy.lua", Line: 1, Path: "/x"},
		func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{Action: hooks.Respond, Response: &hooks.Response{Status: 200}}, errors.Join(set(e, "web"), e.AddSubmit(submit))
		},
	}
	srv := newTestServer(t, core.Config{}, expand, web)
	stored := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			if _, err := srv.store.Get(t.Context(), space, key); err != nil {
				t.Errorf("no value of %s: %v", key, err)
			}
		}
		srv.store.Apply(t.Context(), []envelope.Effect{{Space: space, Op: envelope.Delete, Key: "submitted"}})
	}
	if got, ok := srv.Web(t.Context(), "scripts", &hooks.Request{Path: "/x"}); !ok || got.Status != 200 {
		t.Fatalf("web.request: got %+v, want status 200", got)
	}
	stored("web", "submitted")
	srv.mustSend(newSession(), "bob@our.example", plainMessage, "alice@our.example")
	stored("cause", "submitted")
	srv.transport.answer = func(envelope.NextHop, *envelope.Recipient) envelope.Outcome {
		return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no"}}
	}
	srv.mustSend(newUserSession("bob@our.example"), "bob@our.example", strings.Replace(plainMessage, "a@a.example", "bob@our.example", 1),
		"x@out.example")
	srv.waitIdle()
	stored("report")
}
