package policyrun

import (
	"cmp"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"carteiro/hooks"
)

// sandbox is the Content-Security-Policy of every page of a bundle. All bundles share
// one host name, so that without it the JavaScript of one could read pages of the
// others with the cookies and passwords that the browser has for that name. With it
// each page has its own origin; forms and scripts work.
const sandbox = "sandbox allow-forms allow-scripts"

// confine adds the sandbox to a response, and the name of the bundle to the realm of a
// login, so that a browser does not send a password to one bundle that was typed for
// another. Pages of admin scripts are not changed.
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
			value = realmWithName(value, cmp.Or(info.Bundle, strings.Join(info.Domains, " ")))
		}
		if before := headers[key]; before != "" { // of several Content-Security-Policy values each applies
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

// realmWithName adds a name to the realm of each challenge for Basic authentication
// (RFC 7617). Other schemes are not changed: their responses are computed from the
// realm.
func realmWithName(value, name string) string {
	var out []string
	basic, at := false, -1 // basic: the current challenge is Basic; at: index of its first parameter, -1 if it has a realm
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
