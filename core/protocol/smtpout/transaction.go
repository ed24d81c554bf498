package smtpout

import (
	"strings"
	"time"

	"carteiro/core/message/envelope"
)

// Limits of what is sent before replies are read. A batch fits into the send buffer of a
// connection that has no unanswered commands. So sending it never waits for a peer that
// itself waits for us to read its replies (RFC 2920 3.1).
const (
	maxBatch      = 8 << 10 // octets
	maxRecipients = 1000    // of a transaction, even if the host allows more
)

type verb uint8

const (
	verbMail verb = iota
	verbRcpt
	verbData
)

// command is one line of a transaction; rcpt is for RCPT.
type command struct {
	verb verb
	line string
	rcpt int
}

// transaction is one MAIL with what follows it.
type transaction struct {
	a      *attempt
	c      *conn
	params envelopeParams
	rcpts  []int // recipients to name

	answered bool             // some reply came
	refusal  *envelope.Status // to MAIL
	accepted []int            // by RCPT
	data     reply            // to DATA, if it was sent
	began    time.Time
}

// run makes the transaction. If recipients are still open after it returned
// done, they were more than the host takes in one transaction.
func (x *transaction) run() useResult {
	used := x.c.transactions > 0
	x.c.transactions++
	x.began = time.Now()
	if st := x.sendEnvelope(); st != nil && x.refusal == nil {
		if used && !x.answered {
			return stale
		}
		x.a.noteFailure(x.c.host.Name, st)
		return failed
	}
	x.learnRcptMax()
	switch {
	case x.refusal != nil && x.refusal.Code >= 500:
		x.settle(x.refusal, x.a.openRcpts()...)
	case x.refusal != nil:
		x.a.noteFailure(x.c.host.Name, x.refusal)
		return failed
	case len(x.accepted) > 0 && x.data.code == 354:
		return x.sendContent()
	case len(x.accepted) > 0:
		x.settle(x.data.status(), x.accepted...)
	}
	x.endWithoutContent()
	return done
}

// sendEnvelope sends MAIL, RCPT and DATA. It returns a status if the connection
// has become useless.
func (x *transaction) sendEnvelope() *envelope.Status {
	for _, batch := range x.batches() {
		if batch[0].verb == verbData && len(x.accepted) == 0 {
			return nil
		}
		for _, cmd := range batch {
			x.c.bufferLine(cmd.line)
		}
		if err := x.c.w.Flush(); err != nil {
			return x.c.lost("MAIL", err)
		}
		for _, cmd := range batch {
			if st := x.readReply(cmd); st != nil {
				return st
			}
		}
		if x.refusal != nil {
			return nil
		}
	}
	return nil
}

// batches returns the commands in groups that are sent at once: all together if
// PIPELINING is offered and they are not too many, else one by one.
func (x *transaction) batches() [][]command {
	cmds := []command{{verb: verbMail, line: x.params.mail(&x.a.t, x.a.client.cfg.Now())}}
	for _, i := range x.rcpts {
		cmds = append(cmds, command{verbRcpt, x.params.rcpt(x.a.t.Recipients[i]), i})
	}
	cmds = append(cmds, command{verb: verbData, line: "DATA"})
	var out [][]command
	size := 0
	for i, cmd := range cmds {
		size += len(cmd.line) + len("\r\n")
		if i == 0 || size > maxBatch || !x.c.ext.has("PIPELINING") {
			out = append(out, nil)
			size = len(cmd.line) + len("\r\n")
		}
		out[len(out)-1] = append(out[len(out)-1], cmd)
	}
	return out
}

// readReply reads and takes the reply to one command.
func (x *transaction) readReply(cmd command) *envelope.Status {
	t := &x.c.cfg.Timeouts
	name, timeout := "MAIL", t.Mail
	switch cmd.verb {
	case verbRcpt:
		name, timeout = "RCPT", t.Rcpt
	case verbData:
		name, timeout = "DATA", t.Data
	}
	rep, err := x.c.read(timeout)
	if err != nil {
		return x.c.lost(name, err)
	}
	if rep.code == 421 {
		x.c.dead = true
		return rep.status()
	}
	x.answered = true
	if !rep.isRefusal() && rep.isSuccess() == (cmd.verb == verbData) || rep.code/100 == 3 && rep.code != 354 {
		return x.c.lost(name, errGarbage) // 354 to RCPT, 250 to DATA and the like
	}
	x.applyReply(cmd, rep)
	return nil
}

func (x *transaction) applyReply(cmd command, rep reply) {
	switch {
	case cmd.verb == verbMail && rep.isRefusal():
		x.refusal = rep.status()
	case cmd.verb == verbData:
		x.data = rep
	case cmd.verb == verbMail || x.refusal != nil:
	case rep.isSuccess():
		x.accepted = append(x.accepted, cmd.rcpt)
	case isTooManyRcpts(rep) && len(x.accepted) > 0: // stays open
	default:
		x.settle(rep.status(), cmd.rcpt)
	}
}

// isTooManyRcpts reports whether rep is the reply of RFC 5321 4.5.3.1.10, in
// the forms it comes in.
func isTooManyRcpts(rep reply) bool {
	if rep.code != 452 && rep.code != 552 {
		return false
	}
	st := rep.status()
	if st.Enhanced == "" {
		return strings.Contains(strings.ToLower(st.Text), "too many recipients")
	}
	return st.Enhanced[1:] == ".5.3"
}

// learnRcptMax remembers how many recipients the host accepted, if there was
// one too many, for later transactions.
func (x *transaction) learnRcptMax() {
	left := 0
	for _, i := range x.rcpts {
		if x.a.state[i] == open {
			left++
		}
	}
	if x.refusal == nil && left > len(x.accepted) {
		x.c.rcptMax = len(x.accepted)
	}
}

// settle gives recipients the host's reply as their outcome.
func (x *transaction) settle(st *envelope.Status, rcpts ...int) {
	o := envelope.Outcome{Status: *st, Host: x.c.host.Name, TLS: x.c.tls}
	o.NoDSN = st.Code/100 == 2 && !x.c.ext.has("DSN")
	x.a.settle(o, rcpts...)
}

// endWithoutContent ends a transaction that has no content. A peer that asked
// for content although it accepted no recipient gets none (RFC 2920 3.1).
func (x *transaction) endWithoutContent() {
	if x.c.dead {
		return
	}
	if x.data.code == 354 {
		if x.a.hop.LMTP {
			x.c.dead = true // as many replies as recipients: is that none?
			return
		}
		if _, err := x.c.ask(".", x.c.cfg.Timeouts.Final); err != nil {
			x.c.lost("DATA", err)
			return
		}
	}
	rep, err := x.c.ask("RSET", x.c.cfg.Timeouts.Mail)
	if err != nil || rep.code != 250 {
		x.c.dead = true
	}
}
