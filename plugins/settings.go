package plugins

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Setting describes one key of a bundle's configuration.
type Setting struct {
	Type    string `toml:"type"` // see settingTypes
	Default any    `toml:"default"`
	// Min and Max bound a number's value, a string's characters and a list's
	// elements.
	Min    any  `toml:"min"`
	Max    any  `toml:"max"`
	Domain bool `toml:"domain"` // a domain may set it
	// Choices are the texts that a string may be; nil: any.
	Choices []string `toml:"choices"`
}

var settingTypes = []string{"string", "integer", "number", "boolean", "list", "table"}

// setting checks one row of the schema.
func (c *checker) setting(at, key string, s Setting) {
	if !validFileWord(key) || key[0] >= '0' && key[0] <= '9' {
		c.bad(at, "config: %q is not a name of letters, digits and underscores", key)
	}
	if !slices.Contains(settingTypes, s.Type) {
		c.bad(at+".type", "config.%s has the unknown type %q; there are %s", key, s.Type, strings.Join(settingTypes, ", "))
		return
	}
	low, okLow := bound(s.Min)
	high, okHigh := bound(s.Max)
	if !okLow || s.Type != "number" && low != math.Trunc(low) {
		c.bad(at+".min", "config.%s: min is not a number that bounds a %s", key, s.Type)
	}
	if !okHigh || s.Type != "number" && high != math.Trunc(high) {
		c.bad(at+".max", "config.%s: max is not a number that bounds a %s", key, s.Type)
	}
	if (s.Min != nil || s.Max != nil) && (s.Type == "boolean" || s.Type == "table") {
		c.bad(at, "config.%s: a %s has no bounds", key, s.Type)
	}
	if s.Choices != nil && s.Type != "string" {
		c.bad(at+".choices", "config.%s: a %s has no choices", key, s.Type)
	}
	if !okLow || !okHigh {
		return
	}
	if s.Min != nil && s.Max != nil && low > high {
		c.bad(at+".min", "config.%s: min is above max", key)
		return
	}
	if s.Default != nil {
		if err := s.check(s.Default); err != nil {
			c.bad(at+".default", "config.%s: default %v", key, err)
		}
	}
}

// bound reads min or max; false if it is not a number.
func bound(v any) (float64, bool) {
	switch v := v.(type) {
	case nil:
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v)
	}
	return 0, false
}

// settings are the values for the server as a whole, and for each domain that
// has its own, checked against the schema, with defaults.
func (m *Manifest) settings(label string, given map[string]any) (map[string]any, error) {
	if err := m.checkKeys(label, "", given); err != nil {
		return nil, err
	}
	out := map[string]any{}
	for key, s := range m.Config {
		v := s.Default
		if g, ok := given[key]; ok {
			v = g
		}
		if v == nil {
			continue
		}
		if err := s.check(v); err != nil {
			return nil, fmt.Errorf("%w %s: config.%s %w", ErrBundle, label, key, err)
		}
		out[key] = v
	}
	return out, nil
}

// domainSettings returns all settings of a domain that has some of its own.
func (m *Manifest) domainSettings(label, domain string, shared, own map[string]any) (map[string]any, error) {
	where := " for " + domain
	if err := m.checkKeys(label, where, own); err != nil {
		return nil, err
	}
	out := maps.Clone(shared)
	for key, v := range own {
		s := m.Config[key]
		if !s.Domain {
			return nil, fmt.Errorf("%w %s: config.%s cannot be set%s: the bundle has one value for all", ErrBundle, label, key, where)
		}
		if err := s.check(v); err != nil {
			return nil, fmt.Errorf("%w %s: config.%s%s %w", ErrBundle, label, key, where, err)
		}
		out[key] = v
	}
	return out, nil
}

func (m *Manifest) checkKeys(label, where string, given map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if _, ok := m.Config[key]; !ok {
			known := slices.Sorted(maps.Keys(m.Config))
			if len(known) == 0 {
				return fmt.Errorf("%w %s has no setting %q%s, nor any other", ErrBundle, label, key, where)
			}
			return fmt.Errorf("%w %s has no setting %q%s; it has %s", ErrBundle, label, key, where, strings.Join(known, ", "))
		}
	}
	return nil
}

// check returns why a value does not fit; the text follows the setting's name.
func (s Setting) check(v any) error {
	ok, n, of := false, 0.0, ""
	switch s.Type {
	case "string":
		var t string
		if t, ok = v.(string); ok && s.Choices != nil && !slices.Contains(s.Choices, t) {
			return fmt.Errorf("is %q; there are %s", t, strings.Join(s.Choices, ", "))
		} else if ok {
			n, of = float64(utf8.RuneCountInString(t)), " characters"
		}
	case "integer":
		var i int64
		if i, ok = v.(int64); ok {
			n = float64(i)
		}
	case "number":
		switch v := v.(type) {
		case int64:
			n, ok = float64(v), true
		case float64:
			n, ok = v, !math.IsNaN(v) && !math.IsInf(v, 0)
		}
	case "boolean":
		_, ok = v.(bool)
	case "list":
		var l []any
		if l, ok = v.([]any); ok {
			n, of = float64(len(l)), " elements"
		}
	case "table":
		_, ok = v.(map[string]any)
	default:
		return fmt.Errorf("has the unknown type %q", s.Type)
	}
	if !ok {
		return fmt.Errorf("is %v, not of type %s", v, s.Type)
	}
	return s.within(v, n, of)
}

func (s Setting) within(v any, n float64, of string) error {
	verb := fmt.Sprint("is ", v)
	if of != "" {
		verb = fmt.Sprintf("has %v%s", n, of)
	}
	if low, _ := bound(s.Min); s.Min != nil && n < low {
		return fmt.Errorf("%s, below %v", verb, s.Min)
	}
	if high, _ := bound(s.Max); s.Max != nil && n > high {
		return fmt.Errorf("%s, above %v", verb, s.Max)
	}
	return nil
}
