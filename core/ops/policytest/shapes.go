package policytest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/core/protocol/milter"
	"carteiro/hooks"
)

// shape says what is wrong with an argument of the test library, or nil. A
// test that means something else than it says is green for the wrong reason,
// so what is not understood is refused.
type shape func(v any) error

// argument is one argument of an operation.
type argument struct {
	name     string
	shape    shape
	optional bool
}

func need(name string, s shape) argument { return argument{name, s, false} }
func may(name string, s shape) argument  { return argument{name, s, true} }

func wrong(format string, args ...any) error { return fmt.Errorf(format, args...) }

// showValue is a value as errors show it.
func showValue(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%q", v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprint(v)
}

func isText(v any) error {
	if _, ok := v.(string); !ok {
		return wrong("must be a text, got %s", showValue(v))
	}
	return nil
}

func isWord(v any) error {
	if s, ok := v.(string); !ok || s == "" {
		return wrong("must be a text that is not empty, got %s", showValue(v))
	}
	return nil
}

// isScalar reports whether a value is a text, a number, true or false.
func isScalar(v any) error {
	switch v.(type) {
	case string, float64, bool:
		return nil
	}
	return wrong("must be a text or a number, got %s", showValue(v))
}

func isBool(v any) error {
	if _, ok := v.(bool); !ok {
		return wrong("must be true or false, got %s", showValue(v))
	}
	return nil
}

func isFalse(v any) error {
	if v != false {
		return wrong("must be a text, or false, got %s", showValue(v))
	}
	return nil
}

func isAny(any) error { return nil }

// whole is a whole number of a range.
func whole(low, high float64) shape {
	return func(v any) error {
		if n, ok := v.(float64); !ok || n != math.Trunc(n) || n < low || n > high {
			return wrong("must be a whole number from %g to %g, got %s", low, high, showValue(v))
		}
		return nil
	}
}

func isSize(v any) error {
	if n, ok := v.(float64); ok && n == math.Trunc(n) && n >= 0 {
		return nil
	}
	if s, ok := v.(string); ok {
		if _, err := config.ParseSize(s); err == nil {
			return nil
		}
	}
	return wrong("must be a number of octets or a size such as \"8MiB\", got %s", showValue(v))
}

// sizeOf converts a value that isSize accepted.
func sizeOf(v any) int64 {
	if s, ok := v.(string); ok {
		n, _ := config.ParseSize(s)
		return n
	}
	n, _ := v.(float64)
	return int64(n)
}

func isDuration(v any) error {
	_, err := duration(v)
	if err != nil {
		return wrong("must be seconds or a text such as \"6m\", got %s", showValue(v))
	}
	return nil
}

func isAddress(v any) error {
	s, ok := v.(string)
	if !ok {
		return wrong("must be an address, got %s", showValue(v))
	}
	if _, err := envelope.ParseAddress(s); err != nil {
		return wrong("%q is not an address: %v", s, err)
	}
	return nil
}

func isIP(v any) error {
	s, ok := v.(string)
	if _, err := netip.ParseAddr(s); !ok || err != nil {
		return wrong("must be an IP address, got %s", showValue(v))
	}
	return nil
}

// ipOf is an IP address of a family.
func ipOf(v4 bool) shape {
	return func(v any) error {
		if err := isIP(v); err != nil {
			return err
		}
		if ip, _ := netip.ParseAddr(v.(string)); ip.Is4() != v4 {
			return wrong("must be an IPv%d address, got %s", map[bool]int{true: 4, false: 6}[v4], showValue(v))
		}
		return nil
	}
}

// oneOf is one of some words.
func oneOf(words ...string) shape {
	return func(v any) error {
		s, ok := v.(string)
		if !ok || !slices.Contains(words, s) {
			return wrong("must be %s, got %s%s", strings.Join(words, ", "), showValue(v), hooks.Suggestion(s, words))
		}
		return nil
	}
}

// either accepts what one of the shapes accepts; the error is that of the last.
func either(list ...shape) shape {
	return func(v any) (err error) {
		for _, s := range list {
			if err = s(v); err == nil {
				return nil
			}
		}
		return err
	}
}

// list is the shape of a list whose elements have the given shape.
func list(of shape) shape {
	return func(v any) error {
		if m, ok := v.(map[string]any); ok && len(m) == 0 {
			return nil
		}
		all, ok := v.([]any)
		if !ok {
			return wrong("must be a list, got %s", showValue(v))
		}
		for i, one := range all {
			if err := of(one); err != nil {
				return wrong("element %d %w", i+1, err)
			}
		}
		return nil
	}
}

// oneOrList is a value or a list of such.
func oneOrList(of shape) shape {
	return func(v any) error {
		if _, isList := v.([]any); isList {
			return list(of)(v)
		}
		return of(v)
	}
}

// table is a table with these keys and no others.
func table(keys map[string]shape) shape {
	known := slices.Sorted(maps.Keys(keys))
	return func(v any) error {
		m, err := asMap(v)
		if err != nil {
			return err
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			s, ok := keys[k]
			if !ok {
				return fmt.Errorf("%w: there is no option %s; known are %s", errOption, k, strings.Join(known, ", "))
			}
			if err := s(m[k]); err != nil {
				return inKey(k, err)
			}
		}
		return nil
	}
}

// errOption: a table has a key that nobody knows.
var errOption = errors.New("unknown")

func inKey(key string, err error) error {
	if errors.Is(err, errOption) {
		return wrong("%s: %w", key, err)
	}
	return wrong("%s %w", key, err)
}

// mapOf is a table with keys of the test's choice.
func mapOf(key, value shape) shape {
	return func(v any) error {
		m, err := asMap(v)
		if err != nil {
			return err
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if err := key(k); err != nil {
				return wrong("the key %q %w", k, err)
			}
			if err := value(m[k]); err != nil {
				return inKey(k, err)
			}
		}
		return nil
	}
}

func asMap(v any) (map[string]any, error) {
	if m, ok := v.(map[string]any); ok {
		return m, nil
	}
	if l, ok := v.([]any); ok && len(l) > 0 {
		return nil, wrong("must be a table with names, got a list")
	}
	return nil, wrong("must be a table with names, got %s", showValue(v))
}

// reply is what another server says: a code, { code, [enhanced,] text } or the
// same with names.
func reply(v any) error {
	_, err := readReply(v)
	return err
}

func readReply(v any) (envelope.Status, error) {
	st := envelope.Status{Text: "said by the test"}
	var code, enhanced, text any
	switch v := v.(type) {
	case float64:
		code = v
	case map[string]any:
		if err := table(map[string]shape{"code": isAny, "enhanced": isAny, "text": isAny})(v); err != nil {
			return st, err
		}
		code, enhanced, text = v["code"], v["enhanced"], v["text"]
	case []any:
		if len(v) > 3 {
			return st, wrong("must be { code, [enhanced,] text }, got a list of %d", len(v))
		}
		code, text = v[0], v[len(v)-1]
		if len(v) == 3 {
			enhanced = v[1]
		}
		if len(v) == 1 {
			text = nil
		}
	default:
		return st, wrong("must be a code such as 451, or { code, enhanced, text }, got %s", showValue(v))
	}
	n, ok := code.(float64)
	if c := int(n) / 100; !ok || n != math.Trunc(n) || c != 2 && c != 4 && c != 5 {
		return st, wrong("has to have a code of 2xx, 4xx or 5xx, got %s", showValue(code))
	}
	st.Code = int(n)
	if enhanced != nil {
		s, ok := enhanced.(string)
		if !ok || !envelope.ValidEnhanced(s) || int(s[0]-'0') != st.Code/100 {
			return st, wrong("has to have an enhanced code like %d.1.1, got %s", st.Code/100, showValue(enhanced))
		}
		st.Enhanced = s
	}
	if text != nil {
		s, ok := text.(string)
		if !ok {
			return st, wrong("has to have a text, got %s", showValue(text))
		}
		st.Text = s
	}
	return st, nil
}

var httpMethod = regexp.MustCompile(`^(GET|POST) `) // what policies can do

func isWebKey(v any) error {
	s, _ := v.(string)
	target := httpMethod.ReplaceAllString(s, "")
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return wrong("must be a URL, or a method and a URL, as \"POST https://host/path\"")
	}
	return nil
}

func isPath(v any) error {
	if s, ok := v.(string); !ok || !strings.HasPrefix(s, "/") {
		return wrong("must begin with a slash, got %s", showValue(v))
	}
	return nil
}

func isRemoteKey(v any) error {
	s, _ := v.(string)
	if s == "*" || envelope.CheckDomain(s) == nil {
		return nil
	}
	if _, err := envelope.ParseAddress(s); err != nil {
		return wrong("must be an address, a domain or \"*\"")
	}
	return nil
}

var actions = []string{milter.Accept, milter.Reject, milter.Defer, milter.Discard, milter.Quarantine}
