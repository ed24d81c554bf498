package netline

import (
	"crypto/tls"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spinFor is how long SpinForInput looks. Being woken takes 20 to 100
// microseconds, most on virtual machines.
const spinFor = 150 * time.Microsecond

// spinning is how many connections of this process are in SpinForInput.
var spinning atomic.Int32

// SpinForInput sends what is buffered and reports whether the client's next
// octets arrive within some 150 microseconds. It polls for them without
// sleeping, so that a client that sends one command after the other does not
// wait for a wake-up each time. That keeps a processor busy: it is for sessions
// whose client was quick before, and it returns false at once if half of the
// processors are spinning already or there is only one.
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

// readable checks again and again, for at most wait, whether the client has sent
// something. It yields to other goroutines in between.
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
