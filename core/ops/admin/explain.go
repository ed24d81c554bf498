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

// ExplainArgs name a message by id, or an address: then the latest messages
// from or to it are told.
type ExplainArgs struct {
	What  string `json:"what"`
	Limit int    `json:"limit,omitempty"` // messages; default 10
}

// Story is what happened to one message.
type Story struct {
	ID       string                `json:"id"`
	Received time.Time             `json:"received"`
	Queued   bool                  `json:"queued"` // still in the spool
	Envelope *envelope.Envelope    `json:"envelope,omitempty"`
	Trail    []envelope.TrailEntry `json:"trail"`
}

// searched bounds how many trails a search by address looks at.
const searched = 20_000

func (s *Service) explain(ctx context.Context, args ExplainArgs) (any, error) {
	if !strings.Contains(args.What, "@") {
		id, err := envelope.ParseID(args.What)
		if err != nil {
			return nil, err
		}
		story, err := s.story(ctx, id)
		if err == nil && len(story.Trail) == 0 && !story.Queued {
			err = fmt.Errorf("message %s: %w", id, store.ErrNotFound)
		}
		return []Story{story}, err
	}
	if args.Limit == 0 {
		args.Limit = 10
	}
	out := []Story{}
	for id, err := range s.Store.Trails(ctx, searched) {
		if err != nil {
			return nil, err
		}
		trail, err := s.Store.Trail(ctx, id)
		if err != nil {
			return nil, err
		}
		if !mentions(trail, args.What) {
			continue
		}
		story, err := s.story(ctx, id)
		if err != nil {
			return nil, err
		}
		if out = append(out, story); len(out) >= args.Limit {
			break
		}
	}
	return out, nil
}

func mentions(trail []envelope.TrailEntry, address string) bool {
	for _, t := range trail {
		if string(t.Rcpt) == address || strings.Contains(t.Text, "<"+address+">") {
			return true
		}
	}
	return false
}

func (s *Service) story(ctx context.Context, id envelope.ID) (Story, error) {
	story := Story{ID: id.String(), Received: id.Time()}
	env, err := s.Store.Envelope(ctx, id)
	switch {
	case err == nil:
		story.Queued, story.Envelope = true, env
	case !errors.Is(err, store.ErrNotFound):
		return story, err
	}
	story.Trail, err = s.Store.Trail(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return story, err
}

// Refused reports whether the message was refused, so that it never was in the
// queue.
func (s *Story) Refused() bool {
	for _, t := range s.Trail {
		if t.Step == "receive" && t.Verdict == "not accepted" {
			return !s.Queued
		}
	}
	return false
}
