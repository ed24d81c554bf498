package netline

import "sync"

// connSet is the set of connections of one Serve.
type connSet struct {
	mu    sync.Mutex
	conns map[*Conn]struct{}
}

func (t *connSet) add(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[c] = struct{}{}
}

func (t *connSet) remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

func (t *connSet) each(f func(*Conn)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		f(c)
	}
}
