package pipeline_test

import (
	"errors"
	"testing"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

func TestWeb(t *testing.T) {
	answer := func(body string) func(*hooks.Event) (hooks.Verdict, error) {
		return func(e *hooks.Event) (hooks.Verdict, error) {
			if err := e.AddEffect(envelope.Effect{Space: "s", Op: envelope.Incr, Key: body, N: 1}); err != nil {
				return hooks.Verdict{}, err
			}
			return hooks.Verdict{Action: hooks.Respond, Response: &hooks.Response{Status: 200, Body: body}}, nil
		}
	}
	at := func(bundle, path string, call func(*hooks.Event) (hooks.Verdict, error)) hooks.Handler {
		return goHandler{hooks.Info{Point: hooks.WebRequest, Bundle: bundle, Path: path, File: path}, call}
	}
	srv := newTestServer(t, core.Config{}, at("acme/lists", "/leave", answer("leave")), at("", "/hello", answer("hello")),
		at("acme/lists", "/broken", func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, errors.New("boom") }),
		at("acme/lists", "/silent", func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, nil }))
	tests := []struct {
		bundle, path, body string
		status             int // 0: nobody answers
	}{
		{"lists", "/leave", "leave", 200}, {"lists", "/leave/token", "leave", 200}, {"scripts", "/hello", "hello", 200},
		{"lists", "/hello", "", 0}, {"scripts", "/leave", "", 0}, {"lists", "/leaveme", "", 0}, {"acme/lists", "/leave", "", 0},
		{"lists", "/broken", "internal error\n", 500}, {"lists", "/silent", "", 0},
	}
	for _, tt := range tests {
		got, ok := srv.Web(t.Context(), tt.bundle, &hooks.Request{Path: tt.path})
		if ok != (tt.status > 0) || got.Status != tt.status || got.Body != tt.body {
			t.Errorf("%s%s: got %+v, %v", tt.bundle, tt.path, got, ok)
		}
	}
	if v, err := srv.store.Get(t.Context(), "s", "leave"); err != nil || string(v) != "2" {
		t.Errorf("effects: got %q, %v", v, err)
	}
}
