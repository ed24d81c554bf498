package smtpin

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

var errCommand = errors.New("not a command")

// command is a verb in upper case and what followed the one space after it.
type command struct {
	verb, arg string
}

// parseCommand splits a line. Trailing white space is ignored, as RFC 5321 4.1.1
// requires. It returns errCommand if there is no verb.
func parseCommand(line string) (command, error) {
	line = strings.TrimRight(line, " \t")
	verb, arg, _ := strings.Cut(line, " ")
	if verb == "" {
		return command{}, errCommand
	}
	for i := range len(verb) {
		if c := verb[i] | 0x20; c < 'a' || c > 'z' {
			return command{}, errCommand
		}
	}
	return command{verb: strings.ToUpper(verb), arg: arg}, nil
}

func (c command) String() string {
	if c.arg == "" {
		return c.verb
	}
	return c.verb + " " + c.arg
}

// redacted returns the command as logs may show it: what follows a mechanism
// may be a password.
func (c command) redacted() string {
	if mechanism, _, secret := strings.Cut(c.arg, " "); c.verb == "AUTH" && secret {
		return "AUTH " + printable.Reply(mechanism, false) + " (not shown)"
	}
	return printable.Reply(c.String(), true)
}

// maxLength returns the longest line of a verb without its CRLF: 512 octets, with
// room for the parameters of our extensions (RFC 5321 4.5.3.1.4 and theirs).
func (c command) maxLength() int {
	switch c.verb {
	case "MAIL", "RCPT", "XCLIENT":
		return 2048 - 2
	case "AUTH":
		return 12288
	}
	return 512 - 2
}

// runCommand runs one command and writes its reply; errQuit ends the session.
func (s *session) runCommand(ctx context.Context, cmd command) error {
	start := time.Now()
	tell := s.watcher()
	s.recorded, s.recording = "", tell != nil
	st := s.dispatch(ctx, cmd)
	s.recording = false
	code := 0
	var err error
	if st != nil {
		code = st.Code
		if s.gone {
			err = errQuit
		} else {
			err = s.reply(st)
		}
	}
	if s.gone {
		err = errQuit
	}
	if tell != nil {
		shown := st
		if st == nil && len(s.recorded) > 4 { // written by the command itself
			shown = &envelope.Status{Text: s.recorded[4:]}
			shown.Code, _ = strconv.Atoi(s.recorded[:3])
		}
		tell(s.s, cmd.redacted(), shown)
	}
	if f := s.cfg.Observe.Command; f != nil {
		f(s.s.Listener, knownVerb(cmd.verb), code, time.Since(start))
	}
	return err
}

// dispatch returns the reply to a command, nil when it is already written.
func (s *session) dispatch(ctx context.Context, cmd command) *envelope.Status {
	if len(cmd.String()) > cmd.maxLength() {
		if cmd.verb == "BDAT" {
			return closing(s.protocolError(500, "5.5.2", "Line too long"))
		}
		return s.protocolError(500, "5.5.2", "Line too long")
	}
	if s.refused && cmd.verb != "QUIT" {
		if cmd.verb == "BDAT" {
			return s.BDAT(ctx, cmd.arg)
		}
		return s.protocolError(503, "5.5.1", "Service is refused, only QUIT is allowed")
	}
	if st := s.countNonMail(cmd.verb); st != nil {
		return st
	}
	switch cmd.verb {
	case "HELO", "EHLO", "LHLO":
		return s.HELO(ctx, cmd.verb, cmd.arg)
	case "MAIL":
		return s.MAIL(ctx, cmd.arg)
	case "RCPT":
		return s.RCPT(ctx, cmd.arg)
	case "DATA":
		return s.DATA(ctx, cmd.arg)
	case "BDAT":
		return s.BDAT(ctx, cmd.arg)
	case "AUTH":
		return s.AUTH(ctx, cmd.arg)
	case "STARTTLS":
		return s.STARTTLS(ctx, cmd.arg)
	case "XCLIENT":
		return s.XCLIENT(ctx, cmd.arg)
	case "RSET":
		return s.RSET(cmd.arg)
	case "QUIT":
		return s.QUIT(cmd.arg)
	}
	return s.answerTrivial(cmd)
}

// countNonMail counts a command that leads to no message. It ends the session
// if there were too many: each is allowed, a flood of them is not.
func (s *transactions) countNonMail(verb string) *envelope.Status {
	switch verb {
	case "NOOP", "RSET", "HELP", "VRFY", "EXPN", "HELO", "EHLO", "LHLO":
		s.nonMail++
	}
	if s.nonMail <= s.cfg.MaxNonMail {
		return nil
	}
	s.log.Info("session ended by a limit", "reason", "commands without mail")
	return envelope.Reject(421, "4.7.0", "Too many commands without mail, closing")
}

// RSET ends the transaction.
func (s *session) RSET(arg string) *envelope.Status {
	if arg != "" {
		return s.protocolError(501, "5.5.4", "RSET takes no argument")
	}
	s.endTransaction()
	return ok(250, "2.0.0", "Ok")
}

// QUIT ends the transaction and the session.
func (s *session) QUIT(arg string) *envelope.Status {
	if arg != "" {
		return s.protocolError(501, "5.5.4", "QUIT takes no argument")
	}
	s.endTransaction()
	return ok(221, "2.0.0", s.cfg.Hostname+" closing connection")
}

// answerTrivial replies to the verbs that change nothing.
func (s *transactions) answerTrivial(cmd command) *envelope.Status {
	switch cmd.verb {
	case "NOOP":
		return ok(250, "2.0.0", "Ok")
	case "VRFY":
		if cmd.arg == "" {
			return s.protocolError(501, "5.5.4", "VRFY needs an address")
		}
		return ok(252, "2.5.2", "Cannot verify, send some mail and see")
	case "HELP":
		return ok(214, "2.0.0", "Commands: "+s.helpVerbs())
	case "EXPN", "TURN", "ETRN", "SEND", "SOML", "SAML":
		return s.protocolError(502, "5.5.1", "Command not implemented")
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "TRACE", "PATCH", "PRI":
		// A browser made to talk to us (cross-protocol attack), or a scanner.
		s.log.Info("http on a mail port", "verb", cmd.verb)
		return envelope.Reject(421, "4.7.0", "This is not a web server")
	case "PROXY":
		s.log.Info("connection refused", "reason", "PROXY header from an address that is no proxy of ours")
		return envelope.Reject(421, "4.7.0", "You are not one of our proxies")
	}
	return s.protocolError(500, "5.5.2", "Command not recognized")
}

const helpText = "HELO EHLO LHLO MAIL RCPT DATA BDAT AUTH STARTTLS RSET NOOP VRFY HELP QUIT"

// helpVerbs returns the verbs of this listener.
func (s *transactions) helpVerbs() string {
	out := strings.Fields(helpText)
	return strings.Join(slices.DeleteFunc(out, func(v string) bool {
		switch v {
		case "LHLO":
			return s.cfg.Protocol != LMTP
		case "HELO", "EHLO":
			return s.cfg.Protocol == LMTP
		case "AUTH":
			return !s.mayAuth()
		case "STARTTLS":
			return s.cfg.TLS == nil || s.s.TLS != nil
		}
		return false
	}), " ")
}

// knownVerb keeps labels of metrics to a fixed set.
func knownVerb(v string) string {
	for k := range strings.FieldsSeq(helpText + " EXPN") {
		if k == v {
			return v
		}
	}
	return "other"
}

// closing makes a reply the last one.
func closing(st *envelope.Status) *envelope.Status {
	st.Close = true
	return st
}
