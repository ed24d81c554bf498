package plugins

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"carteiro/hooks"
)

// plainWeb is the value of `web` with which a bundle asks for pages without the
// sandbox, and of `allow_web` with which an admin lets it have them.
const plainWeb = "plain"

// capabilityTexts explain the capabilities whose effect is wider than their names
// say.
var capabilityTexts = map[string]string{
	"hook receive.auth": "it is asked about each login of its domains, and may let people in or keep them out",
	"module account":    "it reads the accounts and aliases of its domains, their settings and rights, and can try passwords",
	"module list":       "it reads and changes the lists of its domains and their members, and decides about mail that they hold",
	"right grants":      "it gives others rights to mailboxes of its domains, and takes them back",
	"right passwords":   "it sees the passwords and tokens with which people of its domains log in",
	"right credentials": "its pages see the passwords and cookies that browsers send to this server",
	"web plain": "with allow_web = \"plain\" in its [[bundle]], " +
		"its pages may use whatever a browser keeps for this server, and read the pages of other bundles",
}

// DescribeCapability explains a capability, or returns "" if its name says it all.
func DescribeCapability(capability string) string { return capabilityTexts[capability] }

// completeKept adds what this version keeps of an entry to those that an earlier
// version wrote: the rights that the code uses. It reads the bundles' files; an
// entry whose files are not those that it pins stays as it is.
func (d *BundleStore) completeKept() {
	for _, name := range d.Names() {
		versions := d.lock.Bundles[name].Versions
		for _, version := range slices.Sorted(maps.Keys(versions)) {
			pin := versions[version]
			if pin.Format != 0 {
				continue
			}
			t, err := ReadDir(os.DirFS(d.folder(name, version)), name)
			if err != nil || t.Digest != pin.Digest {
				continue
			}
			pin.Format, pin.Kept, d.stale = lockFormat, t.usedRights(), true
			versions[version] = pin
		}
	}
}

// Stale reports whether entries that an earlier version wrote were completed
// and wait for a Commit.
func (d *BundleStore) Stale() bool { return d.stale }

// Kept are the rights that installed bundles have because an earlier version
// installed them, by "NAME VERSION"; of the current versions alone.
func (d *BundleStore) Kept() map[string][]string {
	out := map[string][]string{}
	for name, p := range d.lock.Bundles {
		if kept := p.Versions[p.Version].Kept; len(kept) > 0 {
			out[name+" "+p.Version] = kept
		}
	}
	return out
}

// How the text of a bundle shows that it uses a right. What it could use is
// taken for used: a right too many is no news to it, one too few would break it.
var (
	usesGrants      = regexp.MustCompile(`[.]\s*(grant|revoke)\b|["'](grant|revoke)["']|\baccount\s*\[\s*[^"'\s]`)
	usesPasswords   = regexp.MustCompile(`[.]\s*(password|token)\b|["'](password|token)["']|\bcred\s*\[\s*[^"'\s]`)
	usesCredentials = regexp.MustCompile(`(?i)[.]\s*(authorization|cookie)\b|["'](authorization|cookie)["']`)
	readsHeaders    = regexp.MustCompile(`[.]\s*headers\b\s*`)
	oneHeader       = regexp.MustCompile(`^([.]|\[\s*["']|=[^=])`)
)

// usedRights are the rights that the bundle's code uses and its manifest does not
// declare.
func (t *Tree) usedRights() []string {
	m := t.Manifest
	out := []string{}
	for path, text := range t.code() {
		if !strings.HasSuffix(path, ".lua") {
			continue
		}
		code := withoutComments(string(text))
		for right, used := range map[hooks.BundleRight]bool{
			hooks.RightGrants:    slices.Contains(m.Capabilities.Modules, "account") && usesGrants.MatchString(code),
			hooks.RightPasswords: slices.Contains(m.Bundle.Hooks, string(hooks.ReceiveAuth)) && usesPasswords.MatchString(code),
			hooks.RightCredentials: slices.Contains(m.Bundle.Hooks, string(hooks.WebRequest)) && (usesCredentials.MatchString(code) ||
				allHeaders(code)),
		} {
			if used && !slices.Contains(out, string(right)) && !slices.Contains(m.Capabilities.Rights, string(right)) {
				out = append(out, string(right))
			}
		}
	}
	slices.Sort(out)
	return out
}

// allHeaders reports whether the header fields of something are used as a
// whole, and not one of them by its name.
func allHeaders(code string) bool {
	return slices.ContainsFunc(readsHeaders.FindAllStringIndex(code, -1), func(at []int) bool { return !oneHeader.MatchString(code[at[1]:]) })
}

// withoutComments is a Lua text without its comments (Lua 5.1 manual 2.1).
func withoutComments(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "--"):
			end := longBracket(s[i+2:])
			if end < 0 {
				if end = strings.IndexByte(s[i+2:], '\n'); end < 0 {
					end = len(s) - i - 2
				}
			}
			out.WriteByte(' ')
			i += 2 + end
		case s[i] == '"' || s[i] == '\'':
			end := i + 1
			for end < len(s) && s[end] != s[i] && s[end] != '\n' {
				if s[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(s))
			out.WriteString(s[i:end])
			i = end
		case longBracket(s[i:]) > 0:
			end := longBracket(s[i:])
			out.WriteString(s[i : i+end])
			i += end
		default:
			out.WriteByte(s[i])
			i++
		}
	}
	return out.String()
}

// longBracket is the length of the [[text]] or [=[text]=] that s begins with,
// or -1.
func longBracket(s string) int {
	if s == "" || s[0] != '[' {
		return -1
	}
	level := len(s[1:]) - len(strings.TrimLeft(s[1:], "="))
	if len(s) < level+2 || s[level+1] != '[' {
		return -1
	}
	end := "]" + strings.Repeat("=", level) + "]"
	if i := strings.Index(s[level+2:], end); i >= 0 {
		return level + 2 + i + len(end)
	}
	return len(s)
}
