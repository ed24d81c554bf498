package policytest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// maxSaid is how many lines of a case are kept, the last ones.
const maxSaid = 50

// logHandler is a slog.Handler that keeps what policies and tests log and print,
// to find the cause of a failure.
type logHandler struct {
	slog.Handler
	*loggedLines
}

type loggedLines struct {
	mu    sync.Mutex
	lines []string
	lost  int
}

// Handle implements slog.Handler.
func (s logHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "script" {
		s.keep(r)
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (s logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{s.Handler.WithAttrs(attrs), s.loggedLines}
}

// WithGroup implements slog.Handler.
func (s logHandler) WithGroup(name string) slog.Handler {
	return logHandler{s.Handler.WithGroup(name), s.loggedLines}
}

func (s *loggedLines) keep(r slog.Record) {
	var text, handler, hook, fields string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "text":
			text = a.Value.String()
		case "handler":
			handler = a.Value.String()
		case "hook":
			hook = a.Value.String()
		case "fields":
			for _, f := range a.Value.Group() {
				fields += fmt.Sprintf(" %s=%v", f.Key, f.Value)
			}
		}
		return true
	})
	line := strings.ToLower(r.Level.String()) + ": " + text + fields
	if handler != "" {
		line += " (" + hook + ", " + handler + ")"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines = append(s.lines, line); len(s.lines) > maxSaid {
		s.lines = s.lines[1:]
		s.lost++
	}
}

// all are the lines, and how many came before them.
func (s *loggedLines) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == 0 {
		return append([]string(nil), s.lines...)
	}
	return append([]string{fmt.Sprintf("%d lines before these", s.lost)}, s.lines...)
}
