package hooks

import (
	"testing"
	"time"

	"carteiro/core/message/envelope"
)

func TestRate(t *testing.T) {
	for r, want := range map[Rate]string{{10, time.Minute}: "10/1m", {3, time.Hour}: "3/1h", {5, 90 * time.Second}: "5/1m30s"} {
		if r.String() != want {
			t.Errorf("%s, want %s", r, want)
		}
	}
}

// TestObservedDomains: a handler hears of the domains it is for.
func TestObservedDomains(t *testing.T) {
	for _, tt := range []struct {
		domains, except []string
		to              string
		want            bool
	}{
		{nil, nil, "x@a.example", true}, {[]string{"a.example"}, nil, "x@a.example", true}, {[]string{"b.example"}, nil, "x@a.example", false},
		{nil, []string{"a.example"}, "x@a.example", false}, {nil, []string{"b.example"}, "x@a.example", true},
		{[]string{"a.example"}, nil, "", false},
	} {
		e := &Event{Observed: &Observed{Data: map[string]any{"to": tt.to}}}
		if got := len(tt.domains)+len(tt.except) == 0 || (&Info{Domains: tt.domains, Except: tt.except}).Applies(e); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestDomainAtHand(t *testing.T) {
	ours := func(d string) bool { return d == "a.example" || d == "b.example" }
	rcpts := func(list ...string) (out []*envelope.Recipient) {
		for _, a := range list {
			out = append(out, &envelope.Recipient{Address: envelope.Address(a), Orig: envelope.Address(a)})
		}
		return out
	}
	tx := func(list ...string) *envelope.Transaction { return &envelope.Transaction{Recipients: rcpts(list...)} }
	user := func(a string) *envelope.Session {
		return &envelope.Session{Identity: &envelope.Identity{User: envelope.Address(a)}}
	}
	for name, c := range map[string]struct {
		e    Event
		want string
	}{
		"nothing":         {Event{}, ""},
		"login":           {Event{Cred: &Cred{Credentials: &envelope.Credentials{User: "X@A.example"}}}, "a.example"},
		"login elsewhere": {Event{Cred: &Cred{Credentials: &envelope.Credentials{User: "x"}}, Session: user("x@b.example")}, ""},
		"recipient":       {Event{Rcpt: &Rcpt{Recipient: rcpts("x@a.example")[0]}, Session: user("x@b.example")}, "a.example"},
		"recipient as given": {Event{Rcpt: &Rcpt{Recipient: &envelope.Recipient{Address: "x@far.example", Orig: "x@b.example"}}},
			"b.example"},
		"far recipient":     {Event{Rcpt: &Rcpt{Recipient: rcpts("x@far.example")[0]}, Session: user("x@b.example")}, "b.example"},
		"one domain":        {Event{Tx: tx("x@far.example", "x@a.example", "y@a.example"), Session: user("x@b.example")}, "a.example"},
		"two domains":       {Event{Tx: tx("x@a.example", "y@b.example"), Session: user("x@b.example")}, ""},
		"only far":          {Event{Tx: tx("x@far.example"), Session: user("x@b.example")}, "b.example"},
		"stranger's sender": {Event{Tx: tx("x@far.example"), Session: &envelope.Session{}, Msg: &Message{Sender: "x@a.example"}}, ""},
		"outgoing without session": {Event{Rcpt: &Rcpt{Recipient: rcpts("x@far.example")[0]}, Msg: &Message{Sender: "x@b.example"},
			Outgoing: "a.example"}, "a.example"},
		"claimed sender": {Event{Rcpt: &Rcpt{Recipient: rcpts("x@far.example")[0]}, Msg: &Message{Sender: "x@a.example"}}, ""},
		"group":          {Event{Group: &envelope.Group{Domain: "b.example"}}, "b.example"},
		"route":          {Event{Domain: "b.example"}, "b.example"},
		"observed":       {Event{Observed: &Observed{Data: map[string]any{"orig": "x@a.example", "to": "y@b.example"}}}, "a.example"},
		"observed, two domains": {Event{Observed: &Observed{Data: map[string]any{"to": []any{"x@a.example", "y@b.example"},
			"user": "x@a.example"}}}, ""},
		"observed login": {Event{Observed: &Observed{Data: map[string]any{"user": "x@a.example"}}}, "a.example"},
		"timer":          {Event{Point: TimerTick, Domain: "a.example"}, "a.example"},
	} {
		if got := c.e.DomainAtHand(ours); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
