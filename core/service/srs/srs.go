// Package srs makes and verifies signed return addresses: senders of forwarded
// mail (the Sender Rewriting Scheme), so that the message passes SPF at the
// next server and bounces come back through us, and signatures of other
// addresses, as VERP needs them.
//
//	SRS0=sign=day=domain=local@OURS      for local@domain
//	SRS1=sign=domain=rest@OURS           for SRS0rest@domain, which another
//	                                     forwarder made
//
// An address is valid for Days days. The signature has 30 bits, which is what
// fits into 64 octets together with the names; guessing one takes millions of
// tries at RCPT. Case does not matter, because mail systems change it.
//
// It sends nothing and decides nothing: the pipeline decides whether a bounce
// is forwarded to the original sender.
package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"carteiro/core/message/envelope"
)

// Days is how long a return address lives.
const Days = 21

const (
	signLength = 6
	modulo     = 32 * 32 // of day numbers
	digits     = "abcdefghijklmnopqrstuvwxyz234567"
)

var base32Lower = base32.NewEncoding(digits).WithPadding(base32.NoPadding)

// Ring holds the keys that sign: the first one signs, all of them verify. It
// is safe for concurrent use and does not block.
type Ring struct{ keys atomic.Pointer[[][]byte] }

// NewRing returns a ring of keys, the current one first. The caller must not
// change them.
func NewRing(keys ...[]byte) *Ring {
	r := &Ring{}
	r.keys.Store(&keys)
	return r
}

// Ready reports whether there is a key to sign with.
func (r *Ring) Ready() bool { return r != nil && len(*r.keys.Load()) > 0 }

// Sign returns the current key's signature of parts; kind keeps uses apart. The
// ring must be Ready.
func (r *Ring) Sign(kind string, parts ...string) string {
	return sign((*r.keys.Load())[0], kind, parts)
}

// Verify reports whether one of the keys made that signature.
func (r *Ring) Verify(signature, kind string, parts ...string) bool {
	signature = strings.ToLower(signature)
	ok := false
	for _, key := range *r.keys.Load() {
		ok = hmac.Equal([]byte(signature), []byte(sign(key, kind, parts))) || ok
	}
	return ok
}

func sign(key []byte, kind string, parts []string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(kind))
	for _, p := range parts {
		mac.Write([]byte{0})
		mac.Write([]byte(strings.ToLower(p)))
	}
	return base32Lower.EncodeToString(mac.Sum(nil))[:signLength]
}

// Is reports whether an address has the form of an SRS return path, ours or another
// server's.
func Is(a envelope.Address) bool {
	local := strings.ToUpper(a.Local())
	return len(local) >= 5 && (strings.HasPrefix(local, "SRS0") || strings.HasPrefix(local, "SRS1")) &&
		strings.ContainsRune("=+-", rune(local[4]))
}

// Rewrite returns the sender of a forwarded message: a return address at one of
// our domains. Senders that cannot be rewritten are returned as they are: the
// null sender, quoted ones, those too long for 64 octets, and those at address
// literals. The ring must be Ready.
func (r *Ring) Rewrite(sender envelope.Address, domain string, now time.Time) envelope.Address {
	if sender == "" || strings.HasPrefix(sender.Local(), `"`) {
		return sender
	}
	local, from, out := sender.Local(), sender.Domain(), ""
	switch {
	case Is(sender) && local[3] == '0':
		out = r.rewriteSRS1(from, local[4:], now)
	case Is(sender) && local[4] == '=':
		_, rest, ok := strings.Cut(local[5:], "=")
		first, rest, ok2 := strings.Cut(rest, "=")
		if !ok || !ok2 || checked("SRS0"+rest+"@"+first) == "" {
			return sender
		}
		out = r.rewriteSRS1(first, rest, now)
	default:
		day := dayText(dayOf(now))
		out = "SRS0=" + r.Sign("srs0", day, from, local) + "=" + day + "=" + from + "=" + local
	}
	if a := checked(out + "@" + domain); a != "" {
		return a
	}
	return sender
}

// rewriteSRS1 returns the SRS1 form. It has no field for our day, so the day is only
// part of the signature.
func (r *Ring) rewriteSRS1(first, rest string, now time.Time) string {
	return "SRS1=" + r.Sign("srs1", strconv.Itoa(dayOf(now)), first, rest) + "=" + first + "=" + rest
}

// Reverse returns the sender of a return address, or "" if it was not made here
// or is too old.
func (r *Ring) Reverse(a envelope.Address, now time.Time) envelope.Address {
	local := a.Local()
	if !r.Ready() || !Is(a) || local[4] != '=' {
		return ""
	}
	if local[3] == '1' {
		return r.reverseSRS1(local[5:], now)
	}
	f := strings.SplitN(local[5:], "=", 4)
	if len(f) != 4 || !r.Verify(f[0], "srs0", f[1], f[2], f[3]) {
		return ""
	}
	day := dayNumber(f[1])
	if age := (dayOf(now) - day + modulo) % modulo; day < 0 || age > Days {
		return ""
	}
	return checked(f[3] + "@" + f[2])
}

func (r *Ring) reverseSRS1(s string, now time.Time) envelope.Address {
	signature, rest, _ := strings.Cut(s, "=")
	first, rest, ok := strings.Cut(rest, "=")
	if !ok {
		return ""
	}
	for age := range Days + 1 {
		if r.Verify(signature, "srs1", strconv.Itoa((dayOf(now)-age+modulo)%modulo), first, rest) {
			return checked("SRS0" + rest + "@" + first)
		}
	}
	return ""
}

func dayOf(t time.Time) int { return int(t.Unix()/86400) % modulo }

func dayText(day int) string { return string([]byte{digits[day/32], digits[day%32]}) }

func dayNumber(s string) int {
	s = strings.ToLower(s)
	if len(s) != 2 {
		return -1
	}
	hi, lo := strings.IndexByte(digits, s[0]), strings.IndexByte(digits, s[1])
	if hi < 0 || lo < 0 {
		return -1
	}
	return hi*32 + lo
}

// checked is s as an address, or "".
func checked(s string) envelope.Address {
	a, err := envelope.ParseAddress(s)
	if err != nil {
		return ""
	}
	return a
}
