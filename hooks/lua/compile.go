package lua

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// unit is a compiled source. It is immutable and shared by all states.
type unit struct {
	source hooks.Source
	space  string            // of its kv, see call.space
	ours   func(string) bool // domains with settings and kv of their own; nil for scripts
	files  map[string]*compiled
	uses   map[string]bool // globals that the code reads
	test   bool            // it has what tests have
	strict bool            // see Options.Strict

	// Of checks alone.
	faults   []error // what is certain to fail when it runs
	patterns regexes
	trial    *state // in which constants are tried
}

// compiled is one Lua file.
type compiled struct {
	file
	program
	digest string // of its text

	once  sync.Once
	lines map[int][]ast.Expr // see explain
}

// program is what a file has become. It is immutable and shared by all states,
// and by generations in which the file is the same.
type program struct {
	proto  *glua.FunctionProto
	unread map[int]uint64 // of functions, by the line where they begin; see names
}

// programs are those of the files of a load, by all that they depend on.
type programs map[programKey]program

type programKey struct {
	name string   // as people see it
	sum  [32]byte // of the text, and of what the bundle is granted
}

// unread tells by bit which parameters a function never names.
func (u *unit) unread(fn *glua.LFunction) uint64 {
	if !fn.IsG {
		for _, c := range u.files {
			if c.name == fn.Proto.SourceName {
				return c.unread[fn.Proto.LineDefined]
			}
		}
	}
	return 0 // of another unit
}

// compileSource checks and compiles all Lua files of a source; what old has
// already is taken from there. What it has without fault it puts into used.
func compileSource(src hooks.Source, strict bool, old, used programs) (*unit, error) {
	return compileUnit(&unit{source: src, strict: strict}, old, used)
}

func compileUnit(u *unit, old, used programs) (*unit, error) {
	src := u.source
	granted, err := json.Marshal(src.Grants)
	if err != nil {
		return nil, fmt.Errorf("%s: grants: %w", src.Name, err)
	}
	u.space, u.files, u.uses = src.Name, map[string]*compiled{}, map[string]bool{}
	if src.Bundle != "" {
		u.space = src.Bundle
	}
	var errs []error
	for _, name := range sortedKeys(src.Files) {
		if !strings.HasSuffix(name, ".lua") {
			continue
		}
		runtime.Gosched()
		c := &compiled{file: file{unit: u, path: name, name: displayName(src, name), text: string(src.Files[name])}}
		sum := sha256.Sum256([]byte(c.text))
		c.digest = hex.EncodeToString(sum[:8])
		key := programKey{c.name, sha256.Sum256(append(granted, c.text...))}
		if p, ok := old[key]; ok {
			c.program, used[key] = p, p
		} else if err := c.compile(); err != nil {
			errs = append(errs, err)
		} else {
			used[key] = c.program
		}
		if c.proto != nil { // then its names can be checked too, whatever else is wrong
			u.files[name] = c
		}
	}
	for _, name := range src.Main {
		if _, ok := src.Files[name]; !ok {
			errs = append(errs, &SourceError{File: displayName(src, name), Text: "no such file"})
		}
	}
	return u, errors.Join(append(errs, u.checkGlobals()...)...)
}

// compile goes from step to step so that mail which comes in meanwhile waits
// for one of them at most, where processors are few.
func (c *compiled) compile() error {
	if err := c.guard("scanned", c.scan); err != nil {
		return err
	}
	runtime.Gosched()
	var chunk []ast.Stmt
	if err := c.guard("parsed", func() (err error) { chunk, err = c.parse(); return err }); err != nil {
		return err
	}
	runtime.Gosched()
	if c.unit.strict {
		if err := c.guard("checked", func() error {
			c.unit.faults = append(c.unit.faults, c.check(chunk)...)
			return nil
		}); err != nil {
			return err
		}
	}
	err := c.guard("rewritten", func() error {
		names := resolve(&c.file, chunk)
		c.unread = names.unread
		var unshown []error
		if c.unit.strict {
			unshown = c.unshown(chunk, names)
		}
		chunk = names.box(chunk)
		errs := append(unshown, c.rewrite(chunk, names)...)
		chunk = repair(chunk)
		return errors.Join(errs...)
	})
	runtime.Gosched()
	fault := c.generate(chunk)
	if ce, ok := fault.(*glua.CompileError); ok {
		fault = c.fault(ce.Line, 0, "", ce.Message, "")
	}
	return errors.Join(err, fault)
}

// global is one access to a global in the code.
type global struct {
	file   *compiled
	name   string
	line   int
	write  bool
	top    bool   // in the file's own body, not in a function
	member string // of "name.member", where it can be told
}

// globals lists the accesses of a prototype and those inside it.
func (c *compiled) globals(p *glua.FunctionProto, top bool, out []global) []global {
	for pc, inst := range p.Code {
		op := int(inst >> 26)
		if op != glua.OP_GETGLOBAL && op != glua.OP_SETGLOBAL {
			continue
		}
		g := global{file: c, name: constant(p, int(inst&0x3ffff)), line: p.DbgSourcePositions[pc], write: op == glua.OP_SETGLOBAL, top: top}
		if !g.write && pc+1 < len(p.Code) {
			next := p.Code[pc+1]
			k := int(next>>9) & 0x1ff
			if int(next>>26) == glua.OP_GETTABLEKS && int(next&0x1ff) == int(inst>>18)&0xff && k >= 256 {
				g.member = constant(p, k-256)
			}
		}
		out = append(out, g)
	}
	for _, inner := range p.FunctionPrototypes {
		out = c.globals(inner, false, out)
	}
	return out
}

func constant(p *glua.FunctionProto, i int) string {
	if i < len(p.Constants) {
		if s, ok := p.Constants[i].(glua.LString); ok {
			return string(s)
		}
	}
	return ""
}

// checkGlobals refuses globals that do not exist, that are written inside of
// functions, and that hide ours.
func (u *unit) checkGlobals() []error {
	var all []global
	for _, name := range sortedKeys(u.files) {
		c := u.files[name]
		if err := c.guard("searched for globals", func() error { all = c.globals(c.proto, true, all); return nil }); err != nil {
			return []error{err}
		}
	}
	own := map[string]bool{}
	for _, g := range all {
		if g.write && g.top {
			own[g.name] = true
		}
	}
	ours := builtins()
	if u.test {
		ours[worldName], ours[caseName], ours[failName] = true, true, true
	}
	var errs []error
	for _, g := range all {
		if err := u.checkGlobal(g, own, ours); err != nil {
			errs = append(errs, err)
		}
		if !g.write {
			u.uses[g.name] = true
		}
	}
	return errs
}

func (u *unit) checkGlobal(g global, own map[string]bool, ours map[string]bool) error {
	f := &g.file.file
	switch {
	case g.write && ours[g.name]:
		return f.fault(g.line, 0, g.name, g.name+" is read only", "give yours another name or make it local")
	case g.write && !g.top:
		return f.fault(g.line, 0, g.name, g.name+" is written as a global inside a function", "make it local; what must last belongs in meta or kv")
	case g.write || own[g.name]:
		return nil
	case !ours[g.name]:
		return f.fault(g.line, 0, g.name, "unknown name "+g.name, unknownHint(g.name, own, ours))
	}
	m := moduleNamed(g.name)
	if m == nil {
		return nil
	}
	if !u.source.Grants.HasModule(g.name) {
		return f.fault(g.line, 0, g.name, "module "+g.name+" is not granted to this bundle", "declare it under [capabilities] modules")
	}
	if g.member != "" && !m.has(g.member) {
		hint := strings.TrimPrefix(hooks.Suggestion(g.member, m.names()), "; ")
		return f.fault(g.line, 0, "."+g.member, g.name+"."+g.member+" does not exist", hint)
	}
	return nil
}

// unknownHint says what may have been meant.
func unknownHint(name string, own, ours map[string]bool) string {
	switch name {
	case "coroutine", "io", "os", "debug", "package", "load", "loadstring", "dofile", "loadfile", "module", "newproxy",
		"collectgarbage", "getfenv", "setfenv", "_G":
		return "policies run without it"
	}
	names := sortedKeys(ours)
	for n := range own {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.TrimPrefix(hooks.Suggestion(name, names), "; ")
}

// builtins are all names that a script finds.
func builtins() map[string]bool {
	names := map[string]bool{"config": true, concatName: true, tableName: true, joinName: true, lengthName: true, "_VERSION": true}
	for _, list := range [][]function{verdictFunctions, baseFunctions, hookFunctions} {
		for _, f := range list {
			names[f.name] = true
		}
	}
	for _, m := range allModules() {
		names[m.name] = true
	}
	return names
}

func moduleNamed(name string) *module {
	for _, m := range allModules() {
		if m.name == name {
			return m
		}
	}
	return nil
}

// resolveRequire finds the file that require(name) means: beside the one
// that asks, or from the root of the source.
func (u *unit) resolveRequire(from, name string) (*compiled, error) {
	if name == "" || strings.ContainsAny(name, "\\\x00") || strings.HasPrefix(name, "/") {
		return nil, fmt.Errorf("require: %q is no name of a file", name)
	}
	rel := strings.ReplaceAll(strings.TrimSuffix(name, ".lua"), ".", "/") + ".lua"
	for _, p := range []string{path.Join(path.Dir(from), rel), path.Clean(rel)} {
		if c, ok := u.files[p]; ok {
			return c, nil
		}
	}
	return nil, fmt.Errorf("require: there is no %s beside %s", rel, from)
}
