package netline

import (
	"sync"

	"carteiro/core/message/envelope"
)

// Sessions are the sessions that are connected now. The zero value is empty; it
// is safe for concurrent use.
type Sessions struct {
	mu   sync.Mutex
	open map[*Conn]*envelope.Session
}

// Put records the session of a connection. It is called again when something
// changed that Kick may match: who logged in, and from where.
func (t *Sessions) Put(c *Conn, s *envelope.Session) {
	now := &envelope.Session{ID: s.ID, Listener: s.Listener, Protocol: s.Protocol, Remote: s.Remote, Local: s.Local,
		RDNS: s.RDNS, TLS: s.TLS, Identity: s.Identity, Trusted: s.Trusted, Started: s.Started}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[*Conn]*envelope.Session)
	}
	t.open[c] = now
}

// Remove forgets a connection.
func (t *Sessions) Remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
}

// Kick closes the connections of the sessions that match, at once, and returns
// how many. match gets copies without Meta and must not block.
func (t *Sessions) Kick(match func(*envelope.Session) bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for c, s := range t.open {
		if match(s) {
			c.Abort()
			n++
		}
	}
	return n
}
