package lua

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"carteiro/hooks/lua/source"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// Budget of the code that runs while the files of one source load.
const (
	loadInstructions = 2_000_000
	loadWall         = 5 * time.Second
)

// hookFunctions register handlers and find files.
var hookFunctions = []function{
	{
		name: "on",
		call: hookOn,
		sig:  "on(hook, [options,] handler)",
		doc: "registers a handler; options: order, tier = \"after\", on_error, listener, login = true; receive.data: async; timer.tick: " +
			"every, each = \"domain\"; web.request: path; admin.command: command",
	},
	{
		name: "tarpit",
		call: hookTarpit,
		sig:  "tarpit(seconds)",
		doc:  "at receive.*: delays the reply to this client, by 30 s at most",
	},
	{
		name:   "for_domain",
		call:   forDomain,
		sig:    "for_domain(domain, fn)",
		doc:    `calls fn with the settings, kv, rate and meta of that domain, and returns its results; "" means the server as a whole`,
		bounds: bounds{"domain": whereRead},
	},
	{name: "require", call: hookRequire, sig: "require(name)", doc: "runs a file of the same bundle or script folder once and returns " +
		"its value"},
}

// loader is what loading a state needs and forgets.
type loader struct {
	st       *state
	owner    *loadedSource // whose files are run
	source   *loadedSource // whose file runs: the owner's, or one that it requires
	env      *glua.LTable
	envs     map[*loadedSource]*glua.LTable // of bundles that the owner requires
	file     []string                       // running files, innermost last
	required map[string]glua.LValue         // by path; nil while it runs
	handlers []*handler
	lenient  bool // see hooks.Lenient
	memos    int
	errs     []error
	// newEnvironment makes the globals of a source. It is a field because the functions
	// among those globals use the loader, and Go allows no such circle of names.
	newEnvironment func(*state, *loadedSource) *glua.LTable
}

// loadFirst loads the scratch state; its handlers become the set's.
func (s *generation) loadFirst(ctx context.Context) (*state, error) {
	st := newState(s)
	handlers, err := load(ctx, st)
	if err != nil {
		return nil, err
	}
	infos := make([]*hooks.Info, len(handlers))
	for i, h := range handlers {
		infos[i] = &h.info
	}
	hooks.Number(infos)
	for i, h := range handlers {
		h.generation, h.number = s, i
		if err := h.findBlocking(st); err != nil {
			return nil, err
		}
	}
	s.handlers = handlers
	return st, nil
}

// loadAnother loads one more state and checks that it came out the same.
func (s *generation) loadAnother(ctx context.Context) (*state, error) {
	st := newState(s)
	handlers, err := load(ctx, st)
	if err != nil {
		return nil, err
	}
	same := len(handlers) == len(s.handlers)
	for i := 0; same && i < len(handlers); i++ {
		a, b := handlers[i].info, s.handlers[i].info
		same = a.Point == b.Point && a.File == b.File && a.Line == b.Line && a.Order == b.Order && a.Tier == b.Tier
	}
	if !same {
		return nil, errors.New("it registers other handlers than the first time")
	}
	return st, nil
}

// load runs the main files of all sources in a state.
func load(ctx context.Context, st *state) ([]*handler, error) {
	ld := &loader{st: st, newEnvironment: newEnvironment, lenient: hooks.IsLenient(ctx)}
	st.loading = ld
	for _, u := range st.generation.sources {
		runtime.Gosched() // see source.File.Compile
		st.source = u
		ld.owner, ld.source, ld.env = u, u, newEnvironment(st, u)
		ld.required, ld.envs = map[string]glua.LValue{}, map[*loadedSource]*glua.LTable{}
		limits := u.src.Limits
		limits.Wall, limits.Instructions = 0, 0
		st.budget.reset(ctx, loadWall, loadInstructions, &limits)
		for _, name := range u.src.Main {
			if err := ld.runFile(u.files[name]); err != nil {
				ld.errs = append(ld.errs, err)
			}
		}
	}
	st.loading, st.source = nil, nil
	return ld.handlers, errors.Join(ld.errs...)
}

// newEnvironment returns the table of a source's globals: of ours, only what its
// code names.
func newEnvironment(st *state, u *loadedSource) *glua.LTable {
	env := st.L.CreateTable(0, len(u.uses)+2)
	put := func(list []function) {
		for _, f := range list {
			if u.uses[f.name] {
				env.RawSetString(f.name, st.L.NewFunction(f.withChecks("")))
			}
		}
	}
	put(verdictFunctions)
	put(baseFunctions)
	put(hookFunctions)
	if u.test {
		put(testFunctions)
	}
	for name, m := range st.modules {
		if u.uses[name] {
			env.RawSetString(name, m)
		}
	}
	if u.uses["config"] {
		env.RawSetString("config", &glua.LUserData{Value: &object{class: &configClass, v: u}, Metatable: st.metatable, Env: st.L.Env})
	}
	if u.uses["_VERSION"] {
		env.RawSetString("_VERSION", glua.LString("Lua 5.1"))
	}
	env.RawSetString(source.ConcatName, st.L.NewFunction(concat))
	env.RawSetString(source.TableName, st.L.NewFunction(newTable))
	env.RawSetString(source.JoinName, st.L.NewFunction(joinTables))
	env.RawSetString(source.LengthName, st.L.NewFunction(baseLength))
	return env
}

// runFile runs one main file. Errors become *source.Error.
func (ld *loader) runFile(c *compiled) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.EngineFault(0, "run", p)
		}
	}()
	st, key := ld.st, ld.source.requireKey(c)
	if _, done := ld.required[key]; done {
		return nil
	}
	ld.required[key] = nil
	ld.file = append(ld.file, c.Path)
	defer func() { ld.file = ld.file[:len(ld.file)-1] }()
	fn := st.L.NewFunctionFromProto(c.Proto)
	fn.Env = ld.env
	st.L.Push(fn)
	runTrip("run", c.Name)
	if err := st.protect(0, 1); err != nil {
		return st.sourceFault(c, err)
	}
	ld.required[key] = st.L.Get(-1)
	st.L.SetTop(0)
	return nil
}

// requireKey returns a file's name among what a loader ran.
func (u *loadedSource) requireKey(c *compiled) string { return u.src.Bundle + ":" + c.Path }

// sourceFault turns an error of the interpreter into one with its place.
func (st *state) sourceFault(c *compiled, err error) error {
	text := errorText(st, err)
	if name, line, rest := source.CutPlace(text); name != "" {
		if f := st.generation.fileNamed(name); f != nil {
			return f.Fault(line, 0, "", rest, "")
		}
	}
	return c.Fault(0, 0, "", text, "")
}

// fileNamed returns the file that people see under a name, or nil.
func (s *generation) fileNamed(name string) *source.File {
	for _, u := range s.sources {
		for _, c := range u.files {
			if c.Name == name {
				return &c.File
			}
		}
	}
	return nil
}

// explain rewrites an error's text that begins with a place.
func (s *generation) explain(text string) string { return source.Explain(text, s.fileNamed) }

// hookRequire runs a file of the same source once per state.
func hookRequire(L *glua.LState) int {
	st := stateOf(L)
	ld := st.loading
	if ld == nil {
		L.RaiseError("require belongs at the top of the file, not inside a handler")
	}
	name := text(L, 1)
	c, found, err := st.generation.dependency(ld.source, name)
	raiseIf(L, err)
	if found {
		L.Push(ld.runDependency(L, c))
		return 1
	}
	c, err = ld.source.resolveRequire(ld.file[len(ld.file)-1], name)
	raiseIf(L, err)
	key := ld.source.requireKey(c)
	v, seen := ld.required[key]
	if seen && v == nil {
		L.RaiseError("require: %s is still loading; files must not require each other", c.Path)
	}
	if !seen {
		ld.required[key] = nil
		ld.file = append(ld.file, c.Path)
		fn := L.NewFunctionFromProto(c.Proto)
		fn.Env = ld.env
		L.Push(fn)
		L.Call(0, 1)
		v = L.Get(-1)
		if v == glua.LNil {
			v = glua.LTrue
		}
		ld.required[key] = v
		ld.file = ld.file[:len(ld.file)-1]
	}
	L.Push(v)
	return 1
}

// hookOn registers a handler. Its faults are collected, so that one load
// tells them all.
func hookOn(L *glua.LState) int {
	st := stateOf(L)
	ld := st.loading
	if ld == nil {
		L.RaiseError("on belongs at the top of the file, not inside a handler")
	}
	c, line := ld.callerPlace(L)
	complain := func(near, text, hint string) int {
		ld.errs = append(ld.errs, c.Fault(line, 0, near, text, hint))
		return 0
	}
	name, ok := L.Get(1).(glua.LString)
	if !ok {
		return complain("on", "on: the name of a hook expected, got "+typeOf(L.Get(1)), "")
	}
	spec, ok := hooks.SpecNamed(string(name))
	if !ok {
		ld.errs = append(ld.errs, unknownHook(&c.File, line, string(name)))
		return 0
	}
	src := ld.source.src
	if ld.source != ld.owner {
		return complain("on", "on: "+src.Bundle+" is required here, and such a file cannot register handlers",
			"require another file of the bundle, such as \""+src.Bundle+".lib\"")
	}
	if !src.Grants.HasHook(spec.Point) {
		return complain(string(name), fmt.Sprintf("%s is not among the hooks that this bundle declares", name), "add it to hooks in bundle.toml")
	}
	fn, ok := L.Get(L.GetTop()).(*glua.LFunction)
	if !ok || L.GetTop() < 2 || L.GetTop() > 3 {
		return complain("on", "on: expected on(hook, [options,] function)", "")
	}
	h := &handler{
		source: ld.source,
		file:   c,
		spec:   spec,
		unread: ld.source.unreadParameters(fn),
		info: hooks.Info{Point: spec.Point, File: c.Path, Line: line, Bundle: src.Bundle,
			Version: src.Version, Tier: src.Tier, Position: src.Position, Domains: src.Domains, Except: src.Except, NoOutgoing: src.NoOutgoing,
			Generation: st.generation.id, PlainWeb: src.PlainWeb || src.Tier == hooks.Admin, Code: c.digest},
	}
	if L.GetTop() == 3 {
		t, ok := L.Get(2).(*glua.LTable)
		if !ok {
			return complain("on", "on: options must be a table, got "+typeOf(L.Get(2)), "")
		}
		if text, hint := h.options(t, ld.lenient); text != "" {
			return complain("on", "on: "+text, hint)
		}
	}
	if needed := neededOption(spec.Point); needed != "" && h.info.Every == 0 && h.info.Path == "" && h.info.Command == "" {
		return complain("on", "on: "+string(spec.Point)+" needs the option "+needed, neededExample(spec.Point))
	}
	ld.handlers = append(ld.handlers, h)
	st.handlers = append(st.handlers, fn)
	return 0
}

func unknownHook(f *source.File, line int, name string) *source.Error {
	return f.Fault(line, 0, name, fmt.Sprintf("there is no hook %q", name),
		strings.TrimPrefix(hooks.Suggestion(name, hooks.PointNames()), "; "))
}

// callerPlace returns the file and line that calls the running Go function.
func (ld *loader) callerPlace(L *glua.LState) (*compiled, int) {
	dbg, ok := L.GetStack(1)
	if ok {
		if _, err := L.GetInfo("Sl", dbg, glua.LNil); err == nil {
			for _, c := range ld.source.files {
				if c.Name == dbg.Source {
					return c, dbg.CurrentLine
				}
			}
		}
	}
	return ld.source.files[ld.file[len(ld.file)-1]], 0
}
