package plugins

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"carteiro/core/ops/config"
	"carteiro/hooks"
)

// The most that a manifest may ask for, granted or not.
const (
	maxWall         = 10 * time.Minute
	maxInstructions = 1_000_000_000
	maxAlloc        = 1 << 30
	maxPerCall      = 100_000 // kv, dns, http, submits, recipients
)

// checker collects the faults of one manifest.
type checker struct {
	file   string
	lines  []string
	places map[string]place
	errs   []error
}

func (c *checker) fault(at place, text string) {
	f := &Fault{File: c.file, Line: at.line, Column: at.column, Text: text}
	if at.line >= 1 && at.line <= len(c.lines) {
		shown := strings.TrimRight(c.lines[at.line-1], "\r")
		if at.column >= 1 && at.column <= len(shown)+1 && len(shown) <= 200 {
			lead := strings.Map(func(r rune) rune {
				if r == '\t' {
					return r
				}
				return ' '
			}, shown[:at.column-1])
			f.Snippet = shown + "\n" + lead + "^"
		}
	}
	c.errs = append(c.errs, f)
}

// bad is a fault at a key, or where it should stand.
func (c *checker) bad(key, format string, args ...any) {
	at := key
	for {
		if p, ok := c.places[at]; ok {
			c.fault(p, fmt.Sprintf(format, args...))
			return
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			c.fault(place{1, 1}, fmt.Sprintf(format, args...))
			return
		}
		at = at[:i]
	}
}

func (c *checker) manifest(m *Manifest) {
	b := &m.Bundle
	if !validName(b.Name) {
		c.bad("bundle.name", "name %q is not publisher/name in lower-case letters, digits and hyphens", b.Name)
	}
	var err error
	if m.version, err = semver.StrictNewVersion(b.Version); err != nil {
		c.bad("bundle.version", "version %q is not like 1.4.2 (semantic versioning)", b.Version)
	}
	if b.API != api {
		c.bad("bundle.api", "api is %d; this server speaks %d", b.API, api)
	}
	c.requires(m)
	for i, name := range b.After {
		if !validName(name) && !validWord(name) || name == b.Name {
			c.bad(fmt.Sprintf("bundle.after[%d]", i), "after: %q is not the name of another bundle", name)
		}
	}
	c.each("bundle.hooks", b.Hooks, func(h string) string {
		if _, ok := hooks.SpecNamed(h); !ok {
			return fmt.Sprintf("there is no hook %q%s", h, hooks.Suggestion(h, hooks.PointNames()))
		}
		return ""
	})
	c.capabilities(m)
	c.limits(m)
	for _, key := range slices.Sorted(maps.Keys(m.Config)) {
		c.setting("config."+key, key, m.Config[key])
	}
	for _, key := range slices.Sorted(maps.Keys(m.Account)) {
		if err := m.Account[key].Validate(); err != nil {
			c.bad("account."+key, "account.%s %v", key, err)
		}
	}
	c.each("tests.smoke", m.Tests.Smoke, func(name string) string {
		if !validFileWord(name) {
			return fmt.Sprintf("smoke: %q is not the name of a test, without its folder and .lua", name)
		}
		return ""
	})
}

// each checks the elements of a list, and that none stands twice.
func (c *checker) each(key string, list []string, fault func(string) string) {
	seen := map[string]bool{}
	for i, v := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		if text := fault(v); text != "" {
			c.bad(at, "%s", text)
		} else if seen[v] {
			c.bad(at, "%q stands twice", v)
		}
		seen[v] = true
	}
}

func (c *checker) requires(m *Manifest) {
	m.requires = map[string]*semver.Constraints{}
	for _, name := range slices.Sorted(maps.Keys(m.Bundle.Requires)) {
		key, text := "bundle.requires."+name, m.Bundle.Requires[name]
		if name != server && !validName(name) || name == m.Bundle.Name {
			c.bad(key, "requires: %q is neither another bundle nor %s", name, server)
			continue
		}
		r, err := semver.NewConstraint(text)
		if err != nil || strings.TrimSpace(text) == "" {
			c.bad(key, "requires: %q is not a range of versions; write \"^1\", \">=0.1, <2\" or \"1.2.x\"", text)
			continue
		}
		m.requires[name] = r
	}
}

func (c *checker) capabilities(m *Manifest) {
	p := &m.Capabilities
	c.each("capabilities.modules", p.Modules, func(name string) string {
		if known, _ := hooks.Module(name); !known {
			return fmt.Sprintf("there is no module %q%s", name, hooks.Suggestion(name, hooks.Modules()))
		}
		return ""
	})
	c.each("capabilities.message", p.Message, func(r string) string {
		if !slices.Contains(hooks.Rights(), hooks.Right(r)) {
			return fmt.Sprintf("there is no right %q; there are %s", r, rightNames())
		}
		return ""
	})
	c.each("capabilities.http", p.HTTP, func(s string) string {
		if _, ok := hooks.ParseHTTPGrant(s); !ok {
			return fmt.Sprintf("http: %q is not host:port, as \"api.acme.example:443\", or \"host:port private\"", s)
		}
		return ""
	})
	c.each("capabilities.secrets", p.Secrets, func(s string) string {
		if !validFileWord(s) {
			return fmt.Sprintf("secrets: %q is not a name of letters, digits, hyphens and underscores", s)
		}
		return ""
	})
	c.each("capabilities.rights", p.Rights, func(r string) string {
		if !slices.Contains(hooks.BundleRights(), hooks.BundleRight(r)) {
			return fmt.Sprintf("there is no right %q%s; there are %s", r, hooks.Suggestion(r, bundleRightNames()), text(bundleRightNames()))
		}
		return ""
	})
	if p.Web != "" && p.Web != plainWeb {
		c.bad("capabilities.web", "web: %q is not %q", p.Web, plainWeb)
	}
	if p.Submit != "" {
		var r config.Rate
		if err := r.UnmarshalText([]byte(p.Submit)); err != nil || r.N < 1 || r.N > 1e6 {
			c.bad("capabilities.submit", "submit: %q is not a rate; write \"10/min\"", p.Submit)
		}
		m.submit = hooks.Rate{N: r.N, Per: r.Per}
	}
	if p.Recipients < 0 || p.Recipients > maxPerCall {
		c.bad("capabilities.recipients", "recipients: %d is not from 0 to %d", p.Recipients, maxPerCall)
	}
}

func (c *checker) limits(m *Manifest) {
	l := &m.Limits
	var err error
	if l.Wall != "" {
		if m.wall, err = config.ParseDuration(l.Wall); err != nil || m.wall <= 0 || m.wall > maxWall {
			c.bad("limits.wall", "limits.wall: %q is not a time from 1ms to %v; write \"3s\"", l.Wall, maxWall)
		}
	}
	if l.Alloc != "" {
		if m.alloc, err = config.ParseSize(l.Alloc); err != nil || m.alloc <= 0 || m.alloc > maxAlloc || bare(l.Alloc) {
			c.bad("limits.alloc", "limits.alloc: %q is not a size with its unit, at most 1GiB; write \"8MiB\"", l.Alloc)
		}
	}
	if l.Instructions < 0 || l.Instructions > maxInstructions {
		c.bad("limits.instructions", "limits.instructions: %d is not from 1 to %d", l.Instructions, int64(maxInstructions))
	}
	for _, n := range []struct {
		name string
		v    int
	}{{"kv", l.KV}, {"dns", l.DNS}, {"http", l.HTTP}, {"submits", l.Submits}} {
		if n.v < 0 || n.v > maxPerCall {
			c.bad("limits."+n.name, "limits.%s: %d is not from 1 to %d", n.name, n.v, maxPerCall)
		}
	}
}

func bare(size string) bool { return strings.Trim(size, "0123456789 ") == "" }

// validFileWord is a name that may stand in a path.
func validFileWord(s string) bool {
	return s != "" && len(s) <= 60 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func bundleRightNames() (out []string) {
	for _, r := range hooks.BundleRights() {
		out = append(out, string(r))
	}
	return out
}

func rightNames() string {
	var out []string
	for _, r := range hooks.Rights() {
		out = append(out, string(r))
	}
	return strings.Join(out, ", ")
}
