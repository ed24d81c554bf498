package lua

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// testLibrary is what `require "carteiro.test"` gives a test file.
//
//go:embed carteiro_test_library.lua
var testLibrary string

const (
	testLibraryPath = "carteiro/test.lua"
	worldName       = "_world"
	caseName        = "_case"
	failName        = "_fail"
)

// Budget of one test case, the work of the policies under test included.
const (
	testInstructions = 500_000_000
	testWall         = 2 * time.Minute
	testAlloc        = 1 << 30
)

// World is what test files act upon: a server with policies in force.
type World interface {
	// Do performs one operation of the test library. Arguments and results are
	// plain data: nil, bool, float64, string, []any, map[string]any. The error
	// fails the case at the line that asked.
	Do(ctx context.Context, what string, args []any) (any, error)
}

// TestCase is one t.case of a test file.
type TestCase struct {
	Name string
	Line int
	Tags []string // "smoke" and others
}

// TestFile is a file of tests. It sees the files of its source, for require
// and t.file, and runs apart from the policies, which it reaches only through
// a World.
type TestFile struct {
	unit *loadedSource
	main string
	uses *Engine
}

// tester is what a state that runs tests has beside the rest.
type tester struct {
	ctx   context.Context
	world World
	files map[string][]byte
	cases []TestCase
	fns   []*glua.LFunction
}

// TestFile compiles one test file. Errors are *source.Error, joined. name is
// its path among files, "tests/basic.lua".
func (e *Engine) TestFile(name string, files map[string][]byte) (*TestFile, error) {
	// Of Lua files only this one and what it may require: the policies beside
	// it are not run here, and need not be right for it to load.
	own := map[string][]byte{testLibraryPath: []byte(testLibrary)}
	for p, text := range files {
		if p == name || !strings.HasSuffix(p, ".lua") || strings.HasPrefix(p, "tests/") {
			own[p] = text
		}
	}
	var old programs
	if p := e.tests.Load(); p != nil {
		old = *p
	}
	used := programs{}
	u, err := compileUnit(&loadedSource{src: hooks.Source{Name: "tests", Files: own, Main: []string{name}}, test: true}, old, used)
	if err != nil {
		return nil, err
	}
	e.tests.Store(&used)
	return &TestFile{unit: u, main: name, uses: e}, nil
}

// Cases lists the cases, in order. It runs the file once, against w.
func (f *TestFile) Cases(ctx context.Context, w World) ([]TestCase, error) {
	st, err := f.start(ctx, w)
	if err != nil {
		return nil, err
	}
	defer st.L.Close()
	return st.tester.cases, nil
}

// Run runs case n against w, in a state of its own: the file first, and then
// the case. A failed assertion and every other error of the test is returned
// as *source.Error.
func (f *TestFile) Run(ctx context.Context, n int, w World) (err error) {
	c := f.unit.files[f.main]
	defer func() {
		if p := recover(); p != nil {
			err = c.EngineFault(0, "tested", p)
		}
	}()
	st, err := f.start(ctx, w)
	if err != nil {
		return err
	}
	defer st.L.Close()
	if n >= len(st.tester.fns) {
		return fmt.Errorf("%s has no case %d", f.main, n)
	}
	st.budget.reset(ctx, testWall, testInstructions, &hooks.Limits{Alloc: testAlloc, Granted: true})
	st.L.Push(st.tester.fns[n])
	runTrip("tested", f.main)
	if err := st.protect(0, 0); err != nil {
		return st.sourceFault(c, err)
	}
	return st.budget.err
}

func (f *TestFile) start(ctx context.Context, w World) (*state, error) {
	s := &generation{engine: f.uses, id: "test", sources: []*loadedSource{f.unit}, maps: map[tableKey]*table{}}
	st := newState(s)
	st.tester = &tester{ctx: ctx, world: w, files: f.unit.src.Files}
	if _, err := load(ctx, st); err != nil {
		st.L.Close()
		return nil, err
	}
	st.source = f.unit
	return st, nil
}

var testFunctions = []function{
	{name: worldName, call: testDo},
	{name: caseName, call: testRegister},
	{name: failName, call: testFail},
}

// testDo passes an operation on to the world.
func testDo(L *glua.LState) int {
	st := stateOf(L)
	what := text(L, 1)
	if what == "file" {
		return testFile(L)
	}
	var args []any
	for i := 2; i <= L.GetTop(); i++ {
		v, err := toPlain(L.Get(i))
		raiseIf(L, err)
		args = append(args, v)
	}
	answer, err := st.tester.world.Do(st.tester.ctx, what, args)
	st.budget.checkLimits()
	if err != nil {
		L.Push(glua.LNil)
		L.Push(st.budget.newString(L, err.Error()))
		return 2
	}
	L.Push(st.toLua(L, answer))
	return 1
}

// testFile gives the text of a file beside the test.
func testFile(L *glua.LState) int {
	st := stateOf(L)
	name := text(L, 2)
	for _, p := range []string{"tests/" + name, name} {
		if b, ok := st.tester.files[p]; ok {
			L.Push(st.budget.newString(L, string(b)))
			return 1
		}
	}
	L.Push(glua.LNil)
	L.Push(st.budget.newString(L, "there is no file "+name+" beside the test"))
	return 2
}

// refuseWhileLoading raises while a file loads, for what differs from call to call. A
// handler and a case of a test may ask.
func refuseWhileLoading(L *glua.LState, what string) {
	st := stateOf(L)
	if st.tester == nil || st.loading != nil {
		st.currentCall(L, what)
	}
}

// testRegister notes a case: its name, its tags and what it does.
func testRegister(L *glua.LState) int {
	st := stateOf(L)
	if st.loading == nil {
		file, line := testLine(L)
		L.Error(glua.LString(fmt.Sprintf("%s:%d: t.case belongs at the top of the file, not inside a case", file, line)), 0)
	}
	tags := strings.Fields(text(L, 2))
	fn, ok := L.Get(3).(*glua.LFunction)
	if !ok {
		L.RaiseError("t.case: expected t.case(name, [options,] function)")
	}
	_, line := testLine(L)
	st.tester.cases = append(st.tester.cases, TestCase{Name: text(L, 1), Tags: tags, Line: line})
	st.tester.fns = append(st.tester.fns, fn)
	return 0
}

// testFail raises an error at the line of the test that asked.
func testFail(L *glua.LState) int {
	file, line := testLine(L)
	L.Error(glua.LString(fmt.Sprintf("%s:%d: %s", file, line, text(L, 1))), 0)
	return 0
}

// testLine returns the place of the nearest caller outside of the library.
func testLine(L *glua.LState) (file string, line int) {
	for level := 1; level < 20; level++ {
		dbg, ok := L.GetStack(level)
		if !ok {
			break
		}
		if _, err := L.GetInfo("Sl", dbg, glua.LNil); err == nil && dbg.CurrentLine > 0 && dbg.Source != testLibraryPath {
			return dbg.Source, dbg.CurrentLine
		}
	}
	return "", 0
}

// Coverage counts which lines of which files ran. It is for tests: it costs
// far more than the code it counts.
type Coverage struct {
	mu    sync.Mutex
	lines map[string]map[int]int // by file as people see it; 0 runs: not yet
}

// NewCoverage counts nothing yet.
func NewCoverage() *Coverage { return &Coverage{lines: map[string]map[int]int{}} }

// Files returns the names of the files, and for each line with code how often it
// ran. The result is the caller's.
func (c *Coverage) Files() map[string]map[int]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]map[int]int{}
	for name, lines := range c.lines {
		out[name] = maps.Clone(lines)
	}
	return out
}

// add makes the lines of a source known.
func (c *Coverage) add(u *loadedSource) {
	var walk func(p *glua.FunctionProto, lines map[int]int)
	walk = func(p *glua.FunctionProto, lines map[int]int) {
		// The last instruction is the return that every function ends with,
		// at its "end", reached or not.
		for _, line := range p.DbgSourcePositions[:len(p.DbgSourcePositions)-1] {
			if line > 0 {
				lines[line] += 0
			}
		}
		for _, inner := range p.FunctionPrototypes {
			walk(inner, lines)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range u.files {
		if c.lines[f.Name] == nil {
			c.lines[f.Name] = map[int]int{}
		}
		walk(f.Proto, c.lines[f.Name])
	}
}

// ran counts the line that is about to run.
func (c *Coverage) ran(L *glua.LState) {
	dbg, ok := L.GetStack(0)
	if !ok {
		return
	}
	if _, err := L.GetInfo("Sl", dbg, glua.LNil); err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if lines := c.lines[dbg.Source]; lines != nil {
		lines[dbg.CurrentLine]++
	}
}
