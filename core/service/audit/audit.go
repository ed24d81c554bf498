// Package audit records what others did in an account's name: who, as whom,
// when and from where. The account's owner and the admins can read it. Entries
// are only added, in the commit of the action that they record, and expire. It
// does not decide who may do what.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Kept is how long an entry is kept.
const Kept = 365 * 24 * time.Hour

// space is the space in the KV. Keys begin with the owner and the entry's age,
// so that the newest come first.
const space = "audit"

// Entry is one thing that was done.
type Entry struct {
	Time      time.Time        `json:"time"`
	Owner     envelope.Address `json:"owner"`
	Who       envelope.Address `json:"who"`
	Action    string           `json:"action"` // "send", "login" or what a policy calls it
	As        envelope.Address `json:"as,omitempty"`
	Right     string           `json:"right,omitempty"`
	MessageID string           `json:"message_id,omitempty"`
	Message   string           `json:"message,omitempty"` // our id, for `explain`
	IP        string           `json:"ip,omitempty"`
	By        string           `json:"by,omitempty"` // the bundle that wrote it
}

// Add returns the effect that adds an entry.
func Add(e Entry) (envelope.Effect, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return envelope.Effect{}, fmt.Errorf("audit: %w", err)
	}
	key := fmt.Sprintf("%s%016x %s", prefix(e.Owner), math.MaxInt64-e.Time.UnixNano(), envelope.NewID(e.Time))
	return envelope.Effect{Space: space, Op: envelope.Set, Key: key, Value: b, TTL: Kept}, nil
}

func prefix(owner envelope.Address) string { return string(owner.Base()) + " " }

// List returns the newest entries of an owner, at most limit, the newest first.
func List(ctx context.Context, kv store.KV, owner envelope.Address, limit int) ([]Entry, error) {
	out := []Entry{}
	for p, err := range kv.Scan(ctx, space, prefix(owner), limit) {
		if err != nil {
			return nil, fmt.Errorf("audit of %s: %w", owner, err)
		}
		var e Entry
		if err := json.Unmarshal(p.Value, &e); err != nil {
			return nil, fmt.Errorf("audit of %s: %w: %w", owner, store.ErrCorrupt, err)
		}
		out = append(out, e)
	}
	return out, nil
}
