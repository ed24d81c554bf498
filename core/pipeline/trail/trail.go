// Package trail makes decision trails printable, for `carteiro explain`, and logs
// failures of policies.
package trail

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
	"carteiro/core/ops/telemetry"
)

// MaxText is the most octets of one text in a trail; engines cut error texts before
// that.
const MaxText = 2000

// maxPeerText is the most octets of a name that a peer sent, in a log line.
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

// LogFailures logs the failures of policies; id names the message or session, or is a
// word such as "timer". Verdicts are only in trails.
func LogFailures(ctx context.Context, log *telemetry.Journal, id string, entries []envelope.TrailEntry) {
	for _, t := range entries {
		if t.Err != "" {
			log.ErrorContext(ctx, "policy failed", "id", id, "hook", t.Hook, "handler", t.Handler, "bundle", t.Bundle,
				"generation", t.Generation, "verdict", t.Verdict, "err", t.Err)
		}
	}
}

// Clean makes a name that a peer sent printable, for a log line.
func Clean(s string) string { return printable.Mask(s, maxPeerText) }

// Printable makes the texts of a trail safe for the terminal that `explain` writes to:
// they may contain what strangers sent. It changes the entries and returns them.
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
