package smtpout

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// poolKey is what two transfers must share to use one connection.
type poolKey struct {
	addr netip.AddrPort
	name string // of the host, for which the certificate was checked
	connParams
	source string
}

// pool keeps connections between transactions. Each has a timer that takes
// it out and says QUIT.
type pool struct {
	mu     sync.Mutex
	idle   map[poolKey][]*idleConn
	total  int
	closed bool
	ending sync.WaitGroup // connections that are being ended
}

type idleConn struct {
	*conn
	timer *time.Timer
}

// take returns the connection that was used last, nil if there is none.
func (p *pool) take(key poolKey) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	ic := list[len(list)-1]
	p.remove(ic)
	ic.timer.Stop() // one that has fired finds the connection gone
	return ic.conn
}

// put keeps c for d, or ends it if there are enough.
func (p *pool) put(c *conn, most int, d time.Duration) {
	p.mu.Lock()
	if p.closed || len(p.idle[c.key]) >= most || p.total >= maxIdleTotal {
		p.mu.Unlock()
		c.quit()
		return
	}
	defer p.mu.Unlock()
	ic := &idleConn{conn: c}
	p.idle[c.key] = append(p.idle[c.key], ic)
	p.total++
	ic.timer = time.AfterFunc(d, func() { p.expire(ic) })
}

func (p *pool) expire(ic *idleConn) {
	p.mu.Lock()
	there := p.remove(ic)
	if there {
		p.ending.Add(1) // under the lock, so that close does not miss it
	}
	p.mu.Unlock()
	if there {
		defer p.ending.Done()
		ic.quit()
	}
}

// remove takes ic out and reports whether it was there; p.mu is held.
func (p *pool) remove(ic *idleConn) bool {
	list := p.idle[ic.key]
	i := slices.Index(list, ic)
	if i < 0 {
		return false
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(p.idle, ic.key)
	} else {
		p.idle[ic.key] = list
	}
	p.total--
	return true
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, list := range p.idle {
		for _, ic := range list {
			ic.timer.Stop()
			p.ending.Go(ic.quit)
		}
	}
	clear(p.idle)
	p.total = 0
	p.mu.Unlock()
	p.ending.Wait()
}
