// Package smtpin serves SMTP, submission and LMTP clients (RFC 5321, RFC
// 6409, RFC 2033): it turns octets into transactions and asks a Backend about
// each step.
//
// A session is one of: new (no HELO yet), greeted, in a transaction (MAIL was
// accepted), in content. Content ends a transaction, as RSET, a new EHLO,
// STARTTLS and the end of the session do; Backend.End tells of each. Nothing
// is on disk because of this package: the Backend takes responsibility inside
// Data, and a session that ends before Data returned leaves nothing.
//
// It is strict where laxness has been abused: only CRLF ends a command, only
// CRLF.CRLF ends DATA, octets of a refused BDAT never run as commands, and
// nothing that came in the clear after STARTTLS is obeyed. Content that
// holds a bare CR or LF is refused or normalised, by Config.BareNewlines. A
// line of content may be as long as the message; one of a command may have 512
// octets, 2048 with MAIL, RCPT and XCLIENT, 12288 with AUTH. A BDAT whose size
// cannot be read ends the session, for what follows is content or commands and
// nobody can tell.
//
// It is patient only within bounds: with errors, with commands that lead to no
// message, with content that comes slowly or is far too long, with logins.
// Each session that one of them ends, and each client that is turned away, is
// in the log at level info with the reason.
//
// It does not know accounts, policies, routes or storage, adds no header
// fields and does not look into messages.
package smtpin

import (
	"context"
	"io"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/sasl"
)

// Backend is what a session asks of the pipeline. A nil *envelope.Status is the
// verb's usual success; a Status with a code below 400 is success with that
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
	// Rcpt judges one recipient; when it is accepted the session appends it
	// to tx.Recipients.
	Rcpt(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, rcpt *envelope.Recipient) *envelope.Status
	// Data reads content to a clean io.EOF and takes responsibility, or
	// refuses. It may return before it read everything: the session swallows
	// the rest. Every other error of content, io.ErrUnexpectedEOF first of
	// all, means that the message is not whole and must be dropped.
	Data(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, content io.Reader) Outcome
	// End is called exactly once for each transaction whose Mail succeeded or
	// panicked: after Data, on RSET, a new EHLO, STARTTLS, or the end of the
	// session.
	End(s *envelope.Session, tx *envelope.Transaction)
	// Close is called once for each session whose Connect was called;
	// s.Closed is set.
	Close(s *envelope.Session)
}

// Outcome is the answer to a message. Recipients is for LMTP, one for each of
// tx.Recipients; where it is nil, or has a nil, Status counts.
type Outcome struct {
	Status     *envelope.Status
	Recipients []*envelope.Status
}
