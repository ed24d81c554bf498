package smtpout

import (
	"fmt"

	"time"

	"carteiro/core/message/envelope"
)

// lastReplyWait is how long to wait for the reply of a host that stopped
// reading.
const lastReplyWait = time.Second

// sendContent sends the message and reads the reply, in LMTP one for each
// accepted recipient. Until the end of the content is sent, the host does not have the
// message, and the recipients stay open if the connection is lost. After that it may
// have the message, with any reply.
func (x *transaction) sendContent() useResult {
	body, err := x.a.t.Open()
	if err != nil {
		return x.giveUpUnreadable(err)
	}
	d := dotWriter{w: x.c.w, bol: true}
	err = d.copy(body)
	if cerr := body.Close(); err == nil && cerr != nil {
		err = readError{cerr}
	}
	if re, ours := err.(readError); ours {
		return x.giveUpUnreadable(re.error)
	}
	x.c.trace("> ", fmt.Sprintf("[%d octets]", d.size))
	if err == nil {
		err = d.finish()
	}
	if err != nil {
		return x.contentBroken(err)
	}
	x.c.trace("> ", ".")
	if _, err := x.c.w.WriteString(".\r\n"); err != nil {
		return x.contentBroken(err) // what failed is older than the dot
	}
	if err := x.c.w.Flush(); err != nil {
		x.deferInDoubt(err)
		return done
	}
	x.readFinalReplies(d.size)
	return done
}

// giveUpUnreadable defers a message that cannot be read to its end: no host can
// get it. Without the final dot this host has no message.
func (x *transaction) giveUpUnreadable(err error) useResult {
	x.c.dead = true
	x.a.settle(envelope.Outcome{Status: *unreadableStatus(err)}, x.a.openRcpts()...)
	return done
}

// contentBroken handles a connection that was lost within the content. A host
// that breaks off often says why, and that is then its reply.
func (x *transaction) contentBroken(err error) useResult {
	if rep, rerr := x.c.read(lastReplyWait); rerr == nil && rep.isRefusal() && rep.code != 421 {
		x.c.dead = true
		x.settle(rep.status(), x.accepted...)
		return done
	}
	x.a.noteFailure(x.c.host.Name, x.c.lost("content", err))
	return failed
}

// readFinalReplies reads the host's replies to the whole message.
func (x *transaction) readFinalReplies(size int64) {
	each := [][]int{x.accepted}
	if x.a.hop.LMTP {
		each = nil
		for _, i := range x.accepted {
			each = append(each, []int{i})
		}
	}
	code := 0
	defer func() {
		if f := x.c.cfg.Observe.Content; f != nil {
			f(size, len(x.accepted), code, time.Since(x.began))
		}
	}()
	for n, rcpts := range each {
		rep, err := x.c.read(x.c.cfg.Timeouts.Final)
		if err == nil && rep.code/100 == 3 {
			err = errGarbage
		}
		if err != nil {
			x.deferInDoubt(err)
			return
		}
		if n == 0 {
			code = rep.code
		}
		x.c.dead = x.c.dead || rep.code == 421
		x.settle(rep.status(), rcpts...)
	}
}

// deferInDoubt defers the recipients whose reply did not come. Another host
// must not be tried: this one may have the message.
func (x *transaction) deferInDoubt(err error) {
	st := x.c.lost("end of content", err)
	x.settle(st, x.accepted...)
}

// readError is an error of the message, not of the connection.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }
