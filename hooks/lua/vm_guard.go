package lua

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"carteiro/hooks/lua/source"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// The interpreter and its compiler can panic. Whoever enters them does so
// through one of the functions here, which make an error of it: a fault of one
// file must not end the process, nor replace policies that work.

// trip is nil but in tests, which have it panic at a step with a file, or spoil
// what was compiled.
var trip func(step, file string, proto *glua.FunctionProto)

func runTrip(step, file string) {
	if trip != nil {
		trip(step, file, nil)
	}
}

// stackOverflow is the text of the error where calls are nested too deep.
const stackOverflow = "stack overflow"

// protect calls what was pushed, as PCall does; in addition to PCall it takes
// panics that come while the interpreter looks for the place of an error. The
// state is of no use after a panic.
func (st *state) protect(nargs, nret int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			place := ""
			if file, line := innermostPlace(st.L); file != "" {
				place = fmt.Sprintf("%s:%d: ", file, line)
			}
			err = fmt.Errorf("%s%w: %v", place, source.ErrEngine, p)
		}
	}()
	err = st.L.PCall(nargs, nret, nil)
	if apiErr, ok := err.(*glua.ApiError); ok && apiErr.Type == glua.ApiErrorPanic {
		return panicError(apiErr)
	}
	return err
}

// overflow is what the interpreter panics with where it has no room for one
// more call.
const overflow = "callstack overflow"

var tracedPlace = regexp.MustCompile(`(?m)^\s+(\S[^\n]*?):(\d+): in `)

// panicError makes an error of a panic that the interpreter has caught itself.
func panicError(apiErr *glua.ApiError) error {
	text := tostringPlain(apiErr.Object)
	place := ""
	if m := tracedPlace.FindStringSubmatch(apiErr.StackTrace); m != nil {
		place = m[1] + ":" + m[2] + ": "
	}
	if strings.Contains(text, overflow) {
		return fmt.Errorf("%s%s\n%s", place, stackOverflow, apiErr.StackTrace)
	}
	return fmt.Errorf("%s%w: %s", place, source.ErrEngine, text)
}

// innermostPlace returns the place of the innermost running function that has one.
func innermostPlace(L *glua.LState) (file string, line int) {
	for level := range callDepth {
		file, line, more := placeAt(L, level)
		if file != "" || !more {
			return file, line
		}
	}
	return "", 0
}

// placeAt returns the place of the function at a level; "" where there is none. A
// frame that is in disorder panics once more.
func placeAt(L *glua.LState, level int) (file string, line int, more bool) {
	defer func() {
		if recover() != nil {
			file, more = "", true
		}
	}()
	dbg, ok := L.GetStack(level)
	if !ok {
		return "", 0, false
	}
	if _, err := L.GetInfo("S", dbg, glua.LNil); err != nil || dbg.Source == "" {
		return "", 0, true
	}
	return dbg.Source, lineAt(L, dbg), true
}

// lineAt returns the line at which a function is, or where it begins.
func lineAt(L *glua.LState, dbg *glua.Debug) (line int) {
	line = max(dbg.LineDefined, 1)
	defer func() {
		if recover() != nil {
			line = max(dbg.LineDefined, 1)
		}
	}()
	if _, err := L.GetInfo("l", dbg, glua.LNil); err == nil && dbg.CurrentLine > 0 {
		line = dbg.CurrentLine
	}
	return line
}

// guardLoad turns a panic of what Load does between the files into an error.
func guardLoad(step *string, err *error) {
	if p := recover(); p != nil {
		*err = hooks.AtStep(*step, fmt.Errorf("%w: %v", source.ErrEngine, p))
	}
}

// errorOf returns the error that a call raises, or "".
func (t *trial) errorOf(fn glua.LGFunction, args []glua.LValue) (text string) {
	defer func() {
		if recover() != nil { // it needs what only a handler has
			text = ""
		}
	}()
	st := t.st
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
	_, _, text = source.CutPlace(text)
	return strings.TrimSpace(strings.TrimPrefix(text, "?:"))
}
