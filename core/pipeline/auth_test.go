package pipeline_test

import (
	"errors"
	"testing"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

func TestAuthAndPolicies(t *testing.T) {
	good := &envelope.Credentials{Mechanism: "PLAIN", User: "alice@our.example", Password: "secret"}
	bad := &envelope.Credentials{Mechanism: "PLAIN", User: "alice@our.example", Password: "wrong"}
	outside := &envelope.Credentials{Mechanism: "PLAIN", User: "ldap@our.example", Password: "x"}
	accept := hooks.Verdict{Action: hooks.Accept, Identity: map[string]any{"group": "staff"}}
	tests := []struct {
		name   string
		policy func(*hooks.Event) (hooks.Verdict, error)
		cred   *envelope.Credentials
		user   envelope.Address
		code   int
	}{
		{"no policy, good", nil, good, "alice@our.example", 0},
		{"no policy, bad", nil, bad, "", 535},
		{"accepted from outside", func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Cred.Verified {
				return hooks.Verdict{}, errors.New("verified by whom?")
			}
			return accept, nil
		}, outside, "ldap@our.example", 0},
		{"as another user", func(*hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{Action: hooks.Accept, Identity: map[string]any{"user": "bob@our.example"}}, nil
		}, outside, "bob@our.example", 0},
		{"turned away", func(*hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 535, Text: "not today"}}, nil
		}, good, "", 535},
		{"policy fails, good", func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, errors.New("boom") }, good, "", 454},
		{"policy silent, bad", func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, nil }, bad, "", 535},
	}
	for _, tt := range tests {
		var handlers []hooks.Handler
		if tt.policy != nil {
			handlers = append(handlers, handlerAt(hooks.ReceiveAuth, tt.policy))
		}
		srv := newTestServer(t, core.Config{}, handlers...)
		id, st := srv.Auth(t.Context(), newSession(), tt.cred)
		switch {
		case tt.code == 0 && (st != nil || id == nil || id.User != tt.user):
			t.Errorf("%s: got %+v, %v; want user %s", tt.name, id, st, tt.user)
		case tt.code != 0 && (id != nil || st == nil || st.Code != tt.code):
			t.Errorf("%s: got %+v, %v; want code %d", tt.name, id, st, tt.code)
		}
		srv.stop()
	}
}
