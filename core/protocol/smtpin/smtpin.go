// Package smtpin serves SMTP, submission and LMTP clients (RFC 5321, RFC
// 6409, RFC 2033): it parses commands into transactions and calls a Backend at each
// step.
//
// A session is in one of four states: new (no HELO yet), greeted, in a
// transaction (MAIL was accepted), in content. A transaction ends with its
// content, RSET, a new EHLO, STARTTLS or the session; Backend.End is called
// each time. This package writes nothing to disk: the Backend takes
// responsibility inside Data, and a session that ends before Data returned
// leaves nothing.
//
// It is strict where attackers have used laxness: only CRLF ends a command,
// only CRLF.CRLF ends DATA, octets of a refused BDAT never run as commands, and
// nothing that came in the clear after STARTTLS is executed. Content with a
// bare CR or LF is refused or normalised, as Config.BareNewlines says. A line
// of content may be as long as the message; one of a command may have 512
// octets, 2048 with MAIL, RCPT and XCLIENT, 12288 with AUTH. A BDAT whose size
// cannot be parsed ends the session, because nobody knows whether content or
// commands follow.
//
// It limits errors, commands that lead to no message, content that comes slowly
// or is far too long, and logins. Each session that a limit ends, and each
// client that is refused, is in the log at level info with the reason.
//
// It knows no accounts, policies, routes or storage, adds no header fields and
// does not read messages.
package smtpin

import (
	"context"
	"io"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/sasl"
)

// Backend is what a session needs from the pipeline. A nil *envelope.Status is
// the verb's usual success; a Status with a code below 400 is success with that
// text; anything else is refused with it. Status.Close ends the session after
// the reply. For one session, calls come one at a time.
//
// ctx ends with the session, or when the server's grace is over. The session
// does not read while a call runs, so a client that leaves in the middle of
// the final commit does not cancel it.
type Backend interface {
	sasl.Logins
	// Connect is called again when XCLIENT changed who the client is.
	Connect(ctx context.Context, s *envelope.Session) *envelope.Status
	Helo(ctx context.Context, s *envelope.Session, name string) *envelope.Status
	Auth(ctx context.Context, s *envelope.Session, cred *envelope.Credentials) (*envelope.Identity, *envelope.Status)
	Mail(ctx context.Context, s *envelope.Session, tx *envelope.Transaction) *envelope.Status
	// Rcpt decides about one recipient; if it is accepted the session appends it
	// to tx.Recipients.
	Rcpt(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, rcpt *envelope.Recipient) *envelope.Status
	// Data reads content to io.EOF and takes responsibility, or refuses. It may
	// return before it has read everything: the session drops the rest. Every
	// other error of content, io.ErrUnexpectedEOF most of all, means that the
	// message is incomplete and must be dropped.
	Data(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, content io.Reader) Outcome
	// End is called exactly once for each transaction whose Mail succeeded or
	// panicked: after Data, on RSET, a new EHLO, STARTTLS, or the end of the
	// session.
	End(s *envelope.Session, tx *envelope.Transaction)
	// Close is called once for each session whose Connect was called;
	// s.Closed is set.
	Close(s *envelope.Session)
}

// Outcome is the reply to a message. Recipients is for LMTP, one for each of
// tx.Recipients; Status is used if it, or one of them, is nil.
type Outcome struct {
	Status     *envelope.Status
	Recipients []*envelope.Status
}
