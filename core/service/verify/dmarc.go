package verify

import (
	"context"
	"errors"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/dns"
)

// maxWalk bounds the questions of one walk up the DNS tree (RFC 9989 4.10).
const maxWalk = 8

// checkDMARC looks up the policy of the author's domain, and checks whether SPF or a DKIM
// signature is aligned with it.
func checkDMARC(ctx context.Context, r Resolver, h *mime.Header, res *envelope.AuthResults) envelope.AuthResult {
	from, ok := author(h)
	if !ok {
		return envelope.AuthResult{Result: "permerror", Reason: "From does not name one domain"}
	}
	out := envelope.AuthResult{Result: "none", Domain: from}
	w := &walk{ctx: ctx, r: r, seen: map[string]org{}}
	own := w.findOrg(from)
	if own.err != nil {
		out.Result, out.Reason = "temperror", "look-up failed"
		return out
	}
	record, at := own.policy(from)
	if record == nil {
		return out
	}
	if out.Policy, ok = w.requestedPolicy(record, from, at); !ok {
		out.Policy, out.Reason = "", "the record asks for nothing that is known"
		return out
	}
	strictSPF, strictDKIM := record["aspf"] == "s", record["adkim"] == "s"
	temporary := res.SPF.Result == "temperror"
	pub := publishedRecord(record, at)
	pub.SPFAligned = res.SPF.Result == "pass" && w.isAligned(res.SPF.Domain, from, strictSPF, &temporary)
	for _, s := range res.DKIM {
		pub.DKIMAligned = pub.DKIMAligned || s.Result == "pass" && w.isAligned(s.Domain, from, strictDKIM, &temporary)
		temporary = temporary || s.Result == "temperror"
	}
	res.Published = pub
	switch {
	case pub.SPFAligned || pub.DKIMAligned:
		out.Result = "pass"
	case temporary:
		out.Result = "temperror"
	default:
		out.Result = "fail"
	}
	return out
}

// author returns the domain of the From field, if there is one such field and all its
// addresses have the same domain.
func author(h *mime.Header) (string, bool) {
	if h.Count("From") != 1 {
		return "", false
	}
	list, complete := mime.ParseAddressList(h.All("From")[0])
	if !complete || len(list) == 0 {
		return "", false
	}
	domain := dns.ASCII(list[0].Address.Domain())
	for _, m := range list {
		if dns.ASCII(m.Address.Domain()) != domain {
			return "", false
		}
	}
	return domain, domain != ""
}

// walk finds organizational domains by walking up the tree.
type walk struct {
	ctx  context.Context
	r    Resolver
	seen map[string]org
}

// org is the organizational domain of a name, the public suffix above it where
// that says so itself, and the records on the way.
type org struct {
	name    string
	suffix  string
	records map[string]map[string]string
	err     error
}

// policy returns the record that applies to from, and where it is: its own, that of
// its organizational domain, or that of the public suffix (RFC 9989 4.10.1).
func (o *org) policy(from string) (record map[string]string, at string) {
	for _, at := range []string{from, o.name, o.suffix} {
		if record := o.records[at]; record != nil {
			return record, at
		}
	}
	return nil, ""
}

// findOrg walks from a domain upwards (RFC 9989 4.10.2): a record with psd=n marks
// the organizational domain, one with psd=y that the domain below it is, and
// else it is the highest one with a record.
func (w *walk) findOrg(domain string) org {
	if o, ok := w.seen[domain]; ok {
		return o
	}
	o := org{name: domain, records: map[string]map[string]string{}}
	name := domain
	for n := 0; name != "" && n < maxWalk; n++ {
		record, err := w.record(name)
		if err != nil {
			o.err = err
			break
		}
		if record != nil {
			o.records[name] = record
			o.name = name
			if record["psd"] == "y" && name != domain {
				o.name, o.suffix = oneBelow(domain, name), name
			}
			if record["psd"] == "n" || record["psd"] == "y" {
				break
			}
		}
		name = parent(name, n)
	}
	w.seen[domain] = o
	return o
}

// oneBelow returns the name one label below suffix on the way to domain.
func oneBelow(domain, suffix string) string {
	head := strings.TrimSuffix(domain, "."+suffix)
	return head[strings.LastIndexByte(head, '.')+1:] + "." + suffix
}

// parent returns the next name to ask: of a long name the last seven labels, then
// one label less each time.
func parent(name string, n int) string {
	labels := strings.Split(name, ".")
	if n == 0 && len(labels) > maxWalk {
		return strings.Join(labels[len(labels)-maxWalk+1:], ".")
	}
	return strings.Join(labels[1:], ".")
}

// record reads the DMARC record of exactly this name; several records count as none.
func (w *walk) record(name string) (map[string]string, error) {
	texts, err := w.r.TXT(w.ctx, "_dmarc."+name)
	if err != nil && lookupResult(err) == "temperror" {
		return nil, err
	}
	var found map[string]string
	for _, t := range texts {
		if !isDMARC(t) {
			continue
		}
		if found != nil {
			return nil, nil
		}
		found = dmarcTags(t)
	}
	return found, nil
}

// dmarcTags reads a record. Names and values are in lower case, but for the
// addresses of reports.
func dmarcTags(text string) map[string]string {
	out := map[string]string{}
	tags, _ := parseTags(text)
	for name, value := range tags {
		if name = strings.ToLower(name); name != "rua" && name != "ruf" {
			value = strings.ToLower(value)
		}
		out[name] = value
	}
	return out
}

// isDMARC reports whether a text is of DMARC: its first tag says so.
func isDMARC(text string) bool {
	version, _, _ := strings.Cut(text, ";")
	return strings.Join(strings.Fields(version), "") == "v=DMARC1"
}

// requestedPolicy returns the policy of a record for the domain from: p at the
// record's own name, else sp, or np for a name that does not exist. ok is false
// if the policy is unknown and nobody wants reports (RFC 9989 4.10.1).
func (w *walk) requestedPolicy(record map[string]string, from, at string) (policy string, ok bool) {
	valid := map[string]bool{"none": true, "quarantine": true, "reject": true}
	for _, tag := range []string{"p", "sp", "np"} {
		if v, given := record[tag]; given && !valid[v] {
			return "none", strings.Contains(record["rua"], ":")
		}
	}
	policy = record["p"]
	if at != from {
		if sp := record["sp"]; sp != "" {
			policy = sp
		}
		if np := record["np"]; np != "" {
			if _, err := w.r.A(w.ctx, from); errors.Is(err, dns.ErrNXDomain) {
				policy = np
			}
		}
	}
	if policy == "" {
		policy = "none"
	}
	if record["t"] == "y" { // testing: one step milder
		policy = map[string]string{"reject": "quarantine", "quarantine": "none", "none": "none"}[policy]
	}
	return policy, true
}

// isAligned reports whether a domain may speak for from; temporary becomes true
// where that could not be looked up.
func (w *walk) isAligned(domain, from string, strict bool, temporary *bool) bool {
	domain = dns.ASCII(domain)
	if domain == from || strict {
		return domain == from
	}
	a, b := w.findOrg(domain), w.findOrg(from)
	*temporary = *temporary || a.err != nil || b.err != nil
	return a.err == nil && b.err == nil && a.name == b.name
}
