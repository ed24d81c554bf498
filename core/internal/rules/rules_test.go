package rules

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the module's root, seen from here.
const module = "../../.."

func all(t *testing.T) []*File {
	t.Helper()
	files, err := Read(module)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("only %d files below %s: the rules would say nothing", len(files), module)
	}
	return files
}

func report(t *testing.T, offences []string) {
	t.Helper()
	for _, o := range offences {
		t.Error(o)
	}
}

func TestImports(t *testing.T)  { report(t, Imports(all(t))) }
func TestSizes(t *testing.T)    { report(t, Sizes(all(t))) }
func TestColumns(t *testing.T)  { report(t, Columns(all(t))) }
func TestComments(t *testing.T) { report(t, Comments(all(t))) }
func TestInits(t *testing.T)    { report(t, Inits(all(t))) }
func TestNames(t *testing.T)    { report(t, Names(all(t))) }
func TestMethods(t *testing.T)  { report(t, Methods(all(t))) }
func TestLevels(t *testing.T)   { report(t, Levels(levels)) }
func TestUnused(t *testing.T)   { report(t, Unused(all(t))) }

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(module)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	// What .gitignore names is not part of the tree.
	names = slices.DeleteFunc(names, func(n string) bool {
		return n == "carteiro" || strings.HasPrefix(n, "carteiro-") || n == "tmp" || strings.HasSuffix(n, ".test") ||
			strings.HasSuffix(n, ".prof")
	})
	report(t, TopLevel(names))
}

// TestLayersExist: a package that moved must not leave its rights behind for
// whoever takes the name.
func TestLayersExist(t *testing.T) {
	packages := maps.Clone(aside)
	for _, l := range levels {
		maps.Copy(packages, l.packages)
	}
	for p := range packages {
		files, err := filepath.Glob(filepath.Join(module, p, "*.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("layers.go names %s, which is not there", p)
		}
	}
}

// TestDependenciesExplained: core/README.md has a reason for each.
func TestDependenciesExplained(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(module, "core", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range homes {
		// golang.org/x modules are named by their first three elements.
		name := h.module
		if strings.HasPrefix(name, "golang.org/x/") {
			name = strings.Join(strings.Split(name, "/")[:3], "/")
		}
		if !strings.Contains(string(gomod), name+" ") {
			continue // not used yet
		}
		if !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("core/README.md does not say why `%s` is there", name)
		}
	}
}

// TestRulesBite: each rule finds what it is for, and names the place.
func TestRulesBite(t *testing.T) {
	long := "package x\n" + strings.Repeat("// line\n", MaxFile)
	function := "package x\nfunc f() {\n" + strings.Repeat("\t_ = 0\n", MaxFunction) + "}\n"
	table := "package x\nfunc f() {\n\tx := []int{\n" + strings.Repeat("\t\t0,\n", MaxFunction) + "\t}\n}\n"
	tests := []struct {
		rule       func([]*File) []string
		path, text string
		want       string // empty: no offence
	}{
		{
			Imports,
			"core/protocol/smtpin/a.go",
			"package smtpin\nimport \"carteiro/core/store\"\n",
			"core/protocol/smtpin/a.go:2: core/protocol/smtpin imports carteiro/core/store: its layer",
		},
		{Imports, "core/protocol/smtpin/a_test.go", "package smtpin\nimport \"carteiro/core/store\"\n", ""},
		{Imports, "core/a.go", "package core\nimport \"carteiro/hooks/lua\"\n", "core/a.go:2: core imports carteiro/hooks/lua: its layer"},
		{Imports, "core/a.go", "package core\nimport \"carteiro/hooks\"\n", ""},
		{
			Imports,
			"core/message/envelope/a.go",
			"package envelope\nimport \"carteiro/core/ops/clock\"\n",
			"core/message/envelope/a.go:2: core/message/envelope imports",
		},
		{
			Imports,
			"core/new/a.go",
			"package new\nimport \"carteiro/core/message/envelope\"\n",
			"core/new/a.go:2: core/new imports carteiro/core/message/envelope: the package is in no layer",
		},
		{Imports, "cmd/x/a.go", "package main\nimport \"carteiro/hooks/lua\"\n", ""},
		{Imports, "cmd/x/a.go", "package main\nimport \"carteiro/cmd/y\"\n", "cmd/x/a.go:2: cmd/x imports carteiro/cmd/y"},
		{Imports, "cmd/x/a.go", "package main\nimport \"carteiro/cmd/x/internal/z\"\n", ""},
		{Imports, "cmd/x/internal/z/a.go", "package z\nimport \"carteiro/cmd/x/internal/w\"\n", ""},
		{Imports, "cmd/x/internal/z/a.go", "package z\nimport \"carteiro/hooks/lua\"\n", ""},
		{Imports, "cmd/x/a.go", "package main\nimport \"carteiro/cmd/y/internal/z\"\n", "cmd/x/a.go:2: cmd/x imports carteiro/cmd/y/internal/z"},
		{Imports, "cmd/x/internal/z/a.go", "package z\nimport \"carteiro/cmd/x\"\n",
			"cmd/x/internal/z/a.go:2: cmd/x/internal/z imports carteiro/cmd/x"},
		{Imports, "core/a.go", "package core\nimport \"carteiro/cmd/x/internal/z\"\n", "core/a.go:2: core imports carteiro/cmd/x/internal/z"},
		{
			Imports,
			"core/a.go",
			"package core\nimport \"github.com/yuin/gopher-lua/parse\"\n",
			"core/a.go:2: core imports github.com/yuin/gopher-lua/parse: its home is hooks/lua",
		},
		{Imports, "hooks/lua/a.go", "package lua\nimport \"github.com/yuin/gopher-lua/parse\"\n", ""},
		{
			Imports,
			"core/a.go",
			"package core\nimport \"example.com/new\"\n",
			"core/a.go:2: core imports example.com/new: the dependency has no home",
		},
		{Imports, "core/a.go", "package core\nimport \"go.uber.org/goleak\"\n", "core/a.go:2: core imports go.uber.org/goleak"},
		{Imports, "core/a_test.go", "package core\nimport \"go.uber.org/goleak\"\n", ""},
		{Imports, "core/protocol/smtpin/a_test.go", "package smtpin\nimport \"github.com/emersion/go-smtp\"\n", ""},
		{Imports, "core/protocol/smtpin/a.go", "package smtpin\nimport \"github.com/emersion/go-smtp\"\n", "core/protocol/smtpin/a.go:2"},
		{Sizes, "core/a.go", long, "core/a.go:1: 501 lines"},
		{Sizes, "core/a_test.go", long, ""},
		{Sizes, "core/a.go", function, "core/a.go:2: function f has 82 lines"},
		{Sizes, "core/a_test.go", function, "core/a_test.go:2: function f"},
		{Sizes, "core/a_test.go", table, ""},
		{Sizes, "core/a.go", table, "core/a.go:2: function f"},
		{Columns, "core/store/a.go", "package x\n\t//" + strings.Repeat("é", MaxColumn-3) + "\n", ""},
		{Columns, "core/store/a.go", "package x\n\t//" + strings.Repeat("é", MaxColumn-2) + "\n", "core/store/a.go:2: 141 columns"},
		{Comments, "core/a.go", "// Words.\npackage core\n", "core: no file"},
		{Comments, "core/a.go", "// Package core is here.\npackage core\n", ""},
		{Comments, "cmd/x/a.go", "// Command x does.\npackage main\n", ""},
		{Inits, "core/a.go", "package core\n\nfunc init() {}\n", "core/a.go:3: an init function"},
		{Inits, "core/a.go", "package core\ntype t int\nfunc (t) init() {}\n", ""},
		{Inits, "core/a.go", "package core\nimport _ \"net/http/pprof\"\n", "core/a.go:2: import of"},
		{Inits, "core/a.go", "package core\nimport _ \"embed\"\n", ""},
		{Names, "core/util/a.go", "package util\n", "core/util/a.go: package util"},
	}
	for _, tt := range tests {
		f, err := parse(tt.path, tt.path, tt.text)
		if err != nil {
			t.Fatalf("%s: %v", tt.path, err)
		}
		got := tt.rule([]*File{f})
		switch {
		case tt.want == "" && len(got) > 0:
			t.Errorf("%s: %q, want nothing\n%.200s", tt.path, got, tt.text)
		case tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tt.want)):
			t.Errorf("%s: %q, want %q\n%.200s", tt.path, got, tt.want, tt.text)
		}
	}
	many := "package x\ntype t int\n" + strings.Repeat("func (*t) m() {}\n", MaxMethods+1)
	if f, err := parse("core/x/a.go", "a.go", many); err != nil {
		t.Fatal(err)
	} else if got := Methods([]*File{f}); len(got) != 1 || got[0] != "core/x.t has 31 methods, at most 30" {
		t.Errorf("Methods: %q", got)
	}
	up := []level{{"low", map[string][]string{"a": {"b"}}}, {"high", map[string][]string{"b": {"b", "c"}}}}
	if got := Levels(up); len(got) != 2 {
		t.Errorf("Levels: %q, want the arrow up and the arrow to itself", got)
	}
	f, err := parse("core/service/audit/a.go", "a.go", "package audit\nimport \"carteiro/core/store\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := Unused([]*File{f}); len(got) != 1 || got[0] != "layers.go: no file of core/service/audit imports core/message/envelope" {
		t.Errorf("Unused: %q", got)
	}
	if got := TopLevel([]string{"core", ".ci", "internal"}); len(got) != 1 || !strings.HasPrefix(got[0], "internal: ") {
		t.Errorf("TopLevel: %q", got)
	}
}
