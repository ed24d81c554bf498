package rules

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/published.txt")

// TestPublishedNames: names on disk, in the API, in logs, metrics and commands
// stay when names in Go change. Whoever adds one runs the test with -update; one
// that goes or changes needs an entry in .ci/changes and, on disk, a step of the format.
func TestPublishedNames(t *testing.T) {
	const list = "testdata/published.txt"
	got := Published(all(t))
	if *update {
		if err := os.WriteFile(list, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%q is not published any more (name, how often)", name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%q is published and not in %s", name, list)
		}
	}
}

// TestPublishedBites: each kind of name is found.
func TestPublishedBites(t *testing.T) {
	f, err := parse("core/x/a.go", "a.go", `package x
const ReceiveX Point = "receive.x"
const timerSpace, kindThing = "#timers", "thing"
type s struct { A int `+"`json:\"a,omitempty\" toml:\"b\"`"+` }
var c = &cobra.Command{Use: "list NAME"}
func f() {
	log.Step(ctx, "delivery", id, "to", x)
	log.ErrorContext(ctx, "broken", "err", err)
	c.Flags().StringVar(&x, "folder", "", "")
	counter("carteiro_x_total")
}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"command list 1", "flag folder 1", "hook receive.x 1", "json a 1", "log delivery", "log key err", "log key to",
		"metric carteiro_x_total 1", "record thing 1", "space #timers 1", "toml b 1"}
	if got := Published([]*File{f}); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
