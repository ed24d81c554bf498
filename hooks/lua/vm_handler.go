package lua

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"carteiro/hooks/lua/source"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// handler is one registered function, in whatever state it runs.
type handler struct {
	info       hooks.Info
	spec       hooks.Spec
	source     *loadedSource
	file       *compiled
	generation *generation
	number     int
	unread     uint64 // its parameters that the function does not name, by bit
}

var _ hooks.Handler = (*handler)(nil)

// Info describes the handler.
func (h *handler) Info() hooks.Info { return h.info }

// Call runs the handler in a state of the pool. A state whose call failed is
// thrown away.
func (h *handler) Call(ctx context.Context, spec hooks.Spec, e *hooks.Event) (_ hooks.Verdict, _ int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.generation.engine.Log.Error("the engine panicked", "handler", h.info.Name(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %s: %w: %v", hooks.ErrHook, h.info.Name(), source.ErrEngine, p)
		}
	}()
	runTrip("called", h.file.Name)
	pool := h.generation.poolFor(h.info.MayBlock)
	st, err := h.generation.acquire(ctx, pool, spec.Wall)
	if err != nil {
		return hooks.Verdict{}, 0, fmt.Errorf("%w: %s: %w", hooks.ErrHook, h.info.Name(), err)
	}
	well := false
	defer func() {
		if well {
			pool.release(st)
		} else {
			pool.drop(st) // after a panic of ours, too
		}
	}()
	v, err := st.run(ctx, h, &spec, e)
	used := st.budget.total - max(st.budget.left, 0)
	if h.info.Bundle != "" && h.generation.engine.Usage != nil {
		usage := Usage{Bundle: h.info.Bundle, Domain: st.calls.domain, Instructions: used, Failed: err != nil}
		if err == nil {
			usage.Submits = st.calls.submits // else undone
		}
		h.generation.engine.Usage(usage)
	}
	if err != nil {
		return hooks.Verdict{}, used, fmt.Errorf("%w: %w", hooks.ErrHook, err)
	}
	well = true
	if v == nil {
		return hooks.Verdict{}, used, nil
	}
	return *v, used, nil
}

// run makes one call and returns its verdict, nil if there was none. Objects
// made for it die when it returns.
func (st *state) run(ctx context.Context, h *handler, spec *hooks.Spec, e *hooks.Event) (*hooks.Verdict, error) {
	c := st.beginCall()
	c.ctx, c.event, c.handler, c.source = ctx, e, h, h.source
	if h.source.ownDomain != nil {
		c.domain = e.DomainAtHand(h.source.ownDomain)
	}
	st.call, st.source = c, h.source
	defer st.endCall()
	st.budget.reset(ctx, spec.Wall, spec.Budget, &h.source.src.Limits)
	L := st.L
	L.Push(st.handlers[h.number])
	n := st.pushArguments(spec, e, h.unread)
	if err := st.protect(n, 1); err != nil {
		return nil, st.failure(err)
	}
	if st.budget.err != nil {
		return nil, st.budget.err
	}
	v, err := verdictOf(L.Get(-1))
	L.SetTop(0)
	if err == nil && v != nil && !spec.Allows(v.Action) && c.wrongVerdictAt != "" {
		return nil, fmt.Errorf("%s%s is not a verdict of %s; it allows %s", c.wrongVerdictAt, v.Action, spec.Point, verdictList(*spec))
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", h.file.Name, h.info.Line, err)
	}
	for _, f := range c.after {
		f()
	}
	return v, nil
}

// failure returns the error of a call with its traceback.
func (st *state) failure(err error) error {
	text := errorText(st, err)
	trace := ""
	if apiErr, ok := errors.AsType[*glua.ApiError](err); ok {
		trace = strings.TrimSpace(apiErr.StackTrace)
		if st.call != nil { // the outermost function is no file's, but the handler
			trace = strings.Replace(trace, "in main chunk", "in the handler of "+string(st.call.handler.spec.Point), 1)
		}
	}
	if over := st.budget.err; over != nil {
		if _, _, said := source.CutPlace(text); said == over.Error() {
			at := text[:len(text)-len(said)]
			return fmt.Errorf("%w: %s\n%s", over, strings.TrimSuffix(at, ": "), trace)
		}
		return fmt.Errorf("%w: %s\n%s", over, text, trace)
	}
	return fmt.Errorf("%s\n%s", text, trace)
}

// errorText returns the text of an error object; it runs no code of the script.
func errorText(st *state, err error) string {
	apiErr, ok := errors.AsType[*glua.ApiError](err)
	if !ok {
		return err.Error()
	}
	text := tostringPlain(apiErr.Object)
	if len(text) > 2000 {
		text = text[:2000] + "..."
	}
	return st.generation.explain(text)
}

// tostringPlain returns the text of a value without its __tostring.
func tostringPlain(v glua.LValue) string {
	switch v := v.(type) {
	case glua.LString:
		return string(v)
	case glua.LNumber:
		return formatNumber(float64(v))
	case nil:
		return "nil"
	}
	return "(" + typeOf(v) + ")"
}

// pushArguments pushes the objects that the hook's row names, and nil for
// those that the function never looks at: to make one takes time.
func (st *state) pushArguments(spec *hooks.Spec, e *hooks.Event, unread uint64) int {
	L := st.L
	for i, name := range spec.Args {
		if unread&(1<<i) != 0 {
			L.Push(glua.LNil)
			continue
		}
		switch name {
		case "session":
			L.Push(sessionValue(st, e))
		case "req":
			L.Push(st.newObject(&reqClass, e.Req))
		case "cmd":
			L.Push(st.newObject(&commandClass, e.Command))
		case "event":
			L.Push(st.newObject(&eventClass, e.Observed))
		case "now":
			L.Push(glua.LNumber(e.Now.Unix()))
		case "name":
			L.Push(glua.LString(e.Name))
		case "cred":
			L.Push(st.newObject(&credClass, e.Cred))
		case "tx":
			L.Push(st.newObject(&txClass, e.Tx))
		case "msg":
			L.Push(st.newObject(&msgClass, e.Msg))
		case "rcpt":
			L.Push(st.newObject(&rcptClass, e.Rcpt))
		case "rcpts":
			t := L.CreateTable(len(e.Rcpts), 0)
			for i, r := range e.Rcpts {
				t.RawSetInt(i+1, st.newObject(&rcptClass, r))
			}
			L.Push(t)
		case "group":
			L.Push(st.newObject(&groupClass, e.Group))
		case "attempt":
			L.Push(st.newObject(&attemptClass, e.Attempt))
		case "result":
			L.Push(st.newObject(&resultClass, e.Result))
		case "box":
			L.Push(st.newObject(&boxClass, e.Box))
		case "dsn":
			L.Push(st.newObject(&dsnClass, e.DSN))
		case "domain":
			L.Push(glua.LString(e.Domain))
		case "key":
			L.Push(glua.LString(e.Key))
		default:
			L.Push(glua.LNil)
		}
	}
	return len(spec.Args)
}
