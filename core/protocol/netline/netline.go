// Package netline is what the listeners of line protocols (SMTP, LMTP, POP3)
// share: an accept loop with limits and an orderly stop, a connection that
// reads strict CRLF lines and coalesces replies, and limits per client address.
//
// A Conn belongs to one goroutine, the session's; only Stop and Abort may be
// called from others. Replies are buffered until the session would wait for the
// client, so that a pipelining client gets them in one piece (RFC 2920 3.2).
//
// The package knows no verbs, no logins and no messages.
package netline
