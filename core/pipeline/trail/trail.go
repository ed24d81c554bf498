// Package trail keeps what was decided about a message in a form that
// `carteiro explain` can show, and logs what policies did wrong.
package trail

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
	"carteiro/core/ops/telemetry"
)

// MaxText is the most octets of one text in a trail; engines cut the texts of
// errors before.
const MaxText = 2000

// maxPeerText is the most octets of what a peer said of itself in a log line.
const maxPeerText = 200

// Failed returns the first entry about a policy that failed, or nil.
func Failed(entries []envelope.TrailEntry) *envelope.TrailEntry {
	for i := range entries {
		if entries[i].Err != "" {
			return &entries[i]
		}
	}
	return nil
}

// LogFailures logs what policies did wrong; id names the message, session or
// occasion. Their verdicts stand in trails.
func LogFailures(ctx context.Context, log *telemetry.Journal, id string, entries []envelope.TrailEntry) {
	for _, t := range entries {
		if t.Err != "" {
			log.ErrorContext(ctx, "policy failed", "id", id, "hook", t.Hook, "handler", t.Handler, "bundle", t.Bundle,
				"generation", t.Generation, "verdict", t.Verdict, "err", t.Err)
		}
	}
}

// Clean makes a name that a peer sent fit for a log line.
func Clean(s string) string { return printable.Mask(s, maxPeerText) }

// Printable makes the texts of a trail fit for the terminal that `explain`
// writes to: policies and other servers put there what strangers sent. It changes
// the entries and returns them.
func Printable(entries []envelope.TrailEntry) []envelope.TrailEntry {
	for i := range entries {
		t := &entries[i]
		t.Text, t.Verdict = printable.Line(t.Text, MaxText), printable.Line(t.Verdict, MaxText)
		t.Err = printable.Traceback(t.Err, MaxText)
		if len(t.Changes) > 0 {
			changes := make([]string, len(t.Changes))
			for k, c := range t.Changes {
				changes[k] = printable.Line(c, MaxText)
			}
			t.Changes = changes
		}
	}
	return entries
}
