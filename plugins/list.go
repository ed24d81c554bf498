package plugins

// Info describes a bundle that a server knows.
type Info struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Previous string `json:"previous,omitempty"`
	Source   string `json:"source"` // "installed", "shipped" or "path"
	Path     string `json:"path,omitempty"`
	Signed   bool   `json:"signed"`
	Digest   string `json:"digest,omitempty"`
	// On: enabled for Domains; with Domains nil for all but Except.
	On           bool     `json:"enabled"`
	Domains      []string `json:"domains"`
	Except       []string `json:"except,omitempty"`
	Capabilities []string `json:"capabilities"`
	Kept         []string `json:"kept,omitempty"`  // see Locked.Kept
	Fault        string   `json:"fault,omitempty"` // why it does not load
}

// List describes the bundles that the configuration names, those installed
// and those shipped, in the order of Load. A bundle that does not load is
// listed with its fault.
func List(o Options) []Info {
	l := &loading{Options: o, byName: map[string]*loaded{}}
	var out []Info
	seen := map[string]bool{}
	for _, e := range o.Enabled {
		t, _, err := l.open(e)
		i := Info{Name: e.Name, Path: e.Path}
		if err != nil {
			i.Fault = err.Error()
			if i.Name == "" {
				i.Name = e.Path
			}
		} else {
			i.Name = t.Manifest.Name()
		}
		l.describe(&i, t, e.Domains)
		seen[i.Name] = true
		out = append(out, i)
	}
	names := Shipped()
	if o.Store != nil {
		names = append(o.Store.Names(), names...)
	}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		i := Info{Name: name}
		t, _, err := l.find(name)
		if err != nil {
			i.Fault = err.Error()
		}
		l.describe(&i, t, []string{})
		out = append(out, i)
	}
	return out
}

// describe fills in the rest; t is nil for a bundle that does not load.
func (l *loading) describe(i *Info, t *Tree, configured []string) {
	i.Source = "shipped"
	if i.Path != "" {
		i.Source = "path"
	}
	i.Domains, i.On = configured, configured == nil || len(configured) > 0
	if l.Store != nil {
		if p, ok := l.Store.Pinned(i.Name); ok && i.Path == "" {
			i.Source, i.Version, i.Previous, i.Signed, i.Digest = "installed", p.Version, p.Previous, p.Versions[p.Version].Signed,
				p.Versions[p.Version].Digest
		}
		i.Domains, i.Except, i.On = l.Store.domains(i.Name, configured)
	}
	if t != nil {
		i.Version, i.Digest, i.Capabilities = t.Manifest.Bundle.Version, t.Digest, t.Manifest.capabilitiesWanted().List()
		i.Kept = t.Kept
		i.Signed = i.Signed || IsArchive(i.Path) // others are not opened
	}
}

// GrantList lists what a tree is granted by its installation.
func (t *Tree) GrantList() []string { return t.Manifest.capabilitiesWanted().List() }
