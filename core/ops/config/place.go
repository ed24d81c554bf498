package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// parseError turns an error of the TOML reader into one that names file, line
// and column and shows the place.
func parseError(path string, err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var b strings.Builder
		for _, e := range strict.Errors {
			line, col := e.Position()
			fmt.Fprintf(&b, "\n%s:%d:%d: unknown key %s\n%s", path, line, col, strings.Join(e.Key(), "."), e.String())
		}
		return fmt.Errorf("%w:%s", ErrConfig, b.String())
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, col := e.Position()
		return fmt.Errorf("%w: %s:%d:%d: %s\n%s", ErrConfig, path, line, col, strings.TrimPrefix(e.Error(), "toml: "), e.String())
	}
	return fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
}

// locate finds the line of a bad setting and shows it; of one that is not
// there, the table it belongs to.
func locate(path string, raw []byte, err error) error {
	b, ok := errors.AsType[*badSetting](err)
	if !ok {
		return fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	line, text := b.find(strings.Split(string(raw), "\n"))
	if line == 0 {
		return fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	return withPlace(path, line, text, err)
}

var tableLine = regexp.MustCompile(`^\s*\[\[?\s*([^\]]+?)\s*\]?\]`)

func (b *badSetting) find(lines []string) (int, string) {
	table, nth, tableAt := "", -1, 0
	key := regexp.MustCompile(`^\s*"?` + regexp.QuoteMeta(b.key) + `"?\s*=`)
	for i, l := range lines {
		if m := tableLine.FindStringSubmatch(l); m != nil {
			name := strings.ReplaceAll(m[1], `"`, "")
			if name == b.in {
				nth++
			}
			table = name
			if table == b.in && (b.nth < 0 || nth == b.nth) {
				tableAt = i + 1
			}
		}
		if table == b.in && (b.nth < 0 || nth == b.nth) && key.MatchString(l) {
			return i + 1, l
		}
	}
	if tableAt > 0 {
		return tableAt, lines[tableAt-1]
	}
	return 0, ""
}

// InBundle is an error about the nth [[bundle]], from 0, with its file and line:
// that of one of its settings, as "config" or "domain.DOMAIN", or of its
// beginning. It wraps err and ErrConfig.
func (c *Config) InBundle(nth int, setting string, err error) error {
	raw, _ := os.ReadFile(c.Path) // without it there is no place
	lines := strings.Split(string(raw), "\n")
	line, text := (&badSetting{in: "bundle", nth: nth, key: setting}).find(lines)
	if domain, ok := strings.CutPrefix(setting, "domain."); ok && line > 0 {
		for i := line; i < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[i]), "[["); i++ {
			if m := tableLine.FindStringSubmatch(lines[i]); m != nil && strings.ReplaceAll(m[1], `"`, "") == "bundle.domain."+domain {
				line, text = i+1, lines[i]
			}
		}
	}
	if line == 0 {
		return err
	}
	return withPlace(c.Path, line, text, err)
}

// withPlace is an error with its place, and the line that it is about.
func withPlace(path string, line int, text string, err error) error {
	return fmt.Errorf("%w: %s:%d: %w\n%4d| %s\n    | %s", ErrConfig, path, line, err, line, text,
		strings.Repeat("~", len(strings.TrimRight(text, " \t\r"))))
}
