package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// ExplainArgs name a message by id, or an address: then the answer is the latest
// messages from or to it.
type ExplainArgs struct {
	What  string `json:"what"`
	Limit int    `json:"limit,omitempty"` // messages; default 10
}

// MessageTrail is what happened to one message.
type MessageTrail struct {
	ID       string                `json:"id"`
	Received time.Time             `json:"received"`
	Queued   bool                  `json:"queued"` // still in the spool
	Envelope *envelope.Envelope    `json:"envelope,omitempty"`
	Trail    []envelope.TrailEntry `json:"trail"`
}

// searched is how many trails a search by address reads at most.
const searched = 20_000

func explain(ctx context.Context, s *Service, args ExplainArgs) (any, error) {
	if !strings.Contains(args.What, "@") {
		id, err := envelope.ParseID(args.What)
		if err != nil {
			return nil, err
		}
		trail, err := s.messageTrail(ctx, id)
		if err == nil && len(trail.Trail) == 0 && !trail.Queued {
			err = fmt.Errorf("message %s: %w", id, store.ErrNotFound)
		}
		return []MessageTrail{trail}, err
	}
	if args.Limit == 0 {
		args.Limit = 10
	}
	out := []MessageTrail{}
	for id, err := range s.Store.Trails(ctx, searched) {
		if err != nil {
			return nil, err
		}
		entries, err := s.Store.Trail(ctx, id)
		if err != nil {
			return nil, err
		}
		if !mentionsAddress(entries, args.What) {
			continue
		}
		trail, err := s.messageTrail(ctx, id)
		if err != nil {
			return nil, err
		}
		if out = append(out, trail); len(out) >= args.Limit {
			break
		}
	}
	return out, nil
}

// mentionsAddress reports whether a trail is about an address.
func mentionsAddress(trail []envelope.TrailEntry, address string) bool {
	for _, t := range trail {
		if string(t.Rcpt) == address || strings.Contains(t.Text, "<"+address+">") {
			return true
		}
	}
	return false
}

// messageTrail reads the trail of one message.
func (s *Service) messageTrail(ctx context.Context, id envelope.ID) (MessageTrail, error) {
	trail := MessageTrail{ID: id.String(), Received: id.Time()}
	env, err := s.Store.Envelope(ctx, id)
	switch {
	case err == nil:
		trail.Queued, trail.Envelope = true, env
	case !errors.Is(err, store.ErrNotFound):
		return trail, err
	}
	trail.Trail, err = s.Store.Trail(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return trail, err
}

// Refused reports whether the message was refused, so that it never was in the
// queue.
func (s *MessageTrail) Refused() bool {
	for _, t := range s.Trail {
		if t.Step == "receive" && t.Verdict == "not accepted" {
			return !s.Queued
		}
	}
	return false
}
