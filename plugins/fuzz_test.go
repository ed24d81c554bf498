package plugins

import (
	"errors"
	"strings"
	"testing"

	"carteiro/hooks"
)

// FuzzManifest: an error names the bundle's file; what is accepted registers
// at known hooks only, and gives settings of the types that it declares.
func FuzzManifest(f *testing.F) {
	f.Add(manifest)
	f.Add("[bundle]\nname = \"a/b\"\nversion = \"1\"\napi = 1\n[config]\nx = { type = \"list\", default = [1, \"a\"] }\n" +
		"y = { type = \"number\", default = 1.5, min = 2 }\n")
	f.Add("[bundle\n")
	f.Add("[bundle]\nname = \"a/b\"\nversion = \"1\"\napi = 1\nhooks = [\"receive.male\"]\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseManifest([]byte(text), "acme/x")
		if err != nil {
			if !errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), "acme/x/bundle.toml") {
				t.Errorf("error %v does not name the file", err)
			}
			return
		}
		if !validName(m.Bundle.Name) || m.Bundle.Version == "" || m.Bundle.API != api {
			t.Errorf("accepted %+v", m.Bundle)
		}
		for _, h := range m.Bundle.Hooks {
			if _, ok := hooks.SpecOf(hooks.Point(h)); !ok {
				t.Errorf("hook %q", h)
			}
		}
		values, err := m.settings("acme/x", nil)
		if err != nil && !errors.Is(err, ErrBundle) {
			t.Errorf("error %v", err)
		}
		for key, v := range values {
			if s, ok := m.Config[key]; !ok || s.check(v) != nil {
				t.Errorf("setting %s is %v, declared %+v", key, v, s)
			}
		}
	})
}
