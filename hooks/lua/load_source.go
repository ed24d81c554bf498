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

	"carteiro/hooks/lua/source"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// loadedSource is a compiled source. It is immutable and shared by all states.
type loadedSource struct {
	src       hooks.Source
	space     string            // of its kv, see call.space
	ownDomain func(string) bool // domains with settings and kv of their own; nil for scripts
	files     map[string]*compiled
	uses      map[string]bool // globals that the code reads
	test      bool            // it has what tests have
	strict    bool            // see Options.Strict

	// Of checks alone.
	faults   []error // what is certain to fail when it runs
	patterns regexes
	trial    *trial // in which constants are tried
}

// compiled is one Lua file.
type compiled struct {
	source.File
	source *loadedSource
	source.Program
	digest string // of its text
}

// programs are those of the files of a load, by all that they depend on.
type programs map[programKey]source.Program

type programKey struct {
	name string   // as people see it
	sum  [32]byte // of the text, and of what the bundle is granted
}

// unreadParameters tells by bit which parameters a function never names.
func (u *loadedSource) unreadParameters(fn *glua.LFunction) uint64 {
	if !fn.IsG {
		for _, c := range u.files {
			if c.Name == fn.Proto.SourceName {
				return c.Unread[fn.Proto.LineDefined]
			}
		}
	}
	return 0 // of another source
}

// compileSource checks and compiles all Lua files of a source; what old has
// already is taken from there. What it has without fault it puts into used.
func compileSource(src hooks.Source, strict bool, old, used programs) (*loadedSource, error) {
	return compileUnit(&loadedSource{src: src, strict: strict}, old, used)
}

func compileUnit(u *loadedSource, old, used programs) (*loadedSource, error) {
	src := u.src
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
		c := &compiled{source: u, File: source.File{Path: name, Name: displayName(src, name), Text: string(src.Files[name]), OnStep: trip}}
		sum := sha256.Sum256([]byte(c.Text))
		c.digest = hex.EncodeToString(sum[:8])
		key := programKey{c.Name, sha256.Sum256(append(granted, c.Text...))}
		if p, ok := old[key]; ok {
			c.Program, used[key] = p, p
		} else if err := c.compile(); err != nil {
			errs = append(errs, err)
		} else {
			used[key] = c.Program
		}
		if c.Proto != nil { // then its names can be checked too, whatever else is wrong
			u.files[name] = c
		}
	}
	for _, name := range src.Main {
		if _, ok := src.Files[name]; !ok {
			errs = append(errs, &source.Error{File: displayName(src, name), Text: "no such file"})
		}
	}
	return u, errors.Join(append(errs, u.checkGlobals()...)...)
}

func (c *compiled) compile() error {
	checks := source.Checks{Rewritten: c.checkCalls}
	if c.source.strict {
		checks.Parsed = func(chunk []ast.Stmt) { c.source.faults = append(c.source.faults, c.source.check(&c.File, chunk)...) }
		checks.Resolved = c.checkHiddenFields
	}
	var err error
	c.Program, err = c.File.Compile(checks)
	return err
}

// globalUse is one access to a global in a file.
type globalUse struct {
	source.Global
	file *compiled
}

// checkGlobals refuses globals that do not exist, that are written inside of
// functions, and that hide ours.
func (u *loadedSource) checkGlobals() []error {
	var all []globalUse
	own := map[string]bool{}
	for _, name := range sortedKeys(u.files) {
		c := u.files[name]
		if err := c.Guard("searched for globals", func() error {
			for _, g := range source.Globals(c.Proto) {
				all = append(all, globalUse{g, c})
				if g.Write && g.Top {
					own[g.Name] = true
				}
			}
			return nil
		}); err != nil {
			return []error{err}
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
		if !g.Write {
			u.uses[g.Name] = true
		}
	}
	return errs
}

func (u *loadedSource) checkGlobal(g globalUse, own map[string]bool, ours map[string]bool) error {
	f := &g.file.File
	switch {
	case g.Write && ours[g.Name]:
		return f.Fault(g.Line, 0, g.Name, g.Name+" is read only", "give yours another name or make it local")
	case g.Write && !g.Top:
		return f.Fault(g.Line, 0, g.Name, g.Name+" is written as a global inside a function", "make it local; what must last belongs in "+
			"meta or kv")
	case g.Write || own[g.Name]:
		return nil
	case !ours[g.Name]:
		return f.Fault(g.Line, 0, g.Name, "unknown name "+g.Name, unknownHint(g.Name, own, ours))
	}
	m := moduleNamed(g.Name)
	if m == nil {
		return nil
	}
	if !u.src.Grants.HasModule(g.Name) {
		return f.Fault(g.Line, 0, g.Name, "module "+g.Name+" is not granted to this bundle", "declare it under [capabilities] modules")
	}
	if g.Member != "" && !m.has(g.Member) {
		hint := strings.TrimPrefix(hooks.Suggestion(g.Member, m.names()), "; ")
		return f.Fault(g.Line, 0, "."+g.Member, g.Name+"."+g.Member+" does not exist", hint)
	}
	return nil
}

// unknownHint says what may have been meant.
func unknownHint(name string, own, ours map[string]bool) string {
	switch name {
	case "coroutine", "io", "os", "debug", "package", "load", "loadstring", "dofile", "loadfile", "module", "newproxy",
		"collectgarbage", "getfenv", "setfenv", "_G":
		return "policies cannot use it"
	}
	names := sortedKeys(ours)
	for n := range own {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.TrimPrefix(hooks.Suggestion(name, names), "; ")
}

// builtins returns all names that a script finds.
func builtins() map[string]bool {
	names := map[string]bool{
		"config":          true,
		source.ConcatName: true,
		source.TableName:  true,
		source.JoinName:   true,
		source.LengthName: true,
		"_VERSION":        true,
	}
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
func (u *loadedSource) resolveRequire(from, name string) (*compiled, error) {
	if name == "" || strings.ContainsAny(name, "\\\x00") || strings.HasPrefix(name, "/") {
		return nil, fmt.Errorf("require: %q is not the name of a file", name)
	}
	rel := strings.ReplaceAll(strings.TrimSuffix(name, ".lua"), ".", "/") + ".lua"
	for _, p := range []string{path.Join(path.Dir(from), rel), path.Clean(rel)} {
		if c, ok := u.files[p]; ok {
			return c, nil
		}
	}
	return nil, fmt.Errorf("require: there is no %s next to %s", rel, from)
}

// displayName returns a file as people see it.
func displayName(src hooks.Source, path string) string {
	prefix := src.Bundle
	if prefix == "" {
		if _, rest, ok := strings.Cut(src.Name, "/"); ok {
			prefix = rest
		}
	}
	if prefix == "" {
		return path
	}
	return prefix + "/" + path
}
