// Package trail keeps what was decided about a message in a form that
// `carteiro explain` can show, and logs what policies did wrong.
package trail

import (
	"context"
	"strings"
	"unicode"

	"carteiro/core/message/envelope"
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
func Clean(s string) string {
	s = s[:min(len(s), maxPeerText)]
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Printable makes the texts of a trail fit for the terminal that `explain`
// writes to: policies and other servers put there what strangers sent. It changes
// the entries and returns them.
func Printable(entries []envelope.TrailEntry) []envelope.TrailEntry {
	for i := range entries {
		t := &entries[i]
		t.Text, t.Verdict = telemetry.Printable(t.Text, MaxText), telemetry.Printable(t.Verdict, MaxText)
		t.Err = printableLines(t.Err)
		if len(t.Changes) > 0 {
			changes := make([]string, len(t.Changes))
			for k, c := range t.Changes {
				changes[k] = telemetry.Printable(c, MaxText)
			}
			t.Changes = changes
		}
	}
	return entries
}

// printableLines keeps the lines of a traceback.
func printableLines(s string) string {
	if s == "" {
		return ""
	}
	lines := strings.Split(s[:min(len(s), 2*MaxText)], "\n")
	for i := range lines {
		lines[i] = telemetry.Printable(strings.ReplaceAll(lines[i], "\t", "    "), MaxText)
	}
	return strings.Join(lines, "\n")
}
