package lua

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Programs in testdata: a program, what it gives, the next program.
const (
	outputMark  = "\n-- gives --\n"
	programMark = "\n-- next --\n"
)

// TestCompiled runs the programs of testdata; what they give is what Lua 5.1
// gives.
func TestCompiled(t *testing.T) {
	files, err := filepath.Glob("testdata/compiled/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range strings.Split(strings.TrimSuffix(string(text), programMark), programMark) {
			program, want, found := strings.Cut(one, outputMark)
			if !found {
				t.Fatalf("%s: no %q", name, outputMark)
			}
			got, err := runHere(together([]string{program}))
			if err != nil {
				got = "failed: " + err.Error()
			}
			if got != want {
				t.Errorf("%s:\n%s\ngot\n%s\nwant\n%s", name, program, got, want)
			}
		}
	}
}

// programSeed is that of the environment, or a new one.
func programSeed(t *testing.T) uint64 {
	if text := os.Getenv("CARTEIRO_LUA_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("CARTEIRO_LUA_SEED: %v", err)
		}
		return n
	}
	return uint64(time.Now().UnixNano())
}

// howMany programs are run: 2,000, unless the environment says; .ci/lua runs
// 20,000.
func howMany(t *testing.T) int {
	text := os.Getenv("CARTEIRO_LUA_PROGRAMS")
	if text == "" {
		return 2_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CARTEIRO_LUA_PROGRAMS: %v", err)
	}
	return n
}

// TestProgramsAgainstLua51 runs random programs here and in the reference
// implementation. A difference is made as small as can be and written to
// testdata, where TestCompiled holds it from then on. CARTEIRO_LUA_SEED
// repeats a run, CARTEIRO_LUA_PROGRAMS makes it longer or shorter; with
// CARTEIRO_LUA_KEEP=no the first difference is only told.
func TestProgramsAgainstLua51(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs some thousand programs twice")
	}
	path, first, total := lua51(t), programSeed(t), howMany(t)
	t.Logf("CARTEIRO_LUA_SEED=%d, %d programs", first, total)
	const batch = 100
	for from := 0; from < total; from += batch {
		var nodes []*node
		var texts []string
		for i := from; i < min(from+batch, total); i++ {
			n := randomProgram(rand.New(rand.NewPCG(first, uint64(i))))
			nodes = append(nodes, n)
			texts = append(texts, n.String())
		}
		differs, err := both(path, texts)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.Index(differs, true); i >= 0 {
			if os.Getenv("CARTEIRO_LUA_KEEP") == "no" {
				t.Fatalf("program %d of %d differs", from+i+1, total)
			}
			t.Fatalf("seed %d, program %d of %d:\n%s", first, from+i+1, total, smallest(t, path, nodes[i], first))
		}
	}
}

// smallest shrinks a program that differs, writes it down and describes it.
func smallest(t *testing.T, path string, n *node, seed uint64) string {
	n = shrink(n, func(some []*node) int {
		var texts []string
		for _, n := range some {
			texts = append(texts, n.String())
		}
		differs, err := both(path, texts)
		if err != nil { // one of them is no program
			differs = make([]bool, len(texts))
			for i := range texts {
				one, err := both(path, texts[i:i+1])
				differs[i] = err == nil && one[0]
			}
		}
		for i := range texts {
			if differs[i] {
				if _, err := runHere(together(texts[i : i+1])); err == nil || !strings.Contains(err.Error(), "unknown name") {
					return i
				} // else a variable was taken away
			}
		}
		return -1
	})
	chunk := together([]string{n.String()})
	they, err := runThere(path, chunk)
	if err != nil {
		t.Fatal(err)
	}
	we, err := runHere(chunk)
	if err != nil {
		we = "failed: " + err.Error()
	}
	name := fmt.Sprintf("testdata/compiled/found-%d.txt", seed)
	if err := os.WriteFile(name, []byte(n.String()+outputMark+they+programMark), 0o644); err != nil {
		t.Error(err)
	}
	return fmt.Sprintf("%s\ngot\n%s\nwant\n%s\n(in %s)", n, we, they, name)
}

// TestLongConstructors: a list in the text is complete however long it is, and
// so is one with other fields in between, and with a call at its end.
func TestLongConstructors(t *testing.T) {
	for _, n := range []int{49, 50, 51, 100, 1999, 2000, 2001, 4000, 26_000} {
		var items, keyed []string
		for i := 1; i <= n; i++ {
			items = append(items, strconv.Itoa(i))
			keyed = append(keyed, strconv.Itoa(i))
			if i%50 == 0 {
				keyed = append(keyed, fmt.Sprintf("k%d = pass(%d)", i, i))
			}
		}
		sum := fmt.Sprint(n * (n + 1) / 2)
		for form, want := range map[string]string{
			"{ " + strings.Join(items, ",") + " }":                 fmt.Sprintf("%d,%s", n, sum),
			"{ " + strings.Join(items, ",") + ", pass(0, 0) }":     fmt.Sprintf("%d,%s", n+2, sum),
			"{ " + strings.Join(items, ",") + ", ((pass(0, 0))) }": fmt.Sprintf("%d,%s", n+1, sum),
			"{ " + strings.Join(items, ",") + ", ... }":            fmt.Sprintf("%d,%d", n+3, n*(n+1)/2+1),
			"{ " + strings.Join(keyed, ",") + ", pass(0, 0) }":     fmt.Sprintf("%d,%s", n+2, sum),
			"{ pass(1)," + strings.Join(items, ",") + ", x = 2 }":  fmt.Sprintf("%d,%d", n+1, n*(n+1)/2+1),
		} {
			if n > 10_000 && strings.Contains(form, "=") {
				continue // seconds
			}
			program := "local l = " + form + " local n = 0 for i, v in ipairs(l) do n = n + v end out(#l, n)"
			if got, err := runHere(together([]string{program})); err != nil || got != want {
				t.Errorf("%d, %.20s...%s: got %s %v, want %s", n, form, form[len(form)-20:], got, err, want)
			}
		}
	}
}

// TestTooLargeFunctions: what the code of a function cannot tell is refused.
func TestTooLargeFunctions(t *testing.T) {
	var locals, uses strings.Builder
	for i := range 2 {
		for k := range 150 {
			fmt.Fprintf(&locals, "local v%d_%d = %d\n", i, k, k)
			fmt.Fprintf(&uses, "n = v%d_%d\n", i, k)
		}
		if i == 0 {
			locals.WriteString("local function outer()\n")
		}
	}
	_, err := loadFile(New(Options{}), "a.lua", locals.String()+"return function() local n\n"+uses.String()+"end end")
	if err == nil || !strings.Contains(err.Error(), "more than 255 variables") || !strings.Contains(err.Error(), "a.lua:") {
		t.Errorf("300 outer variables: %v", err)
	}
	_, err = loadFile(New(Options{}), "a.lua", "local a, b = 1\nfor i = 1, 2 do\n"+strings.Repeat("a=b ", 50_000)+"\nend")
	if err != nil {
		t.Errorf("50,000 assignments: %v", err)
	}
	_, err = loadFile(New(Options{}), "a.lua", "local a\nfor i = 1, 2 do\n"+strings.Repeat("a=#a ", 50_000)+"\nend")
	if err == nil || !strings.Contains(err.Error(), "too long") || !strings.Contains(err.Error(), "a.lua") {
		t.Errorf("150,000 instructions: %v", err)
	}
}
