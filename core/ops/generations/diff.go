package generations

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"carteiro/hooks"
)

// Diff compares the files and settings of two generations. "" is the previous one for a,
// and the current one for b; with disk, b is the files on disk. The result is a unified
// diff, "" if there is no difference. The error is ErrUnknown for an unknown generation.
func (k *Manager) Diff(ctx context.Context, a, b string, disk bool) (string, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	list, err := k.entries(ctx)
	if err != nil {
		return "", err
	}
	if b == "" && len(list) > 0 {
		b = list[0].ID
	}
	if a == "" && disk {
		a = b
	} else if a == "" {
		if len(list) < 2 {
			return "", fmt.Errorf("%w: there is none before", ErrUnknown)
		}
		a = list[1].ID
	}
	before, err := k.readFiles(ctx, list, a)
	if err != nil {
		return "", err
	}
	if disk {
		sources, err := k.o.Read(ctx)
		if err != nil {
			return "", err
		}
		return compare(before, listFiles(sources)), nil
	}
	after, err := k.readFiles(ctx, list, b)
	if err != nil {
		return "", err
	}
	return compare(before, after), nil
}

func (k *Manager) readFiles(ctx context.Context, list []Entry, id string) (map[string][]byte, error) {
	e, err := find(list, id)
	if err != nil {
		return nil, err
	}
	sources, err := k.sources(ctx, e.ID)
	return listFiles(sources), err
}

// listFiles returns all files of a generation by name; a bundle's settings, rights
// and domains are a file too.
func listFiles(sources []hooks.Source) map[string][]byte {
	out := map[string][]byte{}
	for _, s := range sources {
		name := s.Name
		if s.Bundle != "" {
			name = s.Bundle + "@" + s.Version
		}
		for path, text := range s.Files {
			out[name+"/"+path] = text
		}
		var b strings.Builder
		if s.Domains != nil {
			fmt.Fprintf(&b, "domains = %q\n", s.Domains)
		}
		if s.Except != nil {
			fmt.Fprintf(&b, "except = %q\n", s.Except)
		}
		if g := s.Grants; g != nil {
			fmt.Fprintf(&b, "modules = %q\nhooks = %q\nmessage = %q\nsubmit = %q\nsecrets = %q\n", g.Modules, g.Hooks, g.Message, g.Submit,
				slices.Sorted(maps.Keys(g.Secrets)))
		}
		if s.HTTP != nil {
			fmt.Fprintf(&b, "http = %q\n", s.HTTP)
		}
		for _, k := range slices.Sorted(maps.Keys(s.Config)) {
			fmt.Fprintf(&b, "config.%s = %v\n", k, s.Config[k])
		}
		for _, d := range slices.Sorted(maps.Keys(s.DomainConfig)) {
			for _, k := range slices.Sorted(maps.Keys(s.DomainConfig[d])) {
				fmt.Fprintf(&b, "domain.%q.%s = %v\n", d, k, s.DomainConfig[d][k])
			}
		}
		if b.Len() > 0 {
			out[name+" (settings)"] = []byte(b.String())
		}
	}
	return out
}

func compare(a, b map[string][]byte) string {
	names := map[string]bool{}
	for n := range a {
		names[n] = true
	}
	for n := range b {
		names[n] = true
	}
	var out strings.Builder
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if bytes.IndexByte(a[n], 0) >= 0 || bytes.IndexByte(b[n], 0) >= 0 {
			if !bytes.Equal(a[n], b[n]) {
				fmt.Fprintf(&out, "binary files %s differ\n", n)
			}
			continue
		}
		out.Write(diff.Diff("a/"+n, a[n], "b/"+n, b[n]))
	}
	return out.String()
}
