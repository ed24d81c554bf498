package verify

import (
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// Field writes results as the value of an Authentication-Results field.
func Field(hostname string, a *envelope.AuthResults) string {
	parts := []string{hostname}
	spf := "spf=" + a.SPF.Result
	if a.SPF.Helo {
		spf += " smtp.helo=" + onlyNameOctets(a.SPF.Domain)
	} else {
		spf += " smtp.mailfrom=" + onlyNameOctets(a.SPF.Domain)
	}
	parts = append(parts, spf)
	if len(a.DKIM) == 0 {
		parts = append(parts, "dkim=none")
	}
	for _, s := range a.DKIM {
		p := "dkim=" + s.Result
		if s.Domain != "" {
			p += " header.d=" + onlyNameOctets(s.Domain)
		}
		if s.Selector != "" {
			p += " header.s=" + onlyNameOctets(s.Selector)
		}
		parts = append(parts, p)
	}
	dmarc := "dmarc=" + a.DMARC.Result
	if a.DMARC.Domain != "" {
		dmarc += " header.from=" + onlyNameOctets(a.DMARC.Domain)
	}
	if a.DMARC.Policy != "" {
		dmarc += " policy.dmarc=" + a.DMARC.Policy
	}
	parts = append(parts, dmarc)
	if a.ARC.Result != "" && a.ARC.Result != "none" {
		parts = append(parts, "arc="+a.ARC.Result)
	}
	return strings.Join(parts, "; ")
}

// onlyNameOctets keeps the characters that a domain or a selector may have.
func onlyNameOctets(s string) string {
	return strings.Map(func(c rune) rune {
		if c > ' ' && c != ';' && c != '"' && c != '(' && c != ')' && c != 0x7f {
			return c
		}
		return '?'
	}, s[:min(len(s), envelope.MaxDomain)])
}

// Strip removes Authentication-Results fields that claim to be this server's:
// only those that it writes itself may be believed (RFC 8601 5). It returns
// how many there were.
func Strip(h *mime.Header, hostname string) int {
	return h.RemoveIf("Authentication-Results", func(value string) bool {
		id, _, _ := strings.Cut(value, ";")
		fields := strings.Fields(id)
		return len(fields) > 0 && strings.EqualFold(fields[0], hostname)
	})
}
