package lua

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"

	"carteiro/hooks"
)

// The interpreter and its compiler can panic. Whoever enters them does so
// through one of the functions here, which make an error of it: a fault of one
// file must not end the process, nor replace policies that work.

// stackOverflow is the text of the error where calls are nested too deep.
const stackOverflow = "stack overflow"

// errEngine is what a panic becomes.
var errEngine = errors.New("fault in the engine")

// trip is nil but in tests, which have it panic at a step with a file, or spoil
// what was compiled.
var trip func(step, file string, proto *glua.FunctionProto)

func tripped(step, file string, proto *glua.FunctionProto) {
	if trip != nil {
		trip(step, file, proto)
	}
}

// engineFault is the error of a file at which something panicked.
func (f *file) engineFault(line int, doing string, p any) *SourceError {
	return f.fault(max(line, 1), 0, "", fmt.Sprintf("%s while the file is %s: %v", errEngine, doing, p),
		"please report it; write the statement in another way meanwhile")
}

// guard runs a step of compiling; c.at is the line that it has come to.
func (c *compiled) guard(doing string, step func() error) (err error) {
	c.at = 0
	defer func() {
		if p := recover(); p != nil {
			err = c.engineFault(c.at, doing, p)
		}
	}()
	tripped(doing, c.name, nil)
	return step()
}

// generate compiles a syntax tree. Where the compiler panics, each statement
// is compiled by itself to find the one at which it does.
func (c *compiled) generate(chunk []ast.Stmt) error {
	proto, err := compileChunk(chunk, c.name)
	if p, ok := err.(*panicError); ok {
		for _, s := range chunk {
			if _, err := compileChunk([]ast.Stmt{s}, c.name); isPanic(err) {
				return c.engineFault(s.Line(), "compiled", p.p)
			}
		}
		return c.engineFault(0, "compiled", p.p)
	}
	if err == nil {
		err = c.fits(proto)
	}
	c.proto = proto
	return err
}

// fits refuses functions that are larger than the code can tell.
func (c *compiled) fits(p *glua.FunctionProto) error {
	if len(p.Code) > maxCode {
		return c.fault(p.LineDefined, 0, "", "the function is too long", "split it")
	}
	if len(p.DbgUpvalues) > maxOuter {
		text := fmt.Sprintf("the function uses more than %d variables of the functions around it", maxOuter)
		return c.fault(p.LineDefined, 0, "", text, "put them into a table")
	}
	for _, inner := range p.FunctionPrototypes {
		if err := c.fits(inner); err != nil {
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

func compileChunk(chunk []ast.Stmt, name string) (proto *glua.FunctionProto, err error) {
	defer func() {
		if p := recover(); p != nil {
			proto, err = nil, &panicError{p}
		}
	}()
	tripped("compiled", name, nil)
	proto, err = glua.Compile(chunk, name)
	if err == nil {
		tripped("after", name, proto)
	}
	return proto, err
}

// protect calls what was pushed, as PCall does; in addition to PCall it takes
// panics that come while the interpreter looks for the place of an error. The
// state is of no use after a panic.
func (st *state) protect(nargs, nret int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			place := ""
			if file, line := st.deepest(); file != "" {
				place = fmt.Sprintf("%s:%d: ", file, line)
			}
			err = fmt.Errorf("%s%w: %v", place, errEngine, p)
		}
	}()
	err = st.L.PCall(nargs, nret, nil)
	if apiErr, ok := err.(*glua.ApiError); ok && apiErr.Type == glua.ApiErrorPanic {
		return st.panicked(apiErr)
	}
	return err
}

// overflow is what the interpreter panics with where it has no room for one
// more call.
const overflow = "callstack overflow"

var tracedPlace = regexp.MustCompile(`(?m)^\s+(\S[^\n]*?):(\d+): in `)

// panicked makes an error of a panic that the interpreter has caught itself.
func (st *state) panicked(apiErr *glua.ApiError) error {
	text := tostringPlain(apiErr.Object)
	place := ""
	if m := tracedPlace.FindStringSubmatch(apiErr.StackTrace); m != nil {
		place = m[1] + ":" + m[2] + ": "
	}
	if strings.Contains(text, overflow) {
		return fmt.Errorf("%s%s\n%s", place, stackOverflow, apiErr.StackTrace)
	}
	return fmt.Errorf("%s%w: %s", place, errEngine, text)
}

// deepest is the place of the innermost running function that has one.
func (st *state) deepest() (file string, line int) {
	for level := range callDepth {
		file, line, more := st.placeAt(level)
		if file != "" || !more {
			return file, line
		}
	}
	return "", 0
}

// placeAt is the place of the function at a level; "" where there is none. A
// frame that is in disorder panics once more.
func (st *state) placeAt(level int) (file string, line int, more bool) {
	defer func() {
		if recover() != nil {
			file, more = "", true
		}
	}()
	dbg, ok := st.L.GetStack(level)
	if !ok {
		return "", 0, false
	}
	if _, err := st.L.GetInfo("S", dbg, glua.LNil); err != nil || dbg.Source == "" {
		return "", 0, true
	}
	return dbg.Source, st.lineAt(dbg), true
}

// lineAt is the line at which a function is, or where it begins.
func (st *state) lineAt(dbg *glua.Debug) (line int) {
	line = max(dbg.LineDefined, 1)
	defer func() {
		if recover() != nil {
			line = max(dbg.LineDefined, 1)
		}
	}()
	if _, err := st.L.GetInfo("l", dbg, glua.LNil); err == nil && dbg.CurrentLine > 0 {
		line = dbg.CurrentLine
	}
	return line
}

// guardLoad turns a panic of what Load does between the files into an error.
func guardLoad(step *string, err *error) {
	if p := recover(); p != nil {
		*err = hooks.AtStep(*step, fmt.Errorf("%w: %v", errEngine, p))
	}
}

// tryConstant is the error that a call raises, or "".
func (st *state) tryConstant(fn glua.LGFunction, args []glua.LValue) (text string) {
	defer func() {
		if recover() != nil { // it needs what only a handler has
			text = ""
		}
	}()
	st.budget.reset(context.Background(), time.Second, 1_000_000, &hooks.Limits{Alloc: 64 << 20, Granted: true})
	st.L.SetTop(0)
	st.L.Push(st.L.NewFunction(fn))
	for _, a := range args {
		st.L.Push(a)
	}
	err := st.L.PCall(len(args), 0, nil)
	var raised *glua.ApiError
	if err == nil || st.budget.err != nil || !errors.As(err, &raised) {
		return ""
	}
	text, _, _ = strings.Cut(raised.Object.String(), "\n")
	return strings.TrimSpace(strings.TrimPrefix(placed.ReplaceAllString(text, ""), "?:"))
}
