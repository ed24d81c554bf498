package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// keysPage lists everything that is stored.
const keysPage = "core/store/KEYS.md"

// stored is a name under which something is stored, and where the code has it.
type stored struct {
	sort  string // octet, kind, space, suffix, or the name of a bundle
	name  string
	files []string
}

// samePairs are octets that differ by case alone; they are on disk.
var samePairs = []string{"m", "u"}

// TestKeysPage compares the page with the code in both directions.
func TestKeysPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(module, keysPage))
	if err != nil {
		t.Fatal(err)
	}
	page := keysOnPage(string(text))
	code, err := keysInCode(module)
	if err != nil {
		t.Fatal(err)
	}
	for _, sort := range []string{"octet", "kind", "space", "suffix", "forward", "mailinglist"} {
		if !slices.ContainsFunc(code, func(s stored) bool { return s.sort == sort }) {
			t.Errorf("nothing of the sort %q was found in the code: the test looks in the wrong places", sort)
		}
	}
	report(t, compareKeys(page, code))
}

// TestKeysPageBites: the comparison finds what it is there for.
func TestKeysPageBites(t *testing.T) {
	code := []stored{{"space", "audit", []string{"a.go"}}, {"space", "groups", []string{"b.go"}}}
	row := func(name, file string) stored { return stored{"space", name, []string{file}} }
	for name, tt := range map[string]struct {
		page []stored
		want string
	}{
		"complete": {[]stored{row("audit", "a.go"), row("groups", "b.go")}, ""},
		"missing":  {[]stored{row("audit", "a.go")}, `core/store/KEYS.md: the space "groups" of b.go is missing`},
		"too many": {[]stored{row("audit", "a.go"), row("groups", "b.go"), row("old", "c.go")},
			`core/store/KEYS.md: the code has no space "old"`},
		"moved": {[]stored{row("audit", "a.go"), row("groups", "a.go")},
			`core/store/KEYS.md: the space "groups" is in b.go, not in a.go`},
		"case": {[]stored{row("audit", "a.go"), row("groups", "b.go"), row("Audit", "a.go")},
			`core/store/KEYS.md: the space "Audit" differs from "audit" at most by case`},
	} {
		got := strings.Join(compareKeys(tt.page, code), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// TestKeysFound: each way in which the code names something is found.
func TestKeysFound(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"core/a/a.go": `package a
import "carteiro/core/store"
const (
	heldSpace = "held:"
	kindFoo = "foo"
	notThis = "x"
)
var r = store.Record{Kind: "literal"}
var e = envelope.Effect{Space: "inline"}
func f() { g("#aside") }`,
		"core/store/badgerstore/key.go": "package badgerstore\nconst keyBody = 'b'\nvar x = idKey('y')\nvar z = []byte(\"Z/\")\n",
		"plugins/one/init.lua":          "kv.set(\"seen:\" .. id, 1)\nlocal k = \"hour:\"\n",
		"plugins/one/tests/a.lua":       "kv.set(\"test:\" .. id, 1)\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, err := keysInCode(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range code {
		got = append(got, s.sort+" "+s.name)
	}
	slices.Sort(got)
	want := []string{"kind foo", "kind literal", "octet Z", "octet b", "octet y", "one seen:", "space held:", "space inline", "suffix #aside"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// compareKeys lists what page and code do not agree on.
func compareKeys(page, code []stored) (offences []string) {
	say := func(format string, args ...any) {
		offences = append(offences, keysPage+": "+fmt.Sprintf(format, args...))
	}
	find := func(list []stored, s stored) int {
		return slices.IndexFunc(list, func(o stored) bool { return o.sort == s.sort && o.name == s.name })
	}
	for _, s := range code {
		i := find(page, s)
		switch {
		case i < 0:
			say("the %s %q of %s is missing", s.sort, s.name, s.files[0])
		case len(page[i].files) > 0 && !slices.Contains(s.files, page[i].files[0]):
			say("the %s %q is in %s, not in %s", s.sort, s.name, strings.Join(s.files, ", "), page[i].files[0])
		}
	}
	for i, s := range page {
		if find(code, s) < 0 {
			say("the code has no %s %q", s.sort, s.name)
		}
		for _, o := range page[:i] {
			pair := s.sort == "octet" && s.name != o.name && slices.Contains(samePairs, strings.ToLower(s.name))
			if o.sort == s.sort && strings.EqualFold(o.name, s.name) && !pair {
				say("the %s %q differs from %q at most by case", s.sort, s.name, o.name)
			}
		}
	}
	return offences
}

// keysOnPage reads the tables of the page by their first column's heading.
func keysOnPage(text string) (out []stored) {
	var columns []string
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			columns = nil
			continue
		case columns == nil:
			columns = cells
			continue
		case strings.HasPrefix(line, "|---"):
			continue
		}
		s := stored{sort: columns[0], name: cells[0]}
		if columns[0] == "bundle" {
			s.sort, s.name = cells[0], cells[1]
		}
		if i := slices.Index(columns, "file"); i >= 0 {
			s.files = []string{cells[i]}
		} else if s.sort != "octet" {
			continue // a table that only explains
		}
		if _, name, ok := strings.Cut(s.name, "`"); ok {
			s.name, _, _ = strings.Cut(name, "`")
		}
		out = append(out, s)
	}
	return out
}

// keysInCode finds the names in the product's Go files and in the bundles.
func keysInCode(root string) ([]stored, error) {
	var out []stored
	found := func(sort, name, file string) {
		i := slices.IndexFunc(out, func(s stored) bool { return s.sort == sort && s.name == name })
		if i < 0 {
			out = append(out, stored{sort, name, []string{file}})
		} else if !slices.Contains(out[i].files, file) {
			out[i].files = append(out[i].files, file)
		}
	}
	for _, top := range []string{"core", "hooks", "plugins"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			switch {
			case d.IsDir() && (d.Name() == "testdata" || d.Name() == "tests" || rel == "core/internal" || rel == "core/ops/policytest" ||
				rel == "core/store/storetest" || rel == "hooks/hookstest"):
				return filepath.SkipDir
			case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
				return keysInGo(path, rel, found)
			case top == "plugins" && strings.HasSuffix(path, ".lua"):
				return keysInLua(path, rel, found)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	// A literal that repeats the name of a space is no suffix.
	all := slices.Clone(out)
	return slices.DeleteFunc(out, func(s stored) bool {
		return s.sort == "suffix" && slices.ContainsFunc(all, func(o stored) bool { return o.sort == "space" && o.name == s.name })
	}), nil
}

var (
	spaceConst   = regexp.MustCompile(`^space$|Space$`)
	kindConst    = regexp.MustCompile(`^kind($|[A-Z])`)
	octetConst   = regexp.MustCompile(`^key[A-Z]`)
	octetLiteral = regexp.MustCompile(`^"([A-Za-z])/"$`)
	suffix       = regexp.MustCompile(`^#[a-z-]+$`)
	// luaPrefix is a text like "seen:" that something is appended to.
	luaPrefix = regexp.MustCompile(`"([a-z][a-z-]*:)"\s*\.\.`)
)

// keysInGo finds constants that are named as spaces, kinds of records or octets
// of keys, and literals in their place.
func keysInGo(path, rel string, found func(sort, name, file string)) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return err
	}
	f := goKeys{rel: rel, found: found, backend: filepath.ToSlash(filepath.Dir(rel)) == "core/store/badgerstore"}
	for _, i := range file.Imports {
		f.usesStore = f.usesStore || i.Path.Value == `"carteiro/core/store"`
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			return !f.constants(n)
		case *ast.KeyValueExpr:
			f.field(n)
		case *ast.BasicLit:
			f.literal(n)
		}
		return true
	})
	return nil
}

type goKeys struct {
	rel       string
	found     func(sort, name, file string)
	backend   bool // the file belongs to badgerstore
	usesStore bool // it imports core/store
}

// constants takes those of a declaration and reports whether it was about names
// that are stored.
func (f *goKeys) constants(v *ast.ValueSpec) (taken bool) {
	for i, name := range v.Names {
		if i >= len(v.Values) {
			return taken
		}
		lit, ok := v.Values[i].(*ast.BasicLit)
		if !ok {
			continue
		}
		value, _ := strconv.Unquote(lit.Value) // "" for a number, which is neither of these
		switch {
		case f.backend && lit.Kind == token.CHAR:
			if octetConst.MatchString(name.Name) {
				f.found("octet", value, f.rel)
			}
			taken = true // edgeSpool and edgeItem are octets within a key
		case lit.Kind == token.STRING && !f.backend && spaceConst.MatchString(name.Name):
			f.found("space", value, f.rel)
			taken = true
		case lit.Kind == token.STRING && f.usesStore && !f.backend && kindConst.MatchString(name.Name):
			f.found("kind", value, f.rel)
			taken = true
		}
	}
	return taken
}

// field takes a text that is given as a space or kind without a constant.
func (f *goKeys) field(kv *ast.KeyValueExpr) {
	name, ok := kv.Key.(*ast.Ident)
	lit, text := kv.Value.(*ast.BasicLit)
	if !ok || !text || lit.Kind != token.STRING || !f.usesStore {
		return
	}
	value, err := strconv.Unquote(lit.Value)
	switch {
	case err != nil || suffix.MatchString(value): // literal sees those
	case name.Name == "Space":
		f.found("space", value, f.rel)
	case name.Name == "Kind" && !f.backend:
		f.found("kind", value, f.rel)
	}
}

func (f *goKeys) literal(lit *ast.BasicLit) {
	value, err := strconv.Unquote(lit.Value)
	if err != nil {
		return
	}
	m := octetLiteral.FindStringSubmatch(lit.Value)
	switch {
	case f.backend && m != nil:
		f.found("octet", m[1], f.rel)
	case f.backend && lit.Kind == token.CHAR && (value >= "a" && value <= "z" || value >= "A" && value <= "Z"):
		f.found("octet", value, f.rel)
	case lit.Kind == token.STRING && suffix.MatchString(value):
		f.found("suffix", value, f.rel)
	}
}

// keysInLua finds the prefixes of a bundle's keys.
func keysInLua(path, rel string, found func(sort, name, file string)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	bundle := strings.Split(rel, "/")[1]
	for _, m := range luaPrefix.FindAllStringSubmatch(string(text), -1) {
		found(bundle, m[1], rel)
	}
	return nil
}
