package pop3

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"carteiro/core/message/printable"
	"carteiro/core/protocol/sasl"
)

// maxCommand is the longest line, except for AUTH, with its CRLF (RFC 2449 4).
const maxCommand = 255

// command is a keyword in upper case and what followed the one space.
type command struct {
	verb, arg string
	hasArg    bool
}

// parseCommand splits a line. Only PASS takes the rest as it is, with its
// spaces: they may be part of a password.
func parseCommand(line string) (command, bool) {
	verb, arg, hasArg := strings.Cut(line, " ")
	cmd := command{verb: strings.ToUpper(verb), arg: arg, hasArg: hasArg}
	if cmd.verb == "UTF8" {
		// the one verb with a digit
	} else if len(verb) < 3 || len(verb) > 4 || strings.Trim(cmd.verb, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return command{}, false
	}
	if cmd.verb != "PASS" {
		cmd.arg = strings.TrimRight(arg, " \t") // white space at the end is forgiven
		cmd.hasArg = cmd.arg != ""
	}
	return cmd, true
}

func (c command) String() string {
	if !c.hasArg {
		return c.verb
	}
	return c.verb + " " + c.arg
}

func (s *session) runCommand(ctx context.Context, line string) {
	start := time.Now()
	cmd, good := parseCommand(line)
	ok := false
	switch {
	case isOtherProtocol(line):
		s.log.Info("connection refused", "reason", "another protocol", "line", printable.Quote(line))
		s.ended = true
		ok = s.err("[SYS/PERM] this is a POP3 server")
	case !good:
		ok = s.protocolError("unknown command")
	case s.countIdle(cmd.verb):
		s.log.Info("session ended by a limit", "reason", "commands that do nothing")
		s.ended = true
		ok = s.err("[SYS/TEMP] too many commands that do nothing, closing")
	case len(line)+2 > maxCommand && cmd.verb != "AUTH":
		ok = s.protocolError("line too long")
	case s.drop == nil:
		ok = s.authorization(ctx, cmd)
	default:
		ok = s.transaction(ctx, cmd)
	}
	if f := s.cfg.Observe.Command; f != nil {
		f(s.s.Listener, knownVerb(cmd.verb), ok, time.Since(start))
	}
}

// isOtherProtocol reports whether a line is what browsers, scanners and proxies
// of others say.
func isOtherProtocol(line string) bool {
	verb, _, more := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PRI", "PROXY", "EHLO", "HELO":
		return more
	}
	return false
}

// countIdle counts commands that do nothing. Each is allowed, NOOP keeps an idle
// session open; a flood of them is not.
func (s *session) countIdle(verb string) bool {
	switch verb {
	case "NOOP", "RSET", "CAPA", "UTF8", "LANG", "USER":
		s.idleCommands++
	default:
		s.idleCommands = 0
	}
	return s.idleCommands > s.cfg.MaxIdleCommands
}

// knownVerb keeps labels of metrics to a fixed set.
func knownVerb(v string) string {
	switch v {
	case "CAPA", "STLS", "USER", "PASS", "APOP", "AUTH", "QUIT", "STAT", "LIST", "RETR", "DELE", "NOOP", "RSET", "TOP", "UIDL", "UTF8", "LANG":
		return v
	}
	return "other"
}

func (s *session) authorization(ctx context.Context, cmd command) bool {
	switch cmd.verb {
	case "CAPA":
		return s.CAPA(cmd)
	case "STLS":
		return s.STLS(ctx, cmd)
	case "USER":
		return s.USER(cmd)
	case "PASS":
		return s.PASS(ctx, cmd)
	case "APOP":
		return s.APOP(ctx, cmd)
	case "UTF8":
		return s.UTF8(cmd)
	case "LANG":
		return s.LANG(cmd)
	case "AUTH":
		return s.AUTH(ctx, cmd)
	case "QUIT":
		s.ended = true
		return s.ok(s.cfg.Hostname + " POP3 server signing off")
	}
	if knownVerb(cmd.verb) == cmd.verb {
		return s.protocolError("log in first")
	}
	return s.protocolError("unknown command")
}

func (s *session) transaction(ctx context.Context, cmd command) bool {
	switch cmd.verb {
	case "LIST":
		return s.LIST(ctx, cmd)
	case "UIDL":
		return s.UIDL(ctx, cmd)
	case "RETR":
		return s.RETR(ctx, cmd)
	case "TOP":
		return s.TOP(ctx, cmd)
	case "DELE":
		return s.DELE(ctx, cmd)
	case "LANG":
		return s.LANG(cmd)
	case "USER", "PASS", "APOP", "AUTH", "STLS", "UTF8":
		return s.protocolError("logged in already")
	}
	if knownVerb(cmd.verb) != cmd.verb {
		return s.protocolError("unknown command")
	}
	if cmd.hasArg {
		return s.protocolError(cmd.verb + " takes no argument")
	}
	switch cmd.verb {
	case "STAT":
		return s.STAT()
	case "RSET":
		return s.RSET()
	case "QUIT":
		return s.QUIT(ctx)
	case "CAPA":
		return s.CAPA(cmd)
	}
	return s.ok("") // NOOP
}

// CAPA lists the capabilities (RFC 2449). The list is the same in both states, except for
// those that depend on TLS.
func (s *session) CAPA(cmd command) bool {
	if cmd.hasArg {
		return s.protocolError("CAPA takes no argument")
	}
	s.ok("capabilities follow")
	w := s.c.Writer()
	w.WriteString("TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nUTF8 USER\r\nLANG\r\n")
	if d := s.cfg.LoginDelay; d > 0 {
		w.WriteString("LOGIN-DELAY " + strconv.Itoa(int(math.Ceil(d.Seconds()))) + "\r\n")
	}
	if s.mayLogin() {
		w.WriteString("USER\r\nSASL " + strings.Join(sasl.Mechanisms(s.backend, s.c), " ") + "\r\n")
	}
	if s.cfg.TLS != nil && s.s.TLS == nil {
		w.WriteString("STLS\r\n")
	}
	w.WriteString("IMPLEMENTATION Carteiro\r\n.\r\n")
	return true
}

// STLS follows RFC 2595 section 4. What came after it in the clear is never
// obeyed: the session ends.
func (s *session) STLS(ctx context.Context, cmd command) bool {
	switch {
	case cmd.hasArg:
		return s.protocolError("STLS takes no argument")
	case s.s.TLS != nil:
		return s.protocolError("TLS is already in use")
	case s.cfg.TLS == nil:
		return s.protocolError("TLS is not available")
	case s.c.Buffered() > 0:
		s.log.Info("plaintext behind stls", "octets", s.c.Buffered())
		s.ended = true
		return s.err("nothing may be pipelined after STLS")
	}
	s.ok("begin TLS")
	if err := s.c.StartTLS(ctx, s.cfg.TLS, s.cfg.Handshake); err != nil {
		s.log.Info("tls failed", "err", quoteError(err))
		s.ended, s.gone = true, true
		return false
	}
	s.s.TLS, s.user = s.c.TLS(), ""
	s.open.Put(s.c, s.s)
	return true
}
