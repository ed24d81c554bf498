package hooks

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"carteiro/core/mail"
)

// Tier is the layer of a handler; lower ones are asked first.
type Tier uint8

// The tiers between the server's guards and its final word.
const (
	Admin  Tier = iota // scripts of the admin
	Bundle             // bundles, in the order of the configuration
	Domain             // a domain's own scripts
	After              // scripts of the admin with tier = "after"
)

// String is the tier as `scripts order` prints it.
func (t Tier) String() string {
	return [...]string{"admin", "bundle", "domain", "after"}[min(int(t), 3)]
}

// Info describes a handler.
type Info struct {
	Point      Point
	File       string // relative to its source
	Line       int
	Bundle     string // "" for scripts
	Version    string
	Tier       Tier
	Position   int // of the bundle in the configuration
	Order      int // -100..100
	OnError    Failure
	Listener   string   // only sessions of this listener
	Domains    []string // only mail of these domains; nil: all
	MayBlock   bool     // uses dns, http, milter or auth
	Generation string
}

// Name is the handler as people see it: "file:line" or "bundle@version file:line".
func (i Info) Name() string {
	at := fmt.Sprintf("%s:%d", i.File, i.Line)
	if i.Bundle == "" {
		return at
	}
	return i.Bundle + "@" + i.Version + " " + at
}

// Change is the handler as the author of a change.
func (i Info) Change() mail.Change {
	c := mail.Change{Hook: string(i.Point), Handler: fmt.Sprintf("%s:%d", i.File, i.Line), Generation: i.Generation}
	if i.Bundle != "" {
		c.Bundle = i.Bundle + "@" + i.Version
	}
	return c
}

// Handler is one policy at one hook.
type Handler interface {
	Info() Info
	// Call asks the policy. It changes e through e's methods only and blocks
	// for at most the wall time of spec. It returns the instructions it used.
	// Errors wrap ErrHook and hold place and traceback for the log.
	Call(ctx context.Context, spec Spec, e *Event) (Verdict, int64, error)
}

// Chain asks handlers in their order. It is immutable and safe for concurrent
// use, each Event by one goroutine.
type Chain struct {
	points map[Point][]Handler
	// Observe is told of each call; nil is fine. It must not block.
	Observe func(info Info, cost time.Duration, err error)
}

// NewChain sorts handlers by tier, bundle position, order, file and line.
func NewChain(handlers []Handler) *Chain {
	c := &Chain{points: map[Point][]Handler{}}
	for _, h := range handlers {
		p := h.Info().Point
		c.points[p] = append(c.points[p], h)
	}
	for _, hs := range c.points {
		slices.SortStableFunc(hs, func(a, b Handler) int {
			x, y := a.Info(), b.Info()
			return cmp.Or(cmp.Compare(x.Tier, y.Tier), cmp.Compare(x.Position, y.Position), cmp.Compare(x.Order, y.Order),
				strings.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
		})
	}
	return c
}

// Handlers are those of a hook in their order.
func (c *Chain) Handlers(p Point) []Handler { return c.points[p] }

// Has reports whether anybody listens at p, so that a stage can spare itself
// the making of an Event.
func (c *Chain) Has(p Point) bool { return c != nil && len(c.points[p]) > 0 }

// Run asks the handlers of e.Point in turn and returns the verdict that the
// stage has to obey, and a trail entry for each handler that decided, changed
// or failed. It never returns an error: a failure has become the verdict that
// the table or on_error says.
func (c *Chain) Run(ctx context.Context, e *Event) (Verdict, []mail.TrailEntry) {
	run := run{chain: c, e: e}
	spec, ok := Lookup(e.Point)
	if !ok || !c.Has(e.Point) {
		return Verdict{}, nil
	}
	run.spec = spec
	for _, h := range c.points[e.Point] {
		info := h.Info()
		if run.skip(info) {
			continue
		}
		if done := run.one(ctx, h, info); done {
			break
		}
	}
	return run.final, run.trail
}

// run is the state of one walk through the handlers.
type run struct {
	chain    *Chain
	spec     Spec
	e        *Event
	final    Verdict
	accepted bool
	tier     Tier // in which accept was said
	keep     bool // a handler failed with "keep": nothing may drop the message
	trail    []mail.TrailEntry
}

// skip: accept ends its own tier and those below, but never the admin's.
func (r *run) skip(info Info) bool {
	if r.accepted && info.Tier != After && (info.Tier > r.tier || info.Tier == r.tier) {
		return true
	}
	if r.accepted && info.Tier == After && r.tier == After {
		return true
	}
	if info.Listener != "" && (r.e.Session == nil || r.e.Session.Listener != info.Listener) {
		return true
	}
	return len(info.Domains) > 0 && !r.e.concerns(info.Domains)
}

// one asks one handler and reports whether the chain ends.
func (r *run) one(ctx context.Context, h Handler, info Info) bool {
	e := r.e
	if e.Pending == nil {
		e.Pending = &Pending{}
	}
	e.begin(r.spec.May)
	start := time.Now()
	v, instructions, err := guarded(ctx, h, r.spec, e)
	if err == nil && !r.spec.Allows(v.Action) {
		err = fmt.Errorf("%w: %s is not a verdict of %s", ErrHook, v.Action, e.Point)
	}
	if err == nil {
		err = r.apply()
	}
	cost := time.Since(start)
	if r.chain.Observe != nil {
		r.chain.Observe(info, cost, err)
	}
	changes := e.changes
	if err != nil {
		e.rollback()
		v, changes = r.failure(info), nil
	}
	r.note(info, v, changes, cost, instructions, err)
	return r.take(v, info)
}

// apply commits effects of hooks whose effects do not wait for a message.
func (r *run) apply() error {
	p := r.e.Pending
	if r.spec.Intents || len(p.Effects)+len(p.Submits) == 0 {
		return nil
	}
	effects, submits := p.Effects, p.Submits
	r.e.Pending = &Pending{}
	if r.e.Apply == nil {
		return fmt.Errorf("%w: nothing can be stored at %s", ErrHook, r.e.Point)
	}
	if err := r.e.Apply(effects, submits); err != nil {
		return fmt.Errorf("%w: %w", ErrHook, err)
	}
	return nil
}

// take folds a handler's verdict into the final one.
func (r *run) take(v Verdict, info Info) bool {
	switch {
	case v.Action == Continue:
		return false
	case v.Action == NoDSN:
		r.final.NoDSN = true
		return false
	case v.Action == Accept:
		if !r.accepted {
			r.accepted, r.tier = true, info.Tier
			r.final = v
		}
		return false
	case r.keep && (v.Action == Discard || v.Action == Reject):
		r.final = Verdict{Action: Keep}
		return true
	}
	v.NoDSN = r.final.NoDSN
	r.final = v
	return v.Action.ends()
}

// failure is the verdict of a handler that failed.
func (r *run) failure(info Info) Verdict {
	f := r.spec.Fail
	if info.OnError != "" {
		f = info.OnError
	}
	switch f {
	case FailDefer:
		status := r.spec.Status
		if status.Code == 0 {
			status = failing(451, "4.3.0")
		}
		return Verdict{Action: Defer, Status: status}
	case FailReject:
		return Verdict{Action: Reject, Status: mail.Status{Code: 550, Enhanced: "5.7.1", Text: "refused by local policy"}}
	case FailQuarantine:
		return Verdict{Action: Quarantine, Reason: "a policy failed"}
	case FailKeep:
		r.keep = true
	}
	return Verdict{}
}

func (r *run) note(info Info, v Verdict, changes []string, cost time.Duration, instructions int64, err error) {
	if v.Action == Continue && len(changes) == 0 && err == nil {
		return
	}
	by := info.Change()
	t := mail.TrailEntry{Time: r.e.Now, Step: stepOf(r.e.Point), Hook: string(r.e.Point), Handler: by.Handler,
		Bundle: by.Bundle, Generation: by.Generation, Verdict: v.String(), Changes: changes, Cost: cost, Instructions: instructions}
	if r.e.Rcpt != nil {
		t.Rcpt = r.e.Rcpt.Address
	}
	if err != nil {
		t.Err = err.Error()
	}
	r.trail = append(r.trail, t)
}

func stepOf(p Point) string {
	step, _, _ := strings.Cut(string(p), ".")
	return step
}

// guarded turns a panic of the engine into a failure of the handler.
func guarded(ctx context.Context, h Handler, spec Spec, e *Event) (v Verdict, n int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", ErrHook, p, debug.Stack())
		}
	}()
	return h.Call(ctx, spec, e)
}

// concerns reports whether the event is about mail of one of the domains.
func (e *Event) concerns(domains []string) bool {
	has := func(a mail.Address) bool { return slices.Contains(domains, a.Domain()) }
	switch {
	case e.Rcpt != nil:
		return has(e.Rcpt.Address) || has(e.Rcpt.Orig)
	case e.Group != nil:
		return slices.Contains(domains, e.Group.Domain)
	case e.Domain != "":
		return slices.Contains(domains, e.Domain)
	}
	if e.Session != nil && e.Session.Identity != nil && has(e.Session.Identity.User) {
		return true
	}
	for _, r := range e.Rcpts {
		if has(r.Address) {
			return true
		}
	}
	if e.Tx != nil {
		for _, r := range e.Tx.Recipients {
			if has(r.Address) {
				return true
			}
		}
	}
	return false
}
