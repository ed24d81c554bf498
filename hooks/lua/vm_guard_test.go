package lua

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carteiro/hooks/lua/source"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// tripAt has the engine panic at a step with files whose name holds "faulty".
func tripAt(t *testing.T, at string) {
	trip = func(step, file string, _ *glua.FunctionProto) {
		if step == at && strings.Contains(file, "faulty") {
			panic("as the test wants")
		}
	}
	t.Cleanup(func() { trip = nil })
}

// spoil has the interpreter itself panic in functions of faulty files, also
// where it looks for the place of the error.
func spoil(t *testing.T) {
	trip = func(step, file string, p *glua.FunctionProto) {
		if step != "after" || !strings.Contains(file, "faulty") {
			return
		}
		for _, inner := range p.FunctionPrototypes {
			inner.Code = []uint32{inner.Code[0], 0xfc000000} // no such instruction
			inner.DbgSourcePositions = inner.DbgSourcePositions[:1]
		}
	}
	t.Cleanup(func() { trip = nil })
}

func loadFile(e *Engine, name, text string) (*hooks.Generation, error) {
	return e.Load(context.Background(), []hooks.Source{{Name: "scripts", Tier: hooks.Admin,
		Main: []string{name}, Files: map[string][]byte{name: []byte(text)}}})
}

// TestPanicsWhileLoading: whatever step of loading panics, Load tells the file
// and a line, and the engine goes on.
func TestPanicsWhileLoading(t *testing.T) {
	const text = "local x = 1\non(\"receive.helo\", function() return reject(\"new \" .. x) end)\n"
	for _, step := range []string{"scanned", "parsed", "rewritten", "compiled", "searched for globals", "run", "searched"} {
		t.Run(step, func(t *testing.T) {
			e := New(Options{})
			old, err := loadFile(e, "good.lua", strings.ReplaceAll(text, "new", "old"))
			if err != nil {
				t.Fatal(err)
			}
			tripAt(t, step)
			_, err = loadFile(e, "faulty.lua", text)
			fault, ok := errors.AsType[*source.Error](err)
			if !ok || fault.File != "faulty.lua" || fault.Line < 1 || !strings.Contains(fault.Text, "fault in the engine") {
				t.Errorf("got %v", err)
			}
			event := &hooks.Event{Point: hooks.ReceiveHelo, Session: &envelope.Session{}, Name: "x"}
			if v, _ := old.Chain.Run(context.Background(), event); v.Status.Text != "old 1" {
				t.Errorf("the old policies: %v", v)
			}
		})
	}
}

// TestPanicsOfTheInterpreter: where a script has the interpreter panic, the
// error names the file and the line at every place at which Lua is entered.
func TestPanicsOfTheInterpreter(t *testing.T) {
	for name, text := range map[string]string{
		"while it loads":   "local x = 1\nlocal function f() return x + 1 end\nf()\n",
		"behind pcall":     "local x = 1\nlocal function f() return x + 1 end\nlocal ok = pcall(f)\n",
		"behind xpcall":    "local x = 1\nlocal function f() return x + 1 end\nxpcall(f, function(e) return e end)\n",
		"behind a library": "local x = 1\nlocal function f(a, b) return a < b end\ntable.sort({ 3, 2, 1 }, f)\n",
	} {
		t.Run(name, func(t *testing.T) {
			spoil(t)
			_, err := loadFile(New(Options{}), "faulty.lua", text)
			fault, ok := errors.AsType[*source.Error](err)
			if !ok || fault.File != "faulty.lua" || fault.Line < 1 || !strings.Contains(fault.Text, "fault in the engine") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestPanicsOfFilesThatAreRequired names the file that was required.
func TestPanicsOfFilesThatAreRequired(t *testing.T) {
	spoil(t)
	_, err := New(Options{}).Load(context.Background(),
		[]hooks.Source{{Name: "scripts", Tier: hooks.Admin, Main: []string{"a.lua"}, Files: map[string][]byte{
			"a.lua": []byte("local x = require \"faulty\""), "faulty.lua": []byte("local x = 1\nlocal function f() return x + 1 end\nreturn f()")}}})
	fault, ok := errors.AsType[*source.Error](err)
	if !ok || fault.File != "faulty.lua" || fault.Line < 1 || !strings.Contains(fault.Text, "fault in the engine") {
		t.Errorf("got %v", err)
	}
}

// TestPanicsOfHandlers: a call fails with file and line, and so does one for
// which a new interpreter panics.
func TestPanicsOfHandlers(t *testing.T) {
	const text = "on(\"receive.helo\", function()\n  local x = 1\n  return reject(\"x\" .. x)\nend)\n"
	event := func() *hooks.Event {
		return &hooks.Event{Point: hooks.ReceiveHelo, Session: &envelope.Session{}, Name: "x"}
	}
	spec, _ := hooks.SpecOf(hooks.ReceiveHelo)
	spoil(t)
	g, err := loadFile(New(Options{}), "faulty.lua", text)
	if err != nil {
		t.Fatal(err)
	}
	h := g.Chain.Handlers(hooks.ReceiveHelo)[0]
	if _, _, err := h.Call(context.Background(), spec, event()); err == nil || !errors.Is(err, hooks.ErrHook) ||
		!strings.Contains(err.Error(), "faulty.lua:") || !strings.Contains(err.Error(), "fault in the engine") {
		t.Errorf("got %v", err)
	}
	trip = nil
	g, err = loadFile(New(Options{}), "faulty.lua", text)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"called", "run"} {
		tripAt(t, step)
		h := g.Chain.Handlers(hooks.ReceiveHelo)[0].(*handler)
		for st := h.generation.fast.takeIdle(); st != nil; st = h.generation.fast.takeIdle() { // so that a new one is needed
			st.L.Close()
		}
		if _, _, err := h.Call(context.Background(), spec, event()); err == nil || !errors.Is(err, hooks.ErrHook) ||
			!strings.Contains(err.Error(), "faulty.lua") {
			t.Errorf("%s: got %v", step, err)
		}
	}
	trip = nil
	if v, trail := g.Chain.Run(context.Background(), event()); v.Status.Text != "x1" {
		t.Errorf("afterwards: %v %v", v, trail)
	}
}

// TestPanicsOfTests: test files are entered through three functions.
func TestPanicsOfTests(t *testing.T) {
	const text = "local t = require \"carteiro.test\"\nt.case(\"one\", function()\n  local x = 1\n  x = x + 1\nend)\n"
	files := map[string][]byte{"tests/faulty.lua": []byte(text)}
	e := New(Options{})
	check := func(door string, err error) {
		t.Helper()
		fault, ok := errors.AsType[*source.Error](err)
		if !ok || !strings.HasSuffix(fault.File, "faulty.lua") || fault.Line < 1 {
			t.Errorf("%s: got %v", door, err)
		}
	}
	tripAt(t, "compiled")
	_, err := e.TestFile("tests/faulty.lua", files)
	check("TestFile", err)
	trip = nil
	f, err := e.TestFile("tests/faulty.lua", files)
	if err != nil {
		t.Fatal(err)
	}
	tripAt(t, "run")
	_, err = f.Cases(context.Background(), nil)
	check("Cases", err)
	check("Run, while the file loads", f.Run(context.Background(), 0, nil))
	tripAt(t, "tested")
	check("Run", f.Run(context.Background(), 0, nil))
	spoil(t)
	e = New(Options{}) // the other one keeps what it compiled
	if f, err = e.TestFile("tests/faulty.lua", files); err != nil {
		t.Fatal(err)
	}
	check("a case", f.Run(context.Background(), 0, nil))
}

// TestNothingEntersLuaByAnotherDoor: PCall is called where its panics are
// taken, and the compiler too.
func TestNothingEntersLuaByAnotherDoor(t *testing.T) {
	homes := map[string]string{".PCall(": "vm_pcall.go vm_guard.go", "glua.Compile(": "source/compile.go", "parse.Parse(": "source/scan.go"}
	var files []string
	for _, pattern := range []string{"*.go", "*/*.go"} {
		list, err := filepath.Glob(pattern)
		if err != nil || len(list) == 0 {
			t.Fatal(pattern, list, err)
		}
		files = append(files, list...)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for call, home := range homes {
			if strings.Contains(string(text), call) && !slices.Contains(strings.Fields(home), name) {
				t.Errorf("%s calls %s...): that belongs in %s", name, call, home)
			}
		}
	}
}
