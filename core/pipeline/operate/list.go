package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Filter selects messages of the queue; empty fields select all.
type Filter struct {
	ID        string        `json:"id,omitempty"`
	Sender    string        `json:"sender,omitempty"`
	To        string        `json:"to,omitempty"`
	Domain    string        `json:"domain,omitempty"` // of a recipient
	OlderThan time.Duration `json:"older,omitempty"`
	Status    string        `json:"status,omitempty"` // queued, deferred, held, quarantine
}

// Empty reports whether the filter selects everything.
func (f Filter) Empty() bool { return f == Filter{} }

// Queued is a message of the queue with its groups and recipients.
type Queued struct {
	Envelope *envelope.Envelope
	Groups   []*envelope.Group
}

// Status returns the word that `queue list` and Filter.Status use for a group.
func Status(g *envelope.Group) string {
	switch {
	case g.Held && slices.ContainsFunc(g.Recipients, func(r envelope.Recipient) bool { return r.State == envelope.Quarantine }):
		return "quarantine"
	case g.Held:
		return "held"
	case g.Attempts > 0:
		return "deferred"
	}
	return "queued"
}

func (f Filter) matches(q Queued, now time.Time) bool {
	if f.Sender != "" && f.Sender != string(q.Envelope.Sender) || f.OlderThan > 0 && now.Sub(q.Envelope.ReceivedAt) < f.OlderThan {
		return false
	}
	if f.Status != "" && !slices.ContainsFunc(q.Groups, func(g *envelope.Group) bool { return Status(g) == f.Status }) {
		return false
	}
	if f.To == "" && f.Domain == "" {
		return true
	}
	for _, g := range q.Groups {
		for _, r := range g.Recipients {
			if (f.To == "" || f.To == string(r.Address) || f.To == string(r.Orig)) && (f.Domain == "" || f.Domain == r.Address.Domain()) {
				return true
			}
		}
	}
	return false
}

// Queue returns the messages that a filter selects in the order of arrival, at most
// limit (0: all). It reads the whole queue.
func (o *Operator) Queue(ctx context.Context, f Filter, limit int) ([]Queued, error) {
	if f.ID != "" {
		id, err := envelope.ParseID(f.ID)
		if err != nil {
			return nil, err
		}
		q, err := o.queued(ctx, id)
		if err != nil || !f.matches(q, o.clock.Now()) {
			return nil, err
		}
		return []Queued{q}, nil
	}
	var ids []envelope.ID // collected first, because a scan must not keep its snapshot for long
	for env, err := range o.store.Messages(ctx) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, env.ID)
	}
	var out []Queued
	for _, id := range ids {
		q, err := o.queued(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if f.matches(q, o.clock.Now()) {
			out = append(out, q)
		}
		if limit > 0 && len(out) >= limit {
			break
		}
	}
	return out, nil
}

func (o *Operator) queued(ctx context.Context, id envelope.ID) (Queued, error) {
	env, err := o.store.Envelope(ctx, id)
	if err != nil {
		return Queued{}, fmt.Errorf("message %s: %w", id, err)
	}
	groups, err := o.store.Groups(ctx, id)
	if err != nil {
		return Queued{}, fmt.Errorf("message %s: %w", id, err)
	}
	return Queued{env, groups}, nil
}
