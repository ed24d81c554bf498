// Package source reads the text of Lua files and makes programs of them: it
// scans and parses, finds out which variable each name means, rewrites what the
// compiler of gopher-lua gets wrong or what would cost nothing, and compiles.
// What is wrong comes back as *Error with file, line and column. It runs nothing
// and knows nothing of hooks.
package source

import (
	"errors"
	"fmt"
	"runtime"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
)

// ErrEngine is what a panic of the compiler or the interpreter becomes.
var ErrEngine = errors.New("fault in the engine")

// Program is what a file has become. It is immutable.
type Program struct {
	Proto  *glua.FunctionProto
	Unread map[int]uint64 // of functions, by the line where they begin; see Names
}

// Checks look at a file while it is compiled. Each may be nil.
type Checks struct {
	Parsed    func(chunk []ast.Stmt)                   // as it is written
	Resolved  func(chunk []ast.Stmt, n *Names) []error // the same, with its variables
	Rewritten func(nodes *Nodes, n *Names) []error     // as it is compiled
}

// Compile makes a program of a file and returns what is wrong with it. It goes
// from step to step so that mail which comes in meanwhile waits for one of them
// at most, where processors are few. The program has code whenever that could
// be made, whatever is wrong beside it.
func (f *File) Compile(checks Checks) (p Program, err error) {
	if err := f.Guard("scanned", f.scan); err != nil {
		return p, err
	}
	runtime.Gosched()
	var chunk []ast.Stmt
	if err := f.Guard("parsed", func() (err error) { chunk, err = f.Parse(); return err }); err != nil {
		return p, err
	}
	runtime.Gosched()
	if checks.Parsed != nil {
		if err := f.Guard("checked", func() error { checks.Parsed(chunk); return nil }); err != nil {
			return p, err
		}
	}
	err = f.Guard("rewritten", func() error {
		names := Resolve(f, chunk)
		p.Unread = names.unread
		var errs []error
		if checks.Resolved != nil {
			errs = checks.Resolved(chunk, names)
		}
		chunk = names.box(chunk)
		nodes := f.rewrite(chunk)
		if checks.Rewritten != nil {
			errs = append(errs, checks.Rewritten(nodes, names)...)
		}
		chunk = repair(chunk)
		return errors.Join(errs...)
	})
	runtime.Gosched()
	proto, fault := f.generate(chunk)
	p.Proto = proto
	if ce, ok := fault.(*glua.CompileError); ok {
		fault = f.Fault(ce.Line, 0, "", ce.Message, "")
	}
	return p, errors.Join(err, fault)
}

// step announces a step to tests.
func (f *File) step(doing string, proto *glua.FunctionProto) {
	if f.OnStep != nil {
		f.OnStep(doing, f.Name, proto)
	}
}

// EngineFault returns the error of a file at which something panicked.
func (f *File) EngineFault(line int, doing string, p any) *Error {
	return f.Fault(max(line, 1), 0, "", fmt.Sprintf("%s while the file is %s: %v", ErrEngine, doing, p),
		"please report it; until then, write the statement in another way")
}

// Guard runs a step of compiling and makes an error of a panic, at the line that
// the step has come to: a fault of one file must not end the process.
func (f *File) Guard(doing string, step func() error) (err error) {
	f.at = 0
	defer func() {
		if p := recover(); p != nil {
			err = f.EngineFault(f.at, doing, p)
		}
	}()
	f.step(doing, nil)
	return step()
}

// generate compiles a syntax tree. Where the compiler panics, it compiles each
// statement by itself to find the one at which that happens.
func (f *File) generate(chunk []ast.Stmt) (*glua.FunctionProto, error) {
	proto, err := f.compileChunk(chunk)
	if p, ok := err.(*panicError); ok {
		for _, s := range chunk {
			if _, err := f.compileChunk([]ast.Stmt{s}); isPanic(err) {
				return nil, f.EngineFault(s.Line(), "compiled", p.p)
			}
		}
		return nil, f.EngineFault(0, "compiled", p.p)
	}
	if err == nil {
		err = f.checkSize(proto)
	}
	return proto, err
}

// checkSize refuses functions that are larger than the code can express.
func (f *File) checkSize(p *glua.FunctionProto) error {
	if len(p.Code) > maxCode {
		return f.Fault(p.LineDefined, 0, "", "the function is too long", "split it")
	}
	if len(p.DbgUpvalues) > maxOuter {
		text := fmt.Sprintf("the function uses more than %d variables of the functions around it", maxOuter)
		return f.Fault(p.LineDefined, 0, "", text, "put them into a table")
	}
	for _, inner := range p.FunctionPrototypes {
		if err := f.checkSize(inner); err != nil {
			return err
		}
	}
	return nil
}

// panicError is a panic of the compiler.
type panicError struct{ p any }

func (e *panicError) Error() string { return fmt.Sprint(e.p) }

func isPanic(err error) bool {
	_, ok := err.(*panicError)
	return ok
}

func (f *File) compileChunk(chunk []ast.Stmt) (proto *glua.FunctionProto, err error) {
	defer func() {
		if p := recover(); p != nil {
			proto, err = nil, &panicError{p}
		}
	}()
	f.step("compiled", nil)
	proto, err = glua.Compile(chunk, f.Name)
	if err == nil {
		f.step("after", proto)
	}
	return proto, err
}
