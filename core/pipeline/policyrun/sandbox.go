package policyrun

import (
	"cmp"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"carteiro/hooks"
)

// sandbox is what every page of a bundle carries: all bundles answer below one
// name, and without it the script of one could read the pages of the others
// with what the browser keeps for that name. A page under it has an origin of
// its own; its forms and scripts work.
const sandbox = "sandbox allow-forms allow-scripts"

// confine adds the sandbox to an answer and makes the realm of a log-in that it
// asks for one of the bundle's own, so that a browser shows a bundle no
// password that was typed for another. Pages of the admin stay as they are.
func confine(info *hooks.Info, r *hooks.Response) {
	if info.Tier == hooks.Admin || info.Tier == hooks.After {
		return
	}
	headers := make(map[string]string, len(r.Headers)+1)
	var names []string
	for name := range r.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	if !info.PlainWeb {
		headers["Content-Security-Policy"] = sandbox
	}
	for _, name := range names {
		value, key := r.Headers[name], textproto.CanonicalMIMEHeaderKey(name)
		if key == "Www-Authenticate" {
			value = ownRealm(value, cmp.Or(info.Bundle, strings.Join(info.Domains, " ")))
		}
		if before := headers[key]; before != "" { // of a policy for content, each counts
			value = before + ", " + value
		}
		headers[key] = value
	}
	r.Headers = headers
}

var (
	challenge = regexp.MustCompile(`^\s*([!#$%&'*+.^_|~0-9A-Za-z-]+)(?:\s+(.*))?$`)
	realm     = regexp.MustCompile(`(?i)^\s*realm\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*)`)
)

// ownRealm gives each challenge for Basic authentication (RFC 7617) a realm with
// a name in it. Other schemes stay: their answers depend on the realm.
func ownRealm(value, name string) string {
	var out []string
	basic, at := false, -1 // the challenge at hand, and where its first parameter is, while it has no realm
	end := func() {
		if basic && at >= 0 {
			sep := ", "
			if strings.EqualFold(strings.TrimSpace(out[at]), "basic") {
				sep = " "
				out[at] = strings.TrimRight(out[at], " ")
			}
			out[at] += sep + `realm="` + name + `"`
		}
	}
	for _, item := range splitQuoted(value) {
		text := item
		head := ""
		if m := challenge.FindStringSubmatch(item); m != nil && !strings.HasPrefix(strings.TrimSpace(m[2]), "=") && !realm.MatchString(item) {
			end()
			basic, at = strings.EqualFold(m[1], "basic"), len(out)
			text = m[2]
			head = strings.TrimSuffix(item, text)
		}
		if m := realm.FindStringSubmatch(text); m != nil && basic {
			given := strings.Trim(m[1], `"`)
			text = `realm="` + strings.TrimSpace(given+" ("+name+")") + `"` + text[len(m[0]):]
			at = -1
			if head == "" {
				head = " "
			}
		}
		out = append(out, head+text)
	}
	end()
	return strings.Join(out, ",")
}

// splitQuoted cuts at commas outside of quoted strings.
func splitQuoted(s string) (out []string) {
	from, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}
