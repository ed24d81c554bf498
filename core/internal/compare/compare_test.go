package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseFigures(t *testing.T) {
	const text = `goos: linux
BenchmarkOne-2   	     100	      12.5 ns/op	     288 B/op	       3 allocs/op
BenchmarkOne#01-2	     100	      13.5 ns/op	     288 B/op	       3 allocs/op
BenchmarkServer/100-2 	5 	200 ns/op	4.000 msg/commit	7 cpu-us/msg
BenchmarkBroken-2
--- SKIP: BenchmarkPeers-2
BenchmarkSaid something that begins so
PASS
`
	got := parseFigures([]byte(text), 2)
	want := "map[BenchmarkOne:map[B/op:[288 288] allocs/op:[3 3] ns/op:[12.5 13.5]]" +
		" BenchmarkServer/100:map[commits/msg:[0.25] cpu-us/msg:[7] ns/op:[200]]]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	// With one processor go test writes no number, so "-2" is part of the name.
	if one := parseFigures([]byte("BenchmarkOne-2 1 5 ns/op\n"), 1); one["BenchmarkOne-2"] == nil {
		t.Errorf("with one processor: %v", one)
	}
}

func TestMatcher(t *testing.T) {
	tests := []struct {
		expression, name string
		want             bool
	}{
		{".", "BenchmarkHook", true},
		{"BenchmarkHook$|BenchmarkLoad", "BenchmarkHook", true},
		{"BenchmarkHook$|BenchmarkLoad", "BenchmarkHooks", false},
		{"Commit/2KiB", "BenchmarkCommit", true},
		{"Commit/Load", "BenchmarkLoad", false},
		{"Commit/2KiB|Load/x", "BenchmarkLoad", true},
		{"(Commit|Load)$", "BenchmarkLoad", true},
		{"[|/]|Load", "BenchmarkLoad", true},
		{"[|/]", "BenchmarkLoad", false},
	}
	for _, tt := range tests {
		m, err := newMatcher(tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
		} else if got := m.match(tt.name); got != tt.want {
			t.Errorf("%s matches %s: %v, want %v", tt.expression, tt.name, got, tt.want)
		}
	}
}

func TestRatio(t *testing.T) {
	tests := []struct {
		name      string
		old, new  []float64
		ratio     float64
		low, high float64 // the interval lies within them
	}{
		{"a count that does not vary", []float64{3, 3, 3, 3}, []float64{3, 3, 3, 3}, 1, 1, 1},
		{"one allocation more", []float64{100, 100, 100}, []float64{102, 102, 102}, 1.02, 1.02, 1.02},
		{"none before and none now", []float64{0, 0}, []float64{0, 0}, 1, 1, 1},
		{"none before and one now", []float64{0, 0}, []float64{1, 1}, math.Inf(1), math.Inf(1), math.Inf(1)},
		{"one before and none now", []float64{1, 1}, []float64{0, 0}, 0, 0, 0},
		{"noise", []float64{100, 110, 90, 105, 95, 100, 108, 92}, []float64{95, 112, 88, 107, 93, 101, 105, 96}, 0.985, 0.93, 1.08},
		// What makes both slow in a round does not widen the interval.
		{"noise of both", []float64{100, 400, 100, 200, 900, 100}, []float64{110, 440, 110, 220, 990, 110}, 1.1, 1.1 - 1e-9, 1.1 + 1e-9},
	}
	for _, tt := range tests {
		p := pairOf{tt.old, tt.new}
		ratio, low, high := p.ratio()
		if ratio != tt.ratio && math.Abs(ratio-tt.ratio) > 1e-9 {
			t.Errorf("%s: ratio %v, want %v", tt.name, ratio, tt.ratio)
		}
		if low < tt.low || high > tt.high || low > ratio || high < ratio {
			t.Errorf("%s: %v to %v around %v, want it within %v and %v", tt.name, low, high, ratio, tt.low, tt.high)
		}
	}
}

func TestVerdict(t *testing.T) {
	tests := []struct {
		unit              string
		old, new          []float64
		isWorse, isUnsure bool
	}{
		{"ns/op", []float64{100, 100, 100}, []float64{103, 103, 103}, false, false},
		{"ns/op", []float64{100, 100, 100}, []float64{104, 104, 104}, true, false},
		{"ns/op", []float64{100, 100, 100}, []float64{101, 104, 110}, false, true},
		{"ns/op", []float64{100, 100, 100}, []float64{50, 50, 50}, false, false},
		{"allocs/op", []float64{100, 100, 100}, []float64{101, 101, 101}, false, false},
		{"allocs/op", []float64{100, 100, 100}, []float64{102, 102, 102}, true, false},
		{"allocs/op", []float64{0, 0, 0}, []float64{1, 1, 1}, true, false},
		{"commits/msg", []float64{1, 1, 1}, []float64{2, 2, 2}, true, false},
		{"cpu-us/msg", []float64{50, 50, 50}, []float64{52, 52, 52}, true, false},
		{"msg/s", []float64{50, 50, 50}, []float64{100, 100, 100}, false, false},
	}
	for _, tt := range tests {
		m := measured{name: "BenchmarkX", units: map[string]*pairOf{tt.unit: {tt.old, tt.new}}}
		var worse, unclear []string
		m.line(&worse, &unclear)
		if len(worse) > 0 != tt.isWorse || len(unclear) > 0 != tt.isUnsure {
			t.Errorf("%s from %v to %v: worse %q, unclear %q", tt.unit, tt.old, tt.new, worse, unclear)
		}
	}
}

func TestPair(t *testing.T) {
	tree := func(packages map[string]string) *tree {
		out := &tree{packages: map[string]*testPackage{}}
		for path, benchmarks := range packages {
			out.packages[path] = &testPackage{path: path, benchmarks: strings.Fields(benchmarks)}
		}
		return out
	}
	all := trees{
		old: tree(map[string]string{"m/a": "Both Gone", "m/b": "Moved Twice", "m/d": "Same"}),
		new: tree(map[string]string{"m/a": "Both New", "m/c": "Moved Twice", "m/d": "Same Same2", "m/e": "Twice"}),
	}
	var r report
	all.pair(&r)
	var got []string
	for _, u := range all.units {
		got = append(got, fmt.Sprint(u.old.path, " ", u.new.path, " ", u.benchmarks))
	}
	if want := []string{"m/a m/a [Both]", "m/b m/c [Moved]", "m/d m/d [Same]"}; !slices.Equal(got, want) {
		t.Errorf("units %q, want %q", got, want)
	}
	if want := []string{"m/a Gone", "m/b Twice"}; !slices.Equal(r.onlyOld, want) {
		t.Errorf("only old: %q, want %q", r.onlyOld, want)
	}
	if want := []string{"m/a New", "m/c Twice", "m/d Same2", "m/e Twice"}; !slices.Equal(r.onlyNew, want) {
		t.Errorf("only new: %q, want %q", r.onlyNew, want)
	}
}

func TestArgs(t *testing.T) {
	for _, args := range []string{"", "-rounds 0 HEAD", "-rounds x HEAD", "HEAD Bench more", "-nothing HEAD", "HEAD ["} {
		if _, err := parseArgs(strings.Fields(args)); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v, want the usage", args, err)
		}
	}
	s, err := parseArgs([]string{"HEAD"})
	if err != nil || s.regexp != "." || s.skip != slow || s.rounds != 10 {
		t.Errorf("HEAD: %+v, %v", s, err)
	}
}

// module is a repository whose benchmarks report what they are told to, so that
// a comparison has the same result on each machine.
type module struct {
	t   *testing.T
	dir string
}

func (m *module) git(args ...string) string {
	m.t.Helper()
	settings := []string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}
	cmd := exec.Command("git", append(settings, args...)...)
	cmd.Dir = m.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("git %s: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *module) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// bench returns a test file of package p with benchmark X.
func bench(body string) string {
	return "package p\nimport \"testing\"\nfunc BenchmarkX(b *testing.B) {\n" + body + "\n}\n"
}

// TestCompare builds and runs two commits. What was left behind is removed.
func TestCompare(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds eight test binaries")
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	m := &module{t, t.TempDir()}
	m.git("init", "-q")
	m.write("go.mod", "module m\n\ngo 1.26\n")
	m.write("a/x_test.go", bench(`b.ReportMetric(100, "ns/op"); b.ReportMetric(2, "commits/msg")`))
	m.git("add", "-A")
	m.git("commit", "-qm", "first")
	t.Chdir(m.dir)
	compare := func(args ...string) (bool, string, error) {
		var out strings.Builder
		ok, err := run(context.Background(), append([]string{"-rounds", "2", "-time", "1x"}, args...), &out, io.Discard)
		if list := m.git("worktree", "list", "--porcelain"); strings.Count(list, "worktree ") != 1 {
			t.Errorf("worktrees are left: %s", list)
		}
		return ok, out.String(), err
	}
	if ok, out, err := compare("HEAD", "X"); !ok || err != nil || !strings.Contains(out, "nothing is worse, of 1 benchmarks") {
		t.Errorf("the same: %v, %v\n%s", ok, err, out)
	}
	// The package moves, the benchmark costs more, and there is a new one.
	m.git("mv", "a", "b")
	m.write("b/x_test.go", bench(`b.ReportMetric(90, "ns/op"); b.ReportMetric(3, "commits/msg")`)+"func BenchmarkNew(b *testing.B) {}\n")
	ok, out, err := compare("HEAD")
	if ok || err != nil {
		t.Errorf("worse: %v, %v", ok, err)
	}
	for _, want := range []string{"m/a -> m/b\n", "0.900 to 0.900",
		"WORSE:\n", "  BenchmarkX commits/msg: 1.500 (1.500 to 1.500), 2 before, 3 now\n",
		"only in the new one:\n  m/b BenchmarkNew\n", "with changes that are not committed"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	m.write("b/x_test.go", bench(`b.Fatal("broken")`))
	ok, out, err = compare("HEAD")
	if ok || err != nil || !strings.Contains(out, "FAILED:\n  m/b, new: ") || !strings.Contains(out, "broken") {
		t.Errorf("a benchmark that fails: %v, %v\n%s", ok, err, out)
	}
	m.write("b/x_test.go", bench(`nothing()`))
	if ok, out, err := compare("HEAD"); ok || err != nil || !strings.Contains(out, "m/b, new: build: ") {
		t.Errorf("a package that cannot be built: %v, %v\n%s", ok, err, out)
	}
	for _, args := range [][]string{{"nowhere"}, {"HEAD", "Nothing"}} {
		if ok, out, err := compare(args...); ok || !errors.Is(err, errUsage) {
			t.Errorf("%q: %v, %v, want the usage\n%s", args, ok, err, out)
		}
	}
}
