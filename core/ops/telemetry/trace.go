package telemetry

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Line is one step that `carteiro trace` shows as it happens.
type Line struct {
	Time     time.Time  `json:"time"`
	Session  string     `json:"session,omitempty"`
	Message  string     `json:"message,omitempty"`
	Client   netip.Addr `json:"client,omitzero"`
	Listener string     `json:"listener,omitempty"`
	// What is "command" (Text is what the client said, Reply our answer) or
	// "hook" (Text is the hook, Handler its handler, Reply the verdict).
	What    string        `json:"what"`
	Text    string        `json:"text"`
	Reply   string        `json:"reply,omitempty"`
	Handler string        `json:"handler,omitempty"`
	Changes []string      `json:"changes,omitempty"`
	Err     string        `json:"error,omitempty"`
	Cost    time.Duration `json:"cost,omitempty"` // nanoseconds
	// About are the addresses that the call of a hook is about.
	About []string `json:"about,omitempty"`
}

// Names reports whether a line is about an address: one in About, or one that the client
// named.
func (l *Line) Names(address string) bool {
	return slices.ContainsFunc(l.About, func(a string) bool { return strings.EqualFold(a, address) }) ||
		l.What == "command" && strings.Contains(strings.ToLower(l.Text), "<"+strings.ToLower(address)+">")
}

// traceAhead is how many lines a slow reader may be behind; it misses more.
const traceAhead = 1000

// Tracer passes lines to the readers of a trace. Without readers a line costs one atomic
// load.
type Tracer struct {
	watched atomic.Int32
	mu      sync.Mutex
	readers map[chan Line]func(Line) bool
}

// On reports whether anybody looks, so that nobody makes lines for nothing.
func (t *Tracer) On() bool { return t.watched.Load() > 0 }

// Watchers returns how many look.
func (t *Tracer) Watchers() int { return int(t.watched.Load()) }

// Publish passes a line on. It does not block.
func (t *Tracer) Publish(l Line) {
	if !t.On() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for ch, keep := range t.readers {
		if !keep(l) {
			continue
		}
		select {
		case ch <- l:
		default:
		}
	}
}

// Watch returns the lines that keep wants, until ctx ends; then the channel is
// closed.
func (t *Tracer) Watch(ctx context.Context, keep func(Line) bool) <-chan Line {
	ch := make(chan Line, traceAhead)
	t.mu.Lock()
	if t.readers == nil {
		t.readers = map[chan Line]func(Line) bool{}
	}
	t.readers[ch] = keep
	t.mu.Unlock()
	t.watched.Add(1)
	context.AfterFunc(ctx, func() {
		t.watched.Add(-1)
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.readers, ch)
		close(ch)
	})
	return ch
}
