package plugins

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// settings checks what the configuration gives a bundle against its schema
// and fills in the defaults.
func (m *Manifest) settings(label string, given map[string]any) (map[string]any, error) {
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
	for key := range given {
		if _, ok := m.Config[key]; !ok {
			known := slices.Sorted(maps.Keys(m.Config))
			return nil, fmt.Errorf("%w %s has no setting %q; it has %s", ErrBundle, label, key, strings.Join(known, ", "))
		}
	}
	return out, nil
}

func (s Setting) check(v any) error {
	ok := false
	switch s.Type {
	case "string":
		_, ok = v.(string)
	case "integer":
		var n int64
		if n, ok = v.(int64); ok {
			if s.Min != nil && n < *s.Min {
				return fmt.Errorf("is %d, below %d", n, *s.Min)
			}
			if s.Max != nil && n > *s.Max {
				return fmt.Errorf("is %d, above %d", n, *s.Max)
			}
		}
	case "number":
		switch v.(type) {
		case int64, float64:
			ok = true
		}
	case "boolean":
		_, ok = v.(bool)
	case "list":
		_, ok = v.([]any)
	case "table":
		_, ok = v.(map[string]any)
	default:
		return fmt.Errorf("has the unknown type %q", s.Type)
	}
	if !ok {
		return fmt.Errorf("is %v, not of type %s", v, s.Type)
	}
	return nil
}
