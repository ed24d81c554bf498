package smtpout

import (
	"fmt"

	"time"

	"carteiro/core/message/envelope"
)

// lastWords is how long a host that stopped reading has to say why.
const lastWords = time.Second

// content sends the message and takes the reply, in LMTP one for each
// recipient that was accepted. Until the end of the content is sent the host
// has nothing, and the recipients stay open if the connection is lost; from
// then on it may have the message, whatever is heard of it.
func (x *transaction) content() verdict {
	body, err := x.a.t.Open()
	if err != nil {
		return x.unreadable(err)
	}
	d := dotter{w: x.c.w, bol: true}
	err = d.copy(body)
	if cerr := body.Close(); err == nil && cerr != nil {
		err = readError{cerr}
	}
	if re, ours := err.(readError); ours {
		return x.unreadable(re.error)
	}
	x.c.trace("> ", fmt.Sprintf("[%d octets]", d.size))
	if err == nil {
		err = d.finish()
	}
	if err != nil {
		return x.cut(err)
	}
	x.c.trace("> ", ".")
	if _, err := x.c.w.WriteString(".\r\n"); err != nil {
		return x.cut(err) // what failed is older than the dot
	}
	if err := x.c.w.Flush(); err != nil {
		x.doubt(err)
		return done
	}
	x.final(d.size)
	return done
}

// unreadable gives up a message that cannot be read to its end: no host will
// get it whole. Without the final dot this one has nothing.
func (x *transaction) unreadable(err error) verdict {
	x.c.dead = true
	x.a.settle(envelope.Outcome{Status: *unreadable(err)}, x.a.opens()...)
	return done
}

// cut is a connection lost in the middle. A host that breaks off often says
// why, and that is then its reply.
func (x *transaction) cut(err error) verdict {
	if rep, rerr := x.c.read(lastWords); rerr == nil && rep.refusal() && rep.code != 421 {
		x.c.dead = true
		x.settle(rep.status(), x.accepted...)
		return done
	}
	x.a.fail(x.c.host.Name, x.c.trouble("content", err))
	return failed
}

// final takes what the host says to the whole message.
func (x *transaction) final(size int64) {
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
			x.doubt(err)
			return
		}
		if n == 0 {
			code = rep.code
		}
		x.c.dead = x.c.dead || rep.code == 421
		x.settle(rep.status(), rcpts...)
	}
}

// doubt defers the recipients whose reply did not come. Another host must not
// be tried: this one may have the message.
func (x *transaction) doubt(err error) {
	st := x.c.trouble("end of content", err)
	x.settle(st, x.accepted...)
}

// readError is an error of the message, not of the connection.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }
