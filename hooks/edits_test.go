package hooks_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/hooks"
)

// edits are all changes that a handler can make, with what allows them.
var edits = []struct {
	name string
	may  hooks.Changes
	do   func(e *hooks.Event) error
}{
	{"sender", hooks.ChangeSender, func(e *hooks.Event) error { return e.SetSender("new@x.example") }},
	{"address", hooks.ChangeAddress, func(e *hooks.Event) error {
		return e.SetAddress(e.Rcpt.Recipient, "new@x.example", envelope.Change{Hook: "h"})
	}},
	{"new meta", hooks.ChangeMeta, func(e *hooks.Event) error { return e.SetMeta(&e.Tx.Meta, "new", "v") }},
	{"changed meta", hooks.ChangeMeta, func(e *hooks.Event) error { return e.SetMeta(&e.Rcpt.Meta, "old", "v") }},
	{"deleted meta", hooks.ChangeMeta, func(e *hooks.Event) error { return e.SetMeta(&e.Rcpt.Meta, "old", nil) }},
	{"replace", hooks.ChangeRecipients, func(e *hooks.Event) error { return e.Replace(e.Rcpt, nil) }},
	{"copy", hooks.ChangeCopies, func(e *hooks.Event) error {
		return e.CopyTo(e.Rcpt, []hooks.Target{{Address: "a@x.example"}, {Address: "b@x.example"}})
	}},
	{"own field", hooks.ChangeOwnFields, func(e *hooks.Event) error {
		return e.SetEdit(e.Rcpt, "field", envelope.HeaderEdit{Prepend: "A: b\r\n"})
	}},
	{"group", hooks.ChangeGroup, func(e *hooks.Event) error {
		return e.SetGroup("key", func(g *envelope.Group) { g.Key, g.Priority, g.Expires = "k", 3, time.Unix(9, 0) })
	}},
	{"text", hooks.ChangeText, func(e *hooks.Event) error { return e.SetText("new") }},
	{"header", hooks.ChangeMessage | hooks.ChangeAttempt, func(e *hooks.Event) error {
		return e.EditHeader(e.Msg, "set", func(h *mime.Header) error { return h.Set("Subject", "new") })
	}},
	{"part", hooks.ChangeMessage, func(e *hooks.Event) error { return e.EditPart(e.Msg, "part", mime.PartEdit{Text: "x"}) }},
	{"score", hooks.ChangeScore, func(e *hooks.Event) error { return e.AddScore(hooks.Score{Name: "X", Points: 2}) }},
	{"priority", hooks.ChangeScore, func(e *hooks.Event) error { return e.SetPriority(5) }},
	{"effect", hooks.ChangeEffects, func(e *hooks.Event) error { return e.AddEffect(envelope.Effect{Key: "k"}) }},
	{"submit", hooks.ChangeEffects, func(e *hooks.Event) error { return e.AddSubmit(hooks.Submit{Sender: "x@x.example"}) }},
}

func event(p hooks.Point) *hooks.Event {
	return &hooks.Event{Point: p, Now: time.Unix(1, 0), Session: &envelope.Session{},
		Tx: &envelope.Transaction{Sender: "old@x.example"},
		Rcpt: &hooks.Rcpt{Recipient: &envelope.Recipient{Address: "old@our.example", Meta: map[string]any{"old": "x"},
			Edit: envelope.HeaderEdit{Prepend: "Old: x\r\n"}}},
		Msg: &hooks.Message{Sender: "old@x.example", Header: mime.ParseHeader([]byte("Subject: old\r\n")),
			Scores: []hooks.Score{{Name: "OLD", Points: 1}}},
		Group:   &envelope.Group{Kind: envelope.Remote, Key: "old", Domain: "old.example"},
		DSN:     &hooks.DSN{Text: "old"},
		Pending: &hooks.Pending{Effects: []envelope.Effect{{Key: "old"}}, Submits: []hooks.Submit{{Sender: "old@x.example"}}},
		Apply:   func([]envelope.Effect, []hooks.Submit) error { return nil }}
}

// picture is everything an edit could have changed.
func picture(t *testing.T, e *hooks.Event) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"tx": e.Tx, "rcpt": e.Rcpt, "group": e.Group, "dsn": e.DSN, "pending": e.Pending,
		"sender": e.Msg.Sender,
		"header": string(e.Msg.Header.Bytes()), "scores": e.Msg.Scores, "priority": e.Msg.Priority, "edits": len(e.Msg.Edits)})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRollback: at every hook, each edit either is refused or counts when the
// handler returns, and is gone when it fails, whichever way.
func TestRollback(t *testing.T) {
	for _, s := range hooks.Specs() {
		for _, edit := range edits {
			allowed := s.Changes&edit.may != 0
			var refused error
			chain := func(after func() (hooks.Verdict, error)) *hooks.Chain {
				return hooks.NewChain([]hooks.Handler{policy{info: hooks.Info{Point: s.Point}, call: func(e *hooks.Event) (hooks.Verdict, error) {
					if refused = edit.do(e); refused != nil {
						return hooks.Verdict{}, refused
					}
					return after()
				}}})
			}
			e := event(s.Point)
			before := picture(t, e)
			chain(func() (hooks.Verdict, error) { return hooks.Verdict{}, nil }).Run(context.Background(), e)
			changed := picture(t, e) != before
			if effect := edit.may == hooks.ChangeEffects && !s.InCommit; effect {
				changed = allowed // it was handed to Apply
			}
			if changed != allowed || allowed != (refused == nil) || refused != nil && !errors.Is(refused, hooks.ErrNotHere) {
				t.Errorf("%s, %s: allowed %v, changed %v, error %v", s.Point, edit.name, allowed, changed, refused)
			}
			if !allowed {
				continue
			}
			for how, after := range map[string]func() (hooks.Verdict, error){
				"error":   func() (hooks.Verdict, error) { return hooks.Verdict{}, errBroken },
				"panic":   func() (hooks.Verdict, error) { panic("x") },
				"verdict": func() (hooks.Verdict, error) { return hooks.Verdict{Action: 99}, nil },
			} {
				e := event(s.Point)
				before := picture(t, e)
				_, trail := chain(after).Run(context.Background(), e)
				if e.Tx.Meta != nil && len(e.Tx.Meta) == 0 {
					e.Tx.Meta = nil // an empty table is as good as none
				}
				if after := picture(t, e); after != before {
					t.Errorf("%s, %s, %s: left\n%s\nwant\n%s", s.Point, edit.name, how, after, before)
				}
				if len(trail) != 1 || len(trail[0].Changes) != 0 {
					t.Errorf("%s, %s, %s: trail %+v", s.Point, edit.name, how, trail)
				}
			}
		}
	}
}

// TestRollbackIsPerHandler: what the handler before did stays, and several
// edits of one handler go in the right order.
func TestRollbackIsPerHandler(t *testing.T) {
	good := policy{info: hooks.Info{Point: hooks.ReceiveData, Order: 1}, call: func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, errors.Join(e.SetSender("good@x.example"), e.AddScore(hooks.Score{Name: "GOOD"}),
			e.AddEffect(envelope.Effect{Key: "good"}),
			e.SetMeta(&e.Tx.Meta, "k", "good"))
	}}
	bad := policy{info: hooks.Info{Point: hooks.ReceiveData, Order: 2, OnError: hooks.FailContinue}, call: func(e *hooks.Event) (hooks.Verdict,
		error) {
		e.SetSender("bad1@x.example")
		e.SetSender("bad2@x.example")
		e.AddScore(hooks.Score{Name: "BAD1"})
		e.AddScore(hooks.Score{Name: "BAD2"})
		e.AddEffect(envelope.Effect{Key: "bad"})
		e.SetMeta(&e.Tx.Meta, "k", "bad")
		e.SetMeta(&e.Tx.Meta, "k", nil)
		undone := false
		e.OnUndo("outside", func() { undone = true })
		t.Cleanup(func() {
			if !undone {
				t.Error("the undo of an engine was not called")
			}
		})
		return hooks.Verdict{}, errBroken
	}}
	last := policy{info: hooks.Info{Point: hooks.ReceiveData, Order: 3}, call: func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.AddScore(hooks.Score{Name: "LAST"})
	}}
	e := event(hooks.ReceiveData)
	hooks.NewChain([]hooks.Handler{last, bad, good}).Run(context.Background(), e)
	if e.Tx.Sender != "good@x.example" || e.Msg.Sender != "good@x.example" || e.Tx.Meta["k"] != "good" {
		t.Errorf("sender %s, meta %v", e.Tx.Sender, e.Tx.Meta)
	}
	names := ""
	for _, s := range e.Msg.Scores {
		names += s.Name + " "
	}
	if names != "OLD GOOD LAST " || len(e.Pending.Effects) != 2 || e.Pending.Effects[1].Key != "good" {
		t.Errorf("scores %s, effects %v", names, e.Pending.Effects)
	}
}
