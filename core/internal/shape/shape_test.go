package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes a module and returns its folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var example = map[string]string{
	"go.mod":  "module example.com/m\n\ngo 1.26\n",
	"main.go": "// Command m does.\npackage main\n\nimport \"example.com/m/a\"\n\nfunc main() { go a.Run() }\n",
	"a/a.go": `// Package a is first.
package a

import "example.com/m/a/b"

// T is documented.
type T[K any] struct{ k K }

func (t *T[K]) One() { t.Two() }

// Two calls One.
func (t *T[K]) Two() { t.three() }

// Run does.
func Run() { even(3); b.F(1, 2, 3, 4, 5, 6) }

var x, y = 1, 2 // TODO: more
`,
	"a/c.go": `package a

func (t *T[K]) three() { t.One() }

func even(n int) bool { return n == 0 || odd(n-1) }

func odd(n int) bool { return n != 0 && even(n-1) }
`,
	"a/b/b.go":              "package b\n\nfunc F(a, b, c, d, e, f int) {" + strings.Repeat(" ", 130) + "}\n",
	"a/a_test.go":           "package a\n\nimport \"testing\"\n\nfunc FuzzX(f *testing.F) {}\nfunc BenchmarkX(b *testing.B) {}\n",
	"a/testdata/t.go":       "package broken(\n",
	"_old/o.go":             "package broken(\n",
	"other/go.mod":          "module other\n",
	"other/o.go":            "package broken(\n",
	"vendor/v.example/v.go": "package broken(\n",
}

func TestShape(t *testing.T) {
	var out strings.Builder
	if err := run([]string{tree(t, example)}, &out); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{
		"| product lines / files | 33 / 4 |",
		"| file median / p90 / max | 7 / 17 / 17 (a/a.go) |",
		"| files > 350 lines | 0 (0.0 %) |",
		"| packages, longest import chain, edges | 3, 3, 2 |",
		"| lines per package, largest | 11, 24 (a) |",
		"| function median / p90 / max | 1 / 1 / 1 (main.go:6 main) |",
		"| parameters > 5 | 1 (12.5 %) |",
		"| lines > 140 columns | 1 (3.0 %) |",
		"| widest line | 161 (a/b/b.go:3) |",
		"| comment lines | 18.2 % |",
		"| exported / unexported documented | 60.0 % / 40.0 % |",
		"| package comments | 2/3 |",
		"| methods of the largest types | 3 (a.T) |",
		"| call cycles between files | 1 |",
		"| Fuzz / Benchmark / Run / Parallel | 1 / 1 / 0 / 0 |",
		"| go statements / package variables | 1 / 2 |",
		"| TODO, FIXME, XXX | 1 |",
		"example.com/m: a.T has 3 methods in 2 files: One Two three\n",
		// even and odd are a circle within one file.
		"3 functions of 2 files call each other in a circle:\n  a/a.go:12 Two\n  a/a.go:9 One\n  a/c.go:3 three\n",
	} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestSideBySide: a module that cannot be built is measured all the same.
func TestSideBySide(t *testing.T) {
	broken := tree(t, map[string]string{"go.mod": "module example.com/broken\n\ngo 1.26\n", "x.go": "package x\n\nfunc f() { g() }\n"})
	var out strings.Builder
	if err := run([]string{tree(t, example), broken}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 33 / 4 | 3 / 1 |", "| 1 | unknown: go list: ./x.go:3:12: undefined: g |"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestNoModule(t *testing.T) {
	for _, dir := range []string{tree(t, map[string]string{"x.go": "package x\n"}), tree(t, map[string]string{"go.mod": "module m\n"})} {
		if err := run([]string{dir}, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v, want an error that names %s", err, dir)
		}
	}
}

func TestNesting(t *testing.T) {
	tests := []struct {
		body string
		want int
	}{
		{"", 0},
		{"if a { }", 1},
		{"if a { } else if b { } else if c { if d { } }", 2},
		{"if a { } else { if b { } }", 2},
		{"for { switch { case a: if b { } } }", 3},
		{"f(func() { for range a { select { } } })", 2},
		{"if a { if b { if c { if d { } } } }", 4},
		{"if a { }; if b { }", 1},
	}
	for _, tt := range tests {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() {"+tt.body+"}\n", 0)
		if err != nil {
			t.Fatalf("%s: %v", tt.body, err)
		}
		if got := nesting(f.Decls[0]); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.body, got, tt.want)
		}
	}
}

// TestNoCallCycles: functions of different files of this module do not call each
// other in a circle.
func TestNoCallCycles(t *testing.T) {
	m, err := readModule("../../..")
	if err != nil {
		t.Fatal(err)
	}
	cycles, err := findCycles(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cycles {
		t.Errorf("%d functions call each other in a circle: %v", len(c.functions), c.functions)
	}
}
