// Package dns looks up the records that mail needs: MX, A, AAAA, TXT, PTR and
// TLSA, with a cache that respects TTLs and with limits on the size of answers.
// It is the only home of miekg/dns.
package dns

import "errors"

// Errors of a look-up. A name that exists without records of the requested type gives an
// empty list and no error.
var (
	// ErrNXDomain: the name does not exist. Permanent.
	ErrNXDomain = errors.New("no such domain")
	// ErrServFail: the resolver answered that it failed. Temporary.
	ErrServFail = errors.New("name server failure")
	// ErrTimeout: no answer came. Temporary.
	ErrTimeout = errors.New("name server timeout")
)

// MX is one MX record; Host "." is the null MX (RFC 7505), given as "".
type MX struct {
	Host       string // lower case, no trailing dot
	Preference uint16
}
