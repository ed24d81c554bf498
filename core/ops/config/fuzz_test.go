package config

import (
	"errors"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var placed = regexp.MustCompile(`/c/carteiro\.toml(?::(\d+))?`)

// FuzzParse: an error names the file and an existing line; only for a setting without its
// own line the line may be missing. An accepted configuration has absolute paths, and is
// accepted again after it was written out.
func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add(full)
	f.Add(minimal + "[[listener]]\nprotocol = \"smtp\"\naddr = \":25\"\nmax_size = \"many\"\n")
	f.Add("[bundle\n")
	f.Add("hostname = \"mx.example.com\"\nstorage.dir = \"x\"\n[queue]\nretry = [\"5m\", \"x\"]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("/c/carteiro.toml", []byte(text))
		if err == nil {
			for _, p := range []string{c.Storage.Dir, c.Storage.KeyFile, c.TLS.Cert, c.TLS.Key, c.Scripts.Dir} {
				if p != "" && !filepath.IsAbs(p) {
					t.Errorf("path %q is not absolute", p)
				}
			}
			if c.Hostname == "" || c.Storage.Dir == "" || c.Hostname != strings.TrimSpace(c.Hostname) {
				t.Errorf("accepted with hostname %q and store %q", c.Hostname, c.Storage.Dir)
			}
			return
		}
		m := placed.FindStringSubmatch(err.Error())
		if !errors.Is(err, ErrConfig) || m == nil {
			t.Fatalf("error %v names no file", err)
		}
		if m[1] == "" {
			b, ok := errors.AsType[*badSetting](err)
			if !ok || b.in == "" && regexp.MustCompile(`(?m)\A`+regexp.QuoteMeta(b.key)+` = `).MatchString(text) {
				t.Errorf("%q: error %v names no line", text, err)
			}
			return
		}
		if n, _ := strconv.Atoi(m[1]); n < 1 || n > strings.Count(text, "\n")+1 {
			t.Errorf("%q has no line %d: %v", text, n, err)
		}
	})
}
