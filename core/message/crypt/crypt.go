// Package crypt encrypts messages to keys of their recipients, with OpenPGP
// (PGP/MIME, RFC 3156) and S/MIME (RFC 8551), and keeps those public keys by
// address.
//
// It encrypts the MIME entity octet for octet, with every header field that
// delivery and threading do not need; see staysOutside. A message is encrypted
// as a whole or not at all: after an error no ciphertext may be used, and an
// error never leads to plaintext being sent.
//
// It decrypts nothing, has no private keys, and does not check whether a certificate
// was revoked.
package crypt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// Kinds of keys, and of messages that are encrypted to them.
const (
	OpenPGP = "openpgp"
	SMIME   = "smime"
)

// Reasons why a message is not encrypted. Their texts are part of what
// policies see.
var (
	ErrEncrypted  = errors.New("encrypted") // it is already
	ErrReport     = errors.New("report")    // a delivery status notification stays readable
	ErrNoKey      = errors.New("no key")
	ErrExpired    = errors.New("expired")
	ErrRevoked    = errors.New("revoked")
	ErrUnusable   = errors.New("unusable")   // it cannot encrypt
	ErrUnreadable = errors.New("unreadable") // it is no key
	ErrTooLarge   = errors.New("too large")  // see MaxSMIME
)

// reasons are the errors above.
var reasons = []error{ErrEncrypted, ErrReport, ErrNoKey, ErrExpired, ErrRevoked, ErrUnusable, ErrUnreadable, ErrTooLarge}

// Reason returns the text of the reason that err wraps, "" for any other error.
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r) {
			return r.Error()
		}
	}
	return ""
}

// Encrypt reads a body and writes the one that holds it and the header fields
// that go inside, encrypted; it returns the header section to use with it.
// now is when the key has to be good. OpenPGP is a stream, S/MIME holds all of
// the message, MaxSMIME octets at most: ErrTooLarge; it waits while two others
// do, and returns the error of ctx where that ends. Further errors are
// ErrExpired, ErrRevoked, ErrUnusable, ErrUnreadable, and those of body and w.
func Encrypt(ctx context.Context, e envelope.Encryption, h *mime.Header, body io.Reader, w io.Writer, now time.Time) (*mime.Header, error) {
	outer, inner := divide(h, e.HideSubject)
	entity := io.MultiReader(strings.NewReader(inner), body)
	var fields string
	var err error
	switch e.Kind {
	case OpenPGP:
		fields, err = encryptPGP(e.Key, entity, w, now)
	case SMIME:
		fields, err = encryptSMIME(ctx, e.Key, entity, w, now)
	default:
		err = fmt.Errorf("%q: %w", e.Kind, ErrUnusable)
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt for %s: %w", e.Address, err)
	}
	return mime.ParseHeader([]byte(outer + "MIME-Version: 1.0\r\n" + fields)), nil
}

// outside are the fields that stay readable, in lower case: what delivery, the
// trace of it and threading need, and what filters of mailboxes go by.
var outside = map[string]bool{
	"return-path": true, "received": true, "received-spf": true, "delivered-to": true, "x-original-to": true, "x-forwarded-for": true,
	"authentication-results": true, "date": true, "from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true,
	"message-id": true, "in-reply-to": true, "references": true, "subject": true, "auto-submitted": true, "precedence": true,
	"importance": true, "priority": true, "x-priority": true, "mt-priority": true, "x-loop": true,
}

// outsidePrefixes begin names of further such fields.
var outsidePrefixes = []string{"resent-", "list-", "x-spam", "x-carteiro-"}

func staysOutside(name string) bool {
	if outside[name] {
		return true
	}
	for _, p := range outsidePrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// hidden is what others read in place of a subject that goes inside.
const hidden = "Subject: ...\r\n"

// protected is the parameter that says: the header section inside has the fields of the
// message.
const protected = `protected-headers="v1"`

// divide returns the fields that stay outside, and the header section inside with its
// blank line. The octets of the fields do not change, except for a subject that is to be
// hidden.
func divide(h *mime.Header, hideSubject bool) (outer, inner string) {
	var out, in strings.Builder
	typed := false
	for _, f := range h.Fields() {
		name := strings.ToLower(f.Name())
		raw := f.Raw
		switch {
		case name == "mime-version":
		case name == "subject" && hideSubject:
			out.WriteString(hidden)
			in.WriteString(raw)
		case name == "content-type" && hideSubject && !typed:
			typed = true
			in.WriteString(strings.TrimRight(raw, "; \t\r\n") + ";\r\n " + protected + "\r\n")
		case staysOutside(name):
			out.WriteString(raw)
		default:
			in.WriteString(raw)
		}
	}
	if hideSubject && !typed {
		in.WriteString("Content-Type: text/plain; " + protected + "\r\n")
	}
	return out.String(), in.String() + "\r\n"
}
