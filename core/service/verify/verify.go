// Package verify checks who a message really comes from: SPF (RFC 7208) checks
// the client and the envelope, DKIM (RFC 6376, RFC 8463) the signatures, DMARC
// (RFC 9989) whether either of them is for the author's domain, and ARC (RFC
// 8617) what hosts on the way found. It writes the results as an
// Authentication-Results field (RFC 8601).
//
// It decides nothing: policies decide what a failure means. It blocks on DNS
// and reads the message once, with ARC twice; its only state is the resolver's
// cache.
package verify

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/dns"
)

// Resolver makes the DNS look-ups; *dns.Resolver implements it.
type Resolver interface {
	A(ctx context.Context, name string) ([]netip.Addr, error)
	AAAA(ctx context.Context, name string) ([]netip.Addr, error)
	MX(ctx context.Context, name string) ([]dns.MX, error)
	TXT(ctx context.Context, name string) ([]string, error)
	PTR(ctx context.Context, ip netip.Addr) ([]string, error)
}

// Message is a message to verify.
type Message struct {
	IP     netip.Addr // of the client
	Helo   string
	Sender envelope.Address
	Header *mime.Header
	Body   func() (io.ReadCloser, error)
	Now    time.Time // at which signatures must not have expired; zero: the present
}

// Check verifies a message. It blocks until the DNS has answered or ctx ends;
// what could not be looked up is a temperror, not an error. Errors are those
// of Body.
func Check(ctx context.Context, r Resolver, m Message) (*envelope.AuthResults, error) {
	res := &envelope.AuthResults{SPF: checkSPF(ctx, r, m)}
	signatures, err := checkDKIM(ctx, r, m)
	if err != nil {
		return nil, err
	}
	res.DKIM = signatures
	res.DMARC = checkDMARC(ctx, r, m.Header, res)
	res.ARC, err = checkARC(ctx, r, m)
	return res, err
}

// lookupResult returns the word for a look-up that gave no answer.
func lookupResult(err error) string {
	if errors.Is(err, dns.ErrNXDomain) {
		return "none"
	}
	return "temperror"
}
