// Package dns looks up what mail needs to know: MX, A, AAAA, TXT, PTR and
// TLSA records, with a cache that honours TTLs and limits on what one answer
// may cost. It is the only home of miekg/dns.
package dns

import "errors"

// Outcomes of a lookup other than records. A name that exists without
// records of the type asked for gives an empty list and no error.
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
