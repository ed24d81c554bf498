package hooks

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"carteiro/core/mail"
)

// ErrSetting wraps what is wrong with the value of an account's setting.
var ErrSetting = errors.New("setting")

// Field describes a value that an account's setting may have, so that a bad
// one is refused when it is set and not when mail comes.
type Field struct {
	Type string `toml:"type" json:"type"` // see FieldTypes
	// Min and Max bound a number's value, a text's characters and a list's
	// elements.
	Min *float64 `toml:"min" json:"min,omitempty"`
	Max *float64 `toml:"max" json:"max,omitempty"`
	// Required fields of a table must be there, those with When if the
	// boolean of that name beside it is true.
	Required bool   `toml:"required" json:"required,omitempty"`
	When     string `toml:"when" json:"when,omitempty"`
	// After names the date beside it that this one is not before.
	After   string           `toml:"after" json:"after,omitempty"`
	Choices []string         `toml:"choices" json:"choices,omitempty"` // of a text
	Of      *Field           `toml:"of" json:"of,omitempty"`           // elements of a list
	Fields  map[string]Field `toml:"fields" json:"fields,omitempty"`   // of a table
}

// FieldTypes are the types of a Field: "line" is a text without control
// characters, "date" a day like 2026-12-31, "zone" a time zone like
// Europe/Lisbon, "match" an address, or "@" and a domain.
var FieldTypes = []string{"string", "line", "integer", "number", "boolean", "list", "table", "date", "zone", "address", "match"}

// Sound tells what is wrong with the description itself, nil for nothing.
func (f Field) Sound() error {
	if !slices.Contains(FieldTypes, f.Type) {
		return fmt.Errorf("has the unknown type %q; there are %s", f.Type, strings.Join(FieldTypes, ", "))
	}
	switch {
	case f.Of != nil && f.Type != "list":
		return fmt.Errorf("is no list and has no elements (of)")
	case f.Fields != nil && f.Type != "table":
		return fmt.Errorf("is no table and has no fields")
	case f.Min != nil && f.Max != nil && *f.Min > *f.Max:
		return fmt.Errorf("has min above max")
	}
	if f.Of != nil {
		if err := f.Of.Sound(); err != nil {
			return fmt.Errorf("element %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Fields)) {
		g := f.Fields[name]
		if err := g.Sound(); err != nil {
			return fmt.Errorf("field %s %w", name, err)
		}
		if g.When != "" && f.Fields[g.When].Type != "boolean" || g.After != "" && f.Fields[g.After].Type != "date" {
			return fmt.Errorf("field %s names another that is not there: when is a boolean, after a date", name)
		}
	}
	return nil
}

// Check tells why a value, decoded JSON, does not fit; name is how the error
// calls it. ErrSetting.
func (f Field) Check(name string, v any) error {
	switch v := v.(type) {
	case string:
		if slices.Contains([]string{"boolean", "integer", "number", "list", "table"}, f.Type) {
			break
		}
		if err := f.bound(name, float64(utf8.RuneCountInString(v)), "characters"); err != nil {
			return err
		}
		return f.text(name, v)
	case float64:
		if f.Type == "number" || f.Type == "integer" && v == math.Trunc(v) {
			return f.bound(name, v, "")
		}
	case bool:
		if f.Type == "boolean" {
			return nil
		}
	case []any:
		if f.Type == "list" {
			return f.list(name, v)
		}
	case map[string]any:
		if f.Type == "table" {
			return f.table(name, v)
		}
	}
	return fmt.Errorf("%w: %s is %v, not of type %s", ErrSetting, name, v, f.Type)
}

func (f Field) bound(name string, n float64, of string) error {
	verb := "is"
	if of != "" {
		verb = "has"
	}
	if f.Min != nil && n < *f.Min {
		return fmt.Errorf("%w: %s %s %s, below %v", ErrSetting, name, verb, strings.TrimSpace(fmt.Sprint(n, " ", of)), *f.Min)
	}
	if f.Max != nil && n > *f.Max {
		return fmt.Errorf("%w: %s %s %s, above %v", ErrSetting, name, verb, strings.TrimSpace(fmt.Sprint(n, " ", of)), *f.Max)
	}
	return nil
}

func (f Field) text(name, v string) error {
	wrong := ""
	switch f.Type {
	case "line":
		if strings.ContainsFunc(v, unicode.IsControl) {
			wrong = "has a line end or another control character"
		}
	case "date":
		if _, err := time.Parse(time.DateOnly, v); err != nil {
			wrong = fmt.Sprintf("is %q, no day; write 2026-12-31", v)
		}
	case "zone":
		if _, err := time.LoadLocation(v); err != nil || v == "" || v == "Local" {
			wrong = fmt.Sprintf("is %q, no time zone; write Europe/Lisbon", v)
		}
	case "address", "match":
		if domain, ok := strings.CutPrefix(v, "@"); ok && f.Type == "match" {
			if mail.CheckDomain(domain) == nil {
				break
			}
		} else if _, err := mail.ParseAddress(v); err == nil {
			break
		}
		wrong = fmt.Sprintf("is %q, no address", v)
	}
	if wrong == "" && f.Choices != nil && !slices.Contains(f.Choices, v) {
		wrong = fmt.Sprintf("is %q; there are %s", v, strings.Join(f.Choices, ", "))
	}
	if wrong != "" {
		return fmt.Errorf("%w: %s %s", ErrSetting, name, wrong)
	}
	return nil
}

func (f Field) list(name string, v []any) error {
	if err := f.bound(name, float64(len(v)), "elements"); err != nil || f.Of == nil {
		return err
	}
	for i, e := range v {
		if err := f.Of.Check(fmt.Sprintf("%s[%d]", name, i+1), e); err != nil {
			return err
		}
	}
	return nil
}

func (f Field) table(name string, v map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(v)) {
		g, ok := f.Fields[key]
		if !ok {
			known := slices.Sorted(maps.Keys(f.Fields))
			return fmt.Errorf("%w: %s has no field %q%s; it has %s", ErrSetting, name, key, Suggestion(key, known), strings.Join(known, ", "))
		}
		if err := g.Check(name+"."+key, v[key]); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.Fields)) {
		g := f.Fields[key]
		if _, ok := v[key]; !ok && (g.Required || g.When != "" && v[g.When] == true) {
			return fmt.Errorf("%w: %s.%s is missing", ErrSetting, name, key)
		}
		day, _ := v[key].(string)
		if first, ok := v[g.After].(string); ok && g.After != "" && day != "" && day < first {
			return fmt.Errorf("%w: %s.%s is %s, before %s.%s", ErrSetting, name, key, day, name, g.After)
		}
	}
	return nil
}

// CheckSetting asks the bundles that are there for a domain about the value
// of an account's setting, decoded JSON. A setting that none of them
// describes may be anything. ErrSetting.
func CheckSetting(sources []Source, domain, name string, v any) error {
	for _, s := range sources {
		f, ok := s.Settings[name]
		if !ok || s.Domains == nil && slices.Contains(s.Except, domain) || s.Domains != nil && !slices.Contains(s.Domains, domain) {
			continue
		}
		if err := f.Check(name, v); err != nil {
			return err
		}
	}
	return nil
}
