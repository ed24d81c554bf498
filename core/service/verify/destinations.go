package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"carteiro/core/message/envelope"
)

// maxDestinations is how many URIs of a record get a report; RFC 9990 3.5
// leaves the limit to who reports.
const maxDestinations = 5

// publishedRecord returns a record with the defaults of what it leaves out (RFC
// 9989 4.7).
func publishedRecord(record map[string]string, at string) *envelope.DMARCRecord {
	word := func(tag, fallback string, known ...string) string {
		if v := strings.ToLower(record[tag]); slices.Contains(known, v) {
			return v
		}
		return fallback
	}
	requests := []string{"none", "quarantine", "reject"}
	r := &envelope.DMARCRecord{Domain: at, ADKIM: word("adkim", "r", "r", "s"), ASPF: word("aspf", "r", "r", "s"),
		FO: cmp.Or(record["fo"], "0"), Testing: record["t"] == "y"}
	r.P = word("p", "none", requests...)
	r.SP = word("sp", r.P, requests...)
	r.NP = word("np", r.SP, requests...)
	for uri := range strings.SplitSeq(record["rua"], ",") {
		if uri = strings.TrimSpace(uri); uri != "" && len(r.RUA) < maxDestinations {
			r.RUA = append(r.RUA, uri)
		}
	}
	return r
}

// Destinations returns the addresses that a report of size octets about a domain
// may go to: those of its record's rua that lie within the same organization,
// and others whose domain says that it takes reports about this one (RFC 9990
// 4). What is no mailto URI, is too small for the report or has not agreed is
// left out. It blocks on DNS; an error is a look-up that gave no answer.
func Destinations(ctx context.Context, r Resolver, domain string, rua []string, size int64) ([]envelope.Address, error) {
	w := &walk{ctx: ctx, r: r, seen: map[string]org{}}
	var out []envelope.Address
	for _, uri := range rua[:min(len(rua), maxDestinations)] {
		to, limit, ok := mailto(uri)
		if !ok {
			continue
		}
		to, limit, err := w.findAgreement(domain, to, limit)
		if err != nil {
			return nil, err
		}
		if to != "" && (limit == 0 || size <= limit) && !slices.Contains(out, to) {
			out = append(out, to)
		}
	}
	return out, nil
}

// findAgreement returns the address to which reports about domain go if its record names
// to, another domain's address; "" if that domain has not agreed.
func (w *walk) findAgreement(domain string, to envelope.Address, limit int64) (envelope.Address, int64, error) {
	host := to.Domain()
	name := domain + "._report._dmarc." + host
	if len(name) > 253 { // RFC 9990 4: then nobody can have agreed
		return "", 0, nil
	}
	a, b := w.findOrg(domain), w.findOrg(host)
	if a.err != nil || b.err != nil {
		return "", 0, fmt.Errorf("organizations of %s and %s: %w", domain, host, errors.Join(a.err, b.err))
	}
	if a.name == b.name {
		return to, limit, nil
	}
	texts, err := w.r.TXT(w.ctx, name)
	if err != nil && lookupResult(err) == "temperror" {
		return "", 0, err
	}
	agreed := false
	for _, t := range texts {
		if !isDMARC(t) {
			continue
		}
		agreed = true
		rua, there := dmarcTags(t)["rua"]
		if !there {
			continue
		}
		uri, _, _ := strings.Cut(rua, ",")
		other, size, ok := mailto(strings.TrimSpace(uri))
		if !ok || other.Domain() != host { // otherwise a domain could redirect reports to a third one
			return "", 0, nil
		}
		to, limit = other, size
	}
	if !agreed {
		return "", 0, nil
	}
	return to, limit, nil
}

// mailto reads a DMARC URI: an address, and how many octets it takes, 0 for
// any, from the "!10m" of RFC 7489 6.2.
func mailto(uri string) (envelope.Address, int64, bool) {
	scheme, rest, _ := strings.Cut(uri, ":")
	if !strings.EqualFold(scheme, "mailto") {
		return "", 0, false
	}
	rest, size, limited := strings.Cut(rest, "!")
	rest, _, _ = strings.Cut(rest, "?")
	text, err := url.PathUnescape(rest)
	if err != nil {
		return "", 0, false
	}
	a, err := envelope.ParseAddress(text)
	if err != nil {
		return "", 0, false
	}
	if !limited {
		return a, 0, true
	}
	n, ok := octets(strings.ToLower(size))
	return a, n, ok
}

// octets reads a number with the unit k, m, g or t.
func octets(s string) (int64, bool) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("kmgt", s[len(s)-1]); i >= 0 {
			s, shift = s[:len(s)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, false
	}
	return min(n, math.MaxInt64>>shift) << shift, true
}
