package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Size is a number of octets: 1048576, "50MiB", "1GiB", "10kB".
type Size int64

var units = []struct {
	name string
	n    int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	n, err := ParseSize(string(b))
	*s = Size(n)
	return err
}

// ParseSize reads what Size takes.
func ParseSize(text string) (int64, error) {
	t, factor := strings.TrimSpace(text), int64(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(t, u.name); ok {
			t, factor = strings.TrimSpace(number), u.n
			break
		}
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is not a size; write 1048576, \"50MiB\" or \"1GiB\"", text)
	}
	return n * factor, nil
}

// Duration is a time span: "90s", "5m", "4h", "5d", "2w", or "1h30m".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Std is the duration as package time has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// ParseDuration reads what Duration takes.
func ParseDuration(text string) (time.Duration, error) {
	t := strings.TrimSpace(text)
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(t, suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err == nil && n >= 0 && n < 1e5 {
				return time.Duration(n * float64(unit)), nil
			}
		}
	}
	d, err := time.ParseDuration(t)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration; write \"90s\", \"5m\", \"4h\" or \"5d\"", text)
	}
	return d, nil
}

// Rate is a number of events in a period: "600/1m", "600/min", "3/h"; "0" is
// no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(b []byte) error {
	text := string(b)
	if text == "0" {
		*r = Rate{}
		return nil
	}
	number, per, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if ok && err == nil && n >= 0 {
		if unit, named := map[string]time.Duration{
			"s":    time.Second,
			"sec":  time.Second,
			"m":    time.Minute,
			"min":  time.Minute,
			"h":    time.Hour,
			"hour": time.Hour,
			"d":    24 * time.Hour,
			"day":  24 * time.Hour,
		}[per]; named {
			*r = Rate{n, unit}
			return nil
		}
		if d, err := ParseDuration(per); err == nil && d > 0 {
			*r = Rate{n, d}
			return nil
		}
	}
	return fmt.Errorf("%q is not a rate; write \"600/1m\" or \"10/5m\"", text)
}

// secret reads a setting that is text, { file = "..." } or { env = "..." }.
func (c *Config) secret(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case map[string]any:
		return c.secretFrom(v)
	}
	return "", errSecret
}

var errSecret = errors.New(`is not text, { file = "..." } or { env = "..." }`)

func (c *Config) secretFrom(table map[string]any) (string, error) {
	if len(table) != 1 {
		return "", errSecret
	}
	if name, ok := table["env"].(string); ok {
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("names the environment variable %s, which is not set", name)
		}
		return value, nil
	}
	if name, ok := table["file"].(string); ok {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(c.Path), name)
		}
		b, err := os.ReadFile(name)
		return strings.TrimRight(string(b), "\r\n"), err
	}
	return "", errSecret
}
