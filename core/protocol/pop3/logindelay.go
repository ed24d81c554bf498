package pop3

import (
	"sync"
	"time"

	"carteiro/core/message/envelope"
)

// loginDelay remembers the last login to each mailbox. The zero value is
// ready; it is safe for concurrent use.
type loginDelay struct {
	mu   sync.Mutex
	last map[envelope.Address]time.Time
}

const minSweep = 1024

// wait returns how long a login has to wait yet; where that is zero it counts.
func (d *loginDelay) wait(owner envelope.Address, delay time.Duration, now time.Time) time.Duration {
	if delay <= 0 {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, found := d.last[owner]; found && now.Sub(last) < delay && !now.Before(last) {
		return delay - now.Sub(last)
	}
	if len(d.last) >= minSweep {
		for a, last := range d.last {
			if now.Sub(last) >= delay {
				delete(d.last, a)
			}
		}
	}
	if d.last == nil {
		d.last = make(map[envelope.Address]time.Time)
	}
	d.last[owner] = now
	return 0
}
