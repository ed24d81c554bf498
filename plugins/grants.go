package plugins

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"carteiro/core/ops/config"
	"carteiro/hooks"
)

// Grants are capabilities as the lock file keeps them: what a bundle had
// when it was installed. An update that wants more needs a new consent.
type Grants struct {
	Hooks      []string `toml:"hooks" json:"hooks"`
	Modules    []string `toml:"modules" json:"modules"`
	Message    []string `toml:"message" json:"message"`
	Submit     string   `toml:"submit,omitempty" json:"submit,omitempty"`
	HTTP       []string `toml:"http" json:"http"`
	Secrets    []string `toml:"secrets" json:"secrets"`
	Recipients int      `toml:"recipients,omitempty" json:"recipients,omitempty"`
	Rights     []string `toml:"rights" json:"rights"`
	Web        string   `toml:"web,omitempty" json:"web,omitempty"`
	// Limits that are above what every bundle has.
	Limits map[string]int64 `toml:"limits,omitempty" json:"limits,omitempty"`
}

func hostOf(grant string) hooks.HTTPGrant {
	g, _ := hooks.ParseHTTPGrant(grant)
	return g
}

// capabilitiesWanted are the capabilities that a manifest declares.
func (m *Manifest) capabilitiesWanted() Grants {
	p := &m.Capabilities
	g := Grants{Hooks: sortedCopy(m.Bundle.Hooks), Modules: sortedCopy(p.Modules), Message: sortedCopy(p.Message), HTTP: sortedCopy(p.HTTP),
		Secrets: sortedCopy(p.Secrets), Recipients: p.Recipients, Rights: sortedCopy(p.Rights), Web: p.Web}
	if m.submit.N > 0 {
		g.Submit = m.submit.String()
	}
	g.Limits = m.limitsWanted()
	return g
}

// limitsWanted are the limits that are above what every bundle has at the most
// generous hook that it declares, by name; times in milliseconds. Below that,
// each hook's own limit counts if it is stricter.
func (m *Manifest) limitsWanted() map[string]int64 {
	out := map[string]int64{}
	above := func(name string, n, free int64) {
		if n > free {
			out[name] = n
		}
	}
	var wall time.Duration
	var instructions int64
	for _, h := range m.Bundle.Hooks {
		if spec, ok := hooks.SpecOf(hooks.Point(h)); ok {
			wall, instructions = max(wall, spec.Wall), max(instructions, spec.Budget)
		}
	}
	if len(m.Bundle.Hooks) == 0 {
		return nil // nothing of it is called but by others
	}
	above("wall", m.wall.Milliseconds(), wall.Milliseconds())
	above("instructions", m.Limits.Instructions, instructions)
	above("alloc", m.alloc, hooks.FreeAlloc)
	above("kv", int64(m.Limits.KV), hooks.FreeKV)
	above("dns", int64(m.Limits.DNS), hooks.FreeDNS)
	above("http", int64(m.Limits.HTTP), hooks.FreeHTTP)
	above("submits", int64(m.Limits.Submits), hooks.FreeSubmits)
	above("recipients", int64(m.Capabilities.Recipients), hooks.FreeRecipients)
	return out
}

// beyond is what g has and have has not, as people read it.
func (g Grants) beyond(have Grants) []string {
	var out []string
	list := func(what string, want, have []string) {
		for _, v := range want {
			if !slices.Contains(have, v) {
				out = append(out, what+" "+v)
			}
		}
	}
	list("hook", g.Hooks, have.Hooks)
	list("module", g.Modules, have.Modules)
	list("right", g.Rights, have.Rights)
	list("message", g.Message, have.Message)
	for _, h := range g.HTTP {
		if granted, private := hooks.HTTPGrantFor(have.HTTP, hostOf(h).Host); !granted || hostOf(h).Private && !private {
			out = append(out, "http "+h)
		}
	}
	list("secret", g.Secrets, have.Secrets)
	if g.Web != "" && g.Web != have.Web {
		out = append(out, "web "+g.Web)
	}
	if perSecond(g.Submit) > perSecond(have.Submit) || atOnce(g.Submit) > atOnce(have.Submit) {
		out = append(out, "submit "+g.Submit)
	}
	if g.Recipients > max(have.Recipients, hooks.FreeRecipients) && g.Limits["recipients"] == 0 {
		out = append(out, fmt.Sprintf("recipients %d", g.Recipients))
	}
	for _, name := range slices.Sorted(maps.Keys(g.Limits)) {
		if g.Limits[name] > have.Limits[name] {
			out = append(out, "limit "+name+" "+limitText(name, g.Limits[name]))
		}
	}
	return out
}

func limitText(name string, n int64) string {
	switch name {
	case "wall":
		return (time.Duration(n) * time.Millisecond).String()
	case "alloc":
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprint(n)
}

// perSecond and atOnce compare rates: all of one may come at once.
func perSecond(rate string) float64 {
	r := rateOf(rate)
	return float64(r.N) / r.Per.Seconds()
}

func atOnce(rate string) int { return int(rateOf(rate).N) }

// rateOf returns the rate in a text, zero for an empty or invalid text.
func rateOf(text string) config.Rate {
	var r config.Rate
	if text == "" || r.UnmarshalText([]byte(text)) != nil || r.Per <= 0 {
		return config.Rate{Per: time.Second}
	}
	return r
}

// List is each capability as people read it.
func (g Grants) List() []string { return g.beyond(Grants{}) }

// grants are the capabilities as the engine keeps to them.
func (t *Tree) grants(secrets map[string]hooks.Secret) *hooks.Grants {
	m := t.Manifest
	p := &m.Capabilities
	g := &hooks.Grants{Modules: slices.Clone(p.Modules), Submit: m.submit, Secrets: secrets, Rights: []hooks.BundleRight{}}
	for _, r := range hooks.BundleRights() {
		if slices.Contains(p.Rights, string(r)) || slices.Contains(t.Kept, string(r)) {
			g.Rights = append(g.Rights, r)
		}
	}
	// These capabilities bring their module along.
	for name, declared := range map[string]bool{"mail": m.submit.N > 0, "http": len(p.HTTP) > 0, "secrets": len(p.Secrets) > 0} {
		if declared && !slices.Contains(g.Modules, name) {
			g.Modules = append(g.Modules, name)
		}
	}
	slices.Sort(g.Modules) // the generation's digest depends on it
	for _, h := range m.Bundle.Hooks {
		g.Hooks = append(g.Hooks, hooks.Point(h))
	}
	for _, r := range p.Message {
		g.Message = append(g.Message, hooks.Right(r))
	}
	return g
}

// limits are those of a call. What is above what every bundle has counts only
// where granted.
func (m *Manifest) limits(granted bool) hooks.Limits {
	at := func(n, free int) int {
		if n > free && !granted {
			return free
		}
		return n
	}
	l := &m.Limits
	return hooks.Limits{
		Wall:         m.wall,
		Instructions: l.Instructions,
		Alloc:        m.alloc,
		Granted:      granted,
		KV:           at(l.KV, hooks.FreeKV),
		DNS:          at(l.DNS, hooks.FreeDNS),
		HTTP:         at(l.HTTP, hooks.FreeHTTP),
		Submits:      at(l.Submits, hooks.FreeSubmits),
		Recipients:   at(m.Capabilities.Recipients, hooks.FreeRecipients),
	}
}

func sortedCopy(list []string) []string {
	out := slices.Concat([]string{}, list)
	slices.Sort(out)
	return out
}

// text joins a list for people.
func text(list []string) string { return strings.Join(list, ", ") }
