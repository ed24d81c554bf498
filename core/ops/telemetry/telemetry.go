// Package telemetry is how a server reports about itself: one log event for
// each step of a message (slog), metrics (Prometheus), and the names in both.
// The decision trail that `explain` reads is stored with the message; its
// entries are envelope.TrailEntry. Nothing here blocks on the network or keeps
// state that is missing after a restart.
package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Journal is shared by all stages of one server.
type Journal struct {
	*slog.Logger
	Metrics  *Metrics
	Counted  *Counted // by policies
	Registry *prometheus.Registry
	Tracer   *Tracer
}

// New makes a journal that writes to w: format "json" or "text", level
// "debug", "info", "warn" or "error"; unknown words mean json and info.
func New(w io.Writer, format, level string) *Journal {
	opts := &slog.HandlerOptions{Level: parseLevel(level)}
	var h slog.Handler = slog.NewJSONHandler(w, opts)
	if format == "text" {
		h = slog.NewTextHandler(w, opts)
	}
	return With(slog.New(h))
}

// With makes a journal around a logger. Everything that it logs is made
// printable.
func With(log *slog.Logger) *Journal {
	reg := prometheus.NewRegistry()
	log = slog.New(printableHandler{log.Handler()})
	counted := &Counted{families: map[string]*family{}, owned: map[string]int{}}
	reg.MustRegister(counted)
	return &Journal{Logger: log, Metrics: newMetrics(reg), Counted: counted, Registry: reg, Tracer: &Tracer{}}
}

// Discard returns a journal that nobody reads.
func Discard() *Journal { return With(slog.New(slog.DiscardHandler)) }

func parseLevel(s string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(strings.ToUpper(s))) != nil {
		return slog.LevelInfo
	}
	return l
}

// Step logs one step of a message at info: the admin's one line per event.
// Keys are fixed: id from to hook host status err. Pairs whose value is nil
// or empty are left out.
func (j *Journal) Step(ctx context.Context, what, id string, args ...any) {
	kept := append(make([]any, 0, len(args)+2), "id", id)
	for i := 0; i+1 < len(args); i += 2 {
		if args[i+1] != nil && args[i+1] != "" {
			kept = append(kept, args[i], args[i+1])
		}
	}
	j.InfoContext(ctx, what, kept...)
}
