package netline

import (
	"crypto/tls"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spinFor is how long Soon looks out. To be woken takes 20 to 100
// microseconds, on virtual machines most of all.
const spinFor = 150 * time.Microsecond

// spinning is how many connections of this process are in Soon.
var spinning atomic.Int32

// SpinForInput sends what is kept and tells whether the client's next octets
// are here within some 150 microseconds. It looks for them without going to
// sleep, so that a client that asks one thing after the other does not pay for
// a wake-up each time. That keeps a processor busy: it is for sessions whose
// client has shown that it is quick, and answers false at once where half of
// the processors look out already, or there is only one.
func (c *Conn) SpinForInput() bool {
	if c.Buffered() > 0 {
		return true
	}
	most := int32(runtime.GOMAXPROCS(0) / 2)
	if c.Flush() != nil || most == 0 {
		return false // ReadLine meets the error again
	}
	defer spinning.Add(-1)
	if spinning.Add(1) > most {
		return false
	}
	return c.readable(spinFor)
}

// readable asks again and again for so long. Others that can run do so in
// between.
func (c *Conn) readable(wait time.Duration) (ready bool) {
	nc := c.nc
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	until := time.Now().Add(wait)
	look := func(fd uintptr) {
		ask := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for !ready && time.Now().Before(until) {
			n, err := unix.Poll(ask, 0)
			if err != nil && err != unix.EINTR {
				return
			}
			ready = n > 0
			runtime.Gosched()
		}
	}
	return raw.Control(look) == nil && ready
}
