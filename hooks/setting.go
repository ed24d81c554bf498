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

	"carteiro/core/message/envelope"
	"carteiro/core/service/forward"
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
	After   string   `toml:"after" json:"after,omitempty"`
	Choices []string `toml:"choices" json:"choices,omitempty"` // of a text
	// Other: of the addresses in it, one at least is not the account's own.
	Other  bool             `toml:"other" json:"other,omitempty"`
	Or     []Field          `toml:"or" json:"or,omitempty"`         // for a value of another JSON type
	Of     *Field           `toml:"of" json:"of,omitempty"`         // elements of a list
	Fields map[string]Field `toml:"fields" json:"fields,omitempty"` // of a table
}

// FieldTypes are the types of a Field: "line" is a text without control
// characters, "date" a day like 2026-12-31, "zone" a time zone like
// Europe/Lisbon, "match" an address, or "@" and a domain, "mailbox" an address
// with or without a name, "addresses" the text of a .forward file.
var FieldTypes = []string{
	"string",
	"line",
	"integer",
	"number",
	"boolean",
	"list",
	"table",
	"date",
	"zone",
	"address",
	"match",
	"mailbox",
	"addresses",
}

// Validate returns what is wrong with the description itself, or nil.
func (f Field) Validate() error {
	if !slices.Contains(FieldTypes, f.Type) {
		return fmt.Errorf("has the unknown type %q; there are %s", f.Type, strings.Join(FieldTypes, ", "))
	}
	switch {
	case f.Of != nil && f.Type != "list":
		return fmt.Errorf("is not a list and cannot have elements (of)")
	case f.Fields != nil && f.Type != "table":
		return fmt.Errorf("is not a table and cannot have fields")
	case f.Other && !slices.Contains([]string{"list", "address", "mailbox", "addresses"}, f.Type):
		return fmt.Errorf("has no addresses, so other does not apply")
	case f.Min != nil && f.Max != nil && *f.Min > *f.Max:
		return fmt.Errorf("has min above max")
	}
	for _, o := range f.Or {
		if err := o.Validate(); err != nil {
			return fmt.Errorf("alternative %w", err)
		}
	}
	if f.Of != nil {
		if err := f.Of.Validate(); err != nil {
			return fmt.Errorf("element %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Fields)) {
		g := f.Fields[name]
		if err := g.Validate(); err != nil {
			return fmt.Errorf("field %s %w", name, err)
		}
		if g.When != "" && f.Fields[g.When].Type != "boolean" || g.After != "" && f.Fields[g.After].Type != "date" {
			return fmt.Errorf("field %s names a field that does not exist (when needs a boolean, after a date)", name)
		}
	}
	return nil
}

// fits reports whether a value is of the JSON type that a Field has.
func (f Field) fits(v any) bool {
	switch v := v.(type) {
	case string:
		return !slices.Contains([]string{"boolean", "integer", "number", "list", "table"}, f.Type)
	case float64:
		return f.Type == "number" || f.Type == "integer" && v == math.Trunc(v)
	case bool:
		return f.Type == "boolean"
	case []any:
		return f.Type == "list"
	case map[string]any:
		return f.Type == "table"
	}
	return false
}

// Check returns why a value, decoded JSON, does not fit as a setting of owner;
// name is how the error calls it. ErrSetting.
func (f Field) Check(owner envelope.Address, name string, v any) error {
	if !f.fits(v) {
		types := f.Type
		for _, o := range f.Or {
			if o.fits(v) {
				return o.Check(owner, name, v)
			}
			types += " or " + o.Type
		}
		return fmt.Errorf("%w: %s is %v, not of type %s", ErrSetting, name, v, types)
	}
	var err error
	switch v := v.(type) {
	case string:
		if err = f.checkBound(name, float64(utf8.RuneCountInString(v)), "characters"); err == nil {
			err = f.checkText(owner, name, v)
		}
	case float64:
		err = f.checkBound(name, v, "")
	case []any:
		err = f.checkList(owner, name, v)
	case map[string]any:
		err = f.checkTable(owner, name, v)
	}
	if err == nil && f.Other {
		err = f.checkOthers(owner, name, v)
	}
	return err
}

func (f Field) checkBound(name string, n float64, of string) error {
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

func (f Field) checkText(owner envelope.Address, name, v string) error {
	wrong := ""
	switch f.Type {
	case "line":
		if strings.ContainsFunc(v, unicode.IsControl) {
			wrong = "has a line end or another control character"
		}
	case "date":
		if _, err := time.Parse(time.DateOnly, v); err != nil {
			wrong = fmt.Sprintf("is %q, not a date; write 2026-12-31", v)
		}
	case "zone":
		if _, err := time.LoadLocation(v); err != nil || v == "" || v == "Local" {
			wrong = fmt.Sprintf("is %q, not a time zone; write Europe/Lisbon", v)
		}
	case "address", "match":
		if domain, ok := strings.CutPrefix(v, "@"); ok && f.Type == "match" {
			if envelope.CheckDomain(domain) == nil {
				break
			}
		} else if _, err := envelope.ParseAddress(v); err == nil {
			break
		}
		wrong = fmt.Sprintf("is %q, not an address", v)
	case "mailbox":
		if _, ok := forward.ParseAddress(v); !ok {
			wrong = fmt.Sprintf("is %q, not an address", v)
		}
	case "addresses":
		if list, bad := forward.ParseFile(owner, v); bad != "" {
			wrong = fmt.Sprintf("has %q, which is not an address", bad)
		} else if len(list) == 0 {
			wrong = "names no address"
		}
	}
	if wrong == "" && f.Choices != nil && !slices.Contains(f.Choices, v) {
		wrong = fmt.Sprintf("is %q; there are %s", v, strings.Join(f.Choices, ", "))
	}
	if wrong != "" {
		return fmt.Errorf("%w: %s %s", ErrSetting, name, wrong)
	}
	return nil
}

func (f Field) checkList(owner envelope.Address, name string, v []any) error {
	if err := f.checkBound(name, float64(len(v)), "elements"); err != nil || f.Of == nil {
		return err
	}
	for i, e := range v {
		if err := f.Of.Check(owner, fmt.Sprintf("%s[%d]", name, i+1), e); err != nil {
			return err
		}
	}
	return nil
}

func (f Field) checkTable(owner envelope.Address, name string, v map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(v)) {
		g, ok := f.Fields[key]
		if !ok {
			known := slices.Sorted(maps.Keys(f.Fields))
			return fmt.Errorf("%w: %s has no field %q%s; it has %s", ErrSetting, name, key, Suggestion(key, known), strings.Join(known, ", "))
		}
		if err := g.Check(owner, name+"."+key, v[key]); err != nil {
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

// CheckSetting asks the bundles that are there for an account's domain about
// the value of its setting, decoded JSON. A setting that none of them
// describes may be anything. ErrSetting.
func CheckSetting(sources []Source, account envelope.Address, name string, v any) error {
	domain := account.Domain()
	for _, s := range sources {
		f, ok := s.Settings[name]
		if !ok || s.Domains == nil && slices.Contains(s.Except, domain) || s.Domains != nil && !slices.Contains(s.Domains, domain) {
			continue
		}
		if err := f.Check(account, name, v); err != nil {
			return err
		}
	}
	return nil
}

// checkOthers returns an error if a value names nobody but the account itself.
func (f Field) checkOthers(owner envelope.Address, name string, v any) error {
	var list []envelope.Address
	switch v := v.(type) {
	case string:
		if f.Type == "addresses" {
			list, _ = forward.ParseFile(owner, v)
		} else if a, ok := forward.ParseAddress(v); ok {
			list = []envelope.Address{a}
		}
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok {
				if a, ok := forward.ParseAddress(s); ok {
					list = append(list, a)
				}
			}
		}
	}
	for _, a := range list {
		if a.Base() != owner.Base() {
			return nil
		}
	}
	return fmt.Errorf("%w: %s names nobody but %s itself", ErrSetting, name, owner.Base())
}
