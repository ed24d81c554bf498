package pop3

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
	"carteiro/core/protocol/netline"
	"carteiro/core/protocol/sasl"
	"carteiro/core/store"
)

func quoteError(err error) string { return printable.Quote(err.Error()) }

// mayLogin reports whether a password may be sent as it is.
func (s *authState) mayLogin() bool { return s.s.TLS != nil || s.cfg.InsecureAuth }

// USER remembers a name; it does not reveal whether it exists.
func (s *authState) USER(cmd command) bool {
	switch {
	case !s.mayLogin():
		return s.protocolError("use STLS first")
	case !cmd.hasArg || !utf8.ValidString(cmd.arg):
		return s.protocolError("USER needs a name")
	}
	s.user = cmd.arg
	return s.ok("send PASS")
}

func (s *authState) PASS(ctx context.Context, cmd command) bool {
	user := s.user
	s.user = ""
	switch {
	case !s.mayLogin():
		return s.protocolError("use STLS first")
	case user == "":
		return s.protocolError("send USER first")
	}
	return s.login(ctx, &envelope.Credentials{Mechanism: "USER", User: user, Password: cmd.arg})
}

// APOP is "APOP name digest" (RFC 1939 section 7).
func (s *authState) APOP(ctx context.Context, cmd command) bool {
	if s.stamp == "" {
		return s.protocolError("APOP is not offered")
	}
	i := strings.LastIndexByte(cmd.arg, ' ')
	if i < 1 || !isHexDigest(cmd.arg[i+1:]) || !utf8.ValidString(cmd.arg) {
		return s.protocolError("syntax: APOP name digest")
	}
	return s.login(ctx, &envelope.Credentials{Mechanism: "APOP", User: cmd.arg[:i],
		Challenge: s.stamp, Digest: strings.ToLower(cmd.arg[i+1:])})
}

func isHexDigest(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// AUTH is SASL (RFC 5034).
func (s *authState) AUTH(ctx context.Context, cmd command) bool {
	name, initial, hasInitial := strings.Cut(cmd.arg, " ")
	exchange := sasl.Begin(ctx, s.backend, s.c, strings.ToUpper(name))
	switch {
	case name == "":
		return s.protocolError("AUTH needs a mechanism")
	case !s.mayLogin():
		return s.protocolError("use STLS first")
	case exchange == nil:
		return s.protocolError("mechanism not supported")
	}
	var response []byte
	if hasInitial && initial != "=" {
		var err error
		if response, err = base64.StdEncoding.Strict().DecodeString(initial); err != nil || initial == "" {
			return s.protocolError("bad base64")
		}
	} else if hasInitial {
		response = []byte{}
	}
	cred, said := s.exchange(exchange, response)
	if cred == nil {
		return said
	}
	return s.login(ctx, cred)
}

// exchange runs a mechanism to its credentials; it returns none when the
// refusal is written or the connection lost.
func (s *authState) exchange(x sasl.Exchange, response []byte) (*envelope.Credentials, bool) {
	for {
		challenge, cred, err := x.Next(response)
		switch {
		case errors.Is(err, sasl.ErrExchange):
			return nil, s.protocolError("malformed response")
		case err != nil:
			s.log.Error("login impossible", "err", quoteError(err))
			return nil, s.err("[SYS/TEMP] login is not possible now")
		case cred != nil:
			return cred, true
		}
		if response = s.challenge(challenge); response == nil {
			return nil, false
		}
	}
}

// challenge sends one and reads the response; it returns nil when the refusal
// is written or the connection lost.
func (s *authState) challenge(challenge []byte) []byte {
	w := s.c.Writer()
	w.WriteString("+ " + base64.StdEncoding.EncodeToString(challenge) + "\r\n")
	line, err := s.c.ReadLine(s.cfg.Idle)
	switch {
	case errors.Is(err, netline.ErrTooLong), errors.Is(err, netline.ErrBadLine):
		s.protocolError("bad base64")
		return nil
	case err != nil:
		s.connectionEnded(err)
		return nil
	case string(line) == "*":
		s.protocolError("cancelled")
		return nil
	}
	response, err := base64.StdEncoding.Strict().DecodeString(string(line))
	if err != nil {
		s.protocolError("bad base64")
		return nil
	}
	if response == nil {
		response = []byte{}
	}
	return response
}

// login calls the backend's Auth and opens the maildrop.
func (s *authState) login(ctx context.Context, cred *envelope.Credentials) bool {
	if !s.cfg.Limits.MayAuth(s.s.Remote.Addr()) {
		s.log.Info("too many failed logins")
		s.ended = true
		return s.err("[SYS/TEMP] too many failed logins, try later")
	}
	id, st := s.backend.Auth(ctx, s.s, cred)
	if id == nil && (st == nil || st.Code < 400) {
		st = envelope.Reject(535, "5.7.8", "wrong name or password")
	}
	good := st == nil || st.Code < 400
	if f := s.cfg.Observe.Auth; f != nil {
		f(s.s.Listener, cred.Mechanism, good)
	}
	if !good {
		if cred.Token != "" && st.Code != 421 && !st.Close && s.challenge(sasl.TokenRefused(cred.Mechanism)) == nil {
			return false // RFC 7628 3.2.2 wants that; the refusal is written
		}
		return s.denied(st)
	}
	return s.openMaildrop(ctx, id)
}

func (s *authState) denied(st *envelope.Status) bool {
	text := respCode(st) + st.Text
	if st.Close || st.Code == 421 {
		s.ended = true
	}
	if st.Code < 500 {
		return s.err(text)
	}
	s.cfg.Limits.AuthFailed(s.s.Remote.Addr())
	return s.protocolError(text)
}

// openMaildrop enters the TRANSACTION state. Until the lock is given back no other
// session has the maildrop; a crash gives it back. Who may only read takes no
// lock, and finds that messages are gone that others removed.
func (s *authState) openMaildrop(ctx context.Context, id *envelope.Identity) bool {
	if wait := s.delay.wait(id.User, s.cfg.LoginDelay, s.cfg.Now()); wait > 0 {
		return s.err(fmt.Sprintf("[LOGIN-DELAY] %d seconds to wait until the next login", int(math.Ceil(wait.Seconds()))))
	}
	readonly, _ := id.Extra["readonly"].(bool)
	unlock, err := func() {}, error(nil)
	if !readonly {
		unlock, err = s.boxes.Lock(id.User)
	}
	if errors.Is(err, store.ErrLocked) {
		return s.err("[IN-USE] the maildrop is open in another session")
	}
	if err == nil {
		defer func() {
			if s.drop == nil { // not opened, by an error or a panic
				unlock()
			}
		}()
		var info store.MailboxInfo
		if info, err = s.boxes.Mailbox(ctx, id.User, store.Inbox); err == nil {
			s.s.Identity = id
			s.drop = newMaildrop(info, unlock)
			s.open.Put(s.c, s.s)
			s.drop.readonly = readonly
			return s.ok(s.drop.describe("maildrop has "))
		}
	}
	s.log.Error("maildrop cannot be opened", "owner", string(id.User), "err", err)
	return s.err("[SYS/TEMP] the maildrop cannot be opened, try later")
}
