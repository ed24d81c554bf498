package hooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
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

// String returns the tier as `scripts order` prints it.
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
	Every      time.Duration // timer.tick: the time between two calls
	EachDomain bool          // timer.tick: for each domain in turn
	Path       string        // web.request: begins with "/"
	PlainWeb   bool          // web.request: its pages run without the sandbox
	Command    string        // admin.command: the first word of the command line
	Events     []string      // observe.event: only these; nil: all
	Listener   string        // only sessions of this listener
	Login      bool          // only sessions, and mail, of users who logged in
	Domains    []string      // only mail of these domains; nil: all
	Except     []string      // with Domains nil: no mail that is of these domains alone
	NoOutgoing bool          // is not asked about outgoing mail of its domains
	Number     int           // among the handlers of its file at its hook, by line; NewChain sets it
	key        string        // what Key is, once the number is set
	MayBlock   bool          // uses dns, http, milter or auth
	Code       string        // digest of its file; it changes with each edit
	Generation string
}

// WantsEvent reports whether a handler of observe.event wants an event.
func (i Info) WantsEvent(event string) bool {
	return i.Events == nil || slices.Contains(i.Events, event)
}

// Name returns the handler as people see it: "file:line" or "bundle@version file:line".
func (i Info) Name() string {
	at := i.place()
	if i.Bundle == "" {
		return at
	}
	return i.Bundle + "@" + i.Version + " " + at
}

// place returns where the handler stands: its file, below domains/ for a domain's own
// script, and its line.
func (i Info) place() string {
	file := i.File
	if i.Tier == Domain {
		file = "domains/" + i.Owner() + "/" + file
	}
	return fmt.Sprintf("%s:%d", file, i.Line)
}

// Change returns the handler as the author of a change.
func (i Info) Change() envelope.Change {
	c := envelope.Change{Hook: string(i.Point), Handler: i.place(), Generation: i.Generation}
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

// Chain asks handlers in their order. It is safe for concurrent use, each
// Event by one goroutine. All that changes in it are the breakers: a handler
// that failed 20 times within 60 s, and more often than not, is not asked for
// 30 s, then one call tries it again; meanwhile it counts as failing.
type Chain struct {
	points map[Point][]link
	// OnCall, if set, is called after each call of a handler. It must not block.
	OnCall func(c Call)
	// OnRun, if set, is called after each walk through the handlers of a hook, and
	// by Passed for a hook that has none. It must not block.
	OnRun func(r RunStats)
}

// RunStats is the outcome of one walk through the handlers of a hook.
type RunStats struct {
	Point       Point
	Verdict     Verdict // that the stage obeys
	Calls       int     // of handlers; an error of the store is not a failure of the handler
	Failures    int
	BreakerOpen bool // a handler was not called because it failed too often
	// WorstHandler is the handler with the largest share of failures, of those that failed.
	WorstHandler CallStats
}

// CallStats counts the calls and failures of a handler since it was loaded.
type CallStats struct {
	Handler         string
	Calls, Failures int64
	Err             string // the last failure's first line
}

// Share returns the share of the calls that failed.
func (o CallStats) Share() float64 { return float64(o.Failures) / float64(max(o.Calls, 1)) }

// Call is the outcome of one call of a handler.
type Call struct {
	Info         Info
	Verdict      Verdict // what its failure means, if it failed
	Changes      []string
	Cost         time.Duration
	Instructions int64
	Err          error // nil, or it wraps ErrHook
	Event        *Event
}

// link is a handler in its place.
type link struct {
	Handler
	info    Info
	key     string // info.Key
	breaker *breaker
}

// NewChain sorts handlers by tier, bundle position, order, file and line.
func NewChain(handlers []Handler) *Chain {
	c := &Chain{points: map[Point][]link{}}
	for _, h := range handlers {
		info := h.Info()
		c.points[info.Point] = append(c.points[info.Point], link{Handler: h, info: info, breaker: &breaker{}})
	}
	for _, hs := range c.points {
		infos := make([]*Info, len(hs))
		for i := range hs {
			infos[i] = &hs[i].info
		}
		Number(infos)
		for i := range hs {
			hs[i].key = hs[i].info.Key()
		}
		slices.SortStableFunc(hs, func(a, b link) int {
			x, y := &a.info, &b.info
			return cmp.Or(cmp.Compare(x.Tier, y.Tier), cmp.Compare(x.Position, y.Position), cmp.Compare(x.Order, y.Order),
				strings.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
		})
	}
	return c
}

// Infos describes the handlers of a hook in their order, with their numbers.
func (c *Chain) Infos(p Point) []Info {
	if c == nil {
		return nil
	}
	list := make([]Info, len(c.points[p]))
	for i, l := range c.points[p] {
		list[i] = l.info
	}
	return list
}

// Handlers returns the handlers of a hook in their order.
func (c *Chain) Handlers(p Point) []Handler {
	list := make([]Handler, len(c.points[p]))
	for i, l := range c.points[p] {
		list[i] = l.Handler
	}
	return list
}

// Has reports whether the hook p has handlers: without them a stage need not
// make an Event.
func (c *Chain) Has(p Point) bool { return c != nil && len(c.points[p]) > 0 }

// HasObserver reports whether a handler of observe.event wants one of these
// events; the others need not be made.
func (c *Chain) HasObserver(events ...string) bool {
	if c == nil {
		return false
	}
	for i := range c.points[ObserveEvent] {
		if slices.ContainsFunc(events, c.points[ObserveEvent][i].info.WantsEvent) {
			return true
		}
	}
	return false
}

// Run asks the handlers of e.Point in turn and returns the verdict that the
// stage has to obey, and a trail entry for each handler that decided, changed
// or failed. It never returns an error: a failure has become the verdict that
// the table or on_error says.
func (c *Chain) Run(ctx context.Context, e *Event) (Verdict, []envelope.TrailEntry) {
	run := run{chain: c, e: e}
	if e.Now.IsZero() {
		e.Now = time.Now()
	}
	spec, ok := SpecOf(e.Point)
	if !ok || !c.Has(e.Point) {
		return Verdict{}, nil
	}
	run.spec = spec
	if spec.Sides {
		run.askBothSides(ctx)
	} else {
		run.askTiers(ctx, Admin, After)
	}
	run.reportStats()
	return run.final, run.trail
}

// askTiers asks the handlers of some tiers in turn until one ends the chain.
func (r *run) askTiers(ctx context.Context, from, to Tier) {
	links := r.chain.points[r.e.Point]
	for i := range links {
		l := &links[i]
		if l.info.Tier < from || l.info.Tier > to || r.skip(l) {
			continue
		}
		if r.ended = r.askOne(ctx, l); r.ended {
			return
		}
	}
}

// CountEmpty counts a hook that has no handlers, so that the share of refused mail
// can be compared with that of a chain that has some.
func (c *Chain) CountEmpty(p Point) {
	if c != nil && c.OnRun != nil {
		c.OnRun(RunStats{Point: p})
	}
}

// RunOne is Run for a single handler, the one at position n of Handlers. Timers
// and handlers that run after the 250 are called one by one.
func (c *Chain) RunOne(ctx context.Context, e *Event, n int) (Verdict, []envelope.TrailEntry) {
	spec, ok := SpecOf(e.Point)
	if !ok || n >= len(c.points[e.Point]) {
		return Verdict{}, nil
	}
	if !c.points[e.Point][n].info.Applies(e) {
		return Verdict{}, nil
	}
	run := run{chain: c, e: e, spec: spec}
	run.askOne(ctx, &c.points[e.Point][n])
	run.reportStats()
	return run.final, run.trail
}

// maxTrailError is what a trail keeps of an error and its traceback.
const maxTrailError = 2000

// run is the state of one walk through the handlers.
type run struct {
	chain    *Chain
	spec     Spec
	e        *Event
	final    Verdict
	accepted bool
	tier     Tier // in which accept was said last
	ended    bool // a verdict ended the chain, or the current side
	keep     bool // a handler failed with "keep": nothing may drop the message
	trail    []envelope.TrailEntry
	stats    RunStats
}

// reportStats calls Ran with the outcome of the walk.
func (r *run) reportStats() {
	if r.chain.OnRun != nil {
		r.stats.Point, r.stats.Verdict = r.e.Point, r.final
		r.chain.OnRun(r.stats)
	}
}

// count adds a call to the outcome of the walk.
func (r *run) count(l *link, err error) {
	r.stats.Calls++
	if err == nil {
		return
	}
	r.stats.Failures++
	r.stats.BreakerOpen = r.stats.BreakerOpen || errors.Is(err, ErrOpen)
	calls, failures := l.breaker.stats()
	if o := (CallStats{Calls: calls, Failures: failures}); r.stats.WorstHandler.Calls == 0 || o.Share() > r.stats.WorstHandler.Share() {
		o.Handler = l.info.Name()
		o.Err, _, _ = strings.Cut(strings.TrimPrefix(err.Error(), ErrHook.Error()+": "), "\n")
		r.stats.WorstHandler = o
	}
}

// skip: accept ends its own tier and those below. The admin's last word is
// below none: it is skipped only by an accept of its own.
func (r *run) skip(l *link) bool {
	info := &l.info
	if r.accepted && info.Tier >= r.tier && (info.Tier != After || r.tier == After) {
		return true
	}
	if r.e.Point == QueueExpand && r.e.Msg != nil && len(r.e.Msg.ForkMakers) > 0 && r.e.Msg.madeBy(l.key, r.e.Rcpt.Address) {
		return true // its own fork
	}
	return !info.Applies(r.e) || r.e.twoSided && !info.isAskedForSide(r.e)
}

// askOne asks one handler and reports whether the chain ends.
func (r *run) askOne(ctx context.Context, l *link) bool {
	e := r.e
	if e.Pending == nil {
		e.Pending = &Pending{}
	}
	e.begin(r.spec.Changes)
	e.direction, e.handler = directionFor(e, &l.info), l.key
	start := time.Now()
	var v Verdict
	var instructions int64
	err := l.breaker.allow(e)
	if err == nil {
		v, instructions, err = r.call(ctx, l)
		counts := !isCausedByMail(e, err) || l.breaker.countsAgainstHandler(e)
		l.breaker.record(e.Now, err != nil, counts)
		if counts {
			r.count(l, err)
		}
		if err == nil {
			err = r.applyEffects() // the store's fault, not the handler's
		}
	} else if !errors.Is(err, ErrNetwork) {
		r.count(l, err)
	}
	cost := time.Since(start)
	changes := e.changes
	if err != nil {
		e.rollback()
		v, changes = r.failure(&l.info), nil
		if v.Action == Defer && isCausedByMail(e, err) && e.OnExhausted != nil {
			v = e.OnExhausted(l.info, v, err)
		}
	}
	if r.chain.OnCall != nil {
		r.chain.OnCall(Call{Info: l.info, Verdict: v, Changes: changes, Cost: cost, Instructions: instructions, Err: err, Event: e})
	}
	r.addTrail(&l.info, v, changes, cost, instructions, err)
	return r.applyVerdict(e.limitToDomain(&l.info, v), l.info.Tier)
}

// call calls the handler and checks its verdict.
func (r *run) call(ctx context.Context, l *link) (Verdict, int64, error) {
	v, instructions, err := callGuarded(ctx, l.Handler, r.spec, r.e)
	if err == nil && !r.spec.Allows(v.Action) {
		err = fmt.Errorf("%w: %s is not a verdict of %s", ErrHook, v.Action, r.e.Point)
	}
	if user, ok := v.Identity["user"].(string); err == nil && ok && !l.info.speaksFor(user) {
		err = fmt.Errorf("%w: accept: %s is a user of a domain that this policy does not serve", ErrHook, user)
	}
	return v, instructions, err
}

// applyEffects commits effects of hooks whose effects do not wait for a message.
func (r *run) applyEffects() error {
	p := r.e.Pending
	if r.spec.InCommit || len(p.Effects)+len(p.Submits) == 0 {
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

// applyVerdict folds a handler's verdict into the final one.
func (r *run) applyVerdict(v Verdict, tier Tier) bool {
	switch {
	case v.Action == Continue:
		return false
	case v.Action == NoDSN:
		r.final.NoDSN = true
		return false
	case v.Action == Accept:
		if !r.accepted {
			v.NoDSN = r.final.NoDSN
			r.final = v // the first says who logged in
		}
		r.accepted, r.tier = true, tier
		return false
	case r.keep && (v.Action == Discard || v.Action == Reject):
		r.final = Verdict{Action: Keep, NoDSN: r.final.NoDSN}
		return true
	}
	v.NoDSN = r.final.NoDSN
	r.final = v
	return v.Action.ends()
}

// failure returns the verdict of a handler that failed.
func (r *run) failure(info *Info) Verdict {
	f := r.spec.Fail
	if info.OnError != "" {
		f = info.OnError
	}
	switch f {
	case FailDefer:
		status := r.spec.Status
		if status.Code == 0 {
			status = failStatus(451, "4.3.0")
		}
		return Verdict{Action: Defer, Status: status}
	case FailReject:
		return Verdict{Action: Reject, Status: envelope.Status{Code: 550, Enhanced: "5.7.1", Text: "refused by local policy"}}
	case FailQuarantine:
		return Verdict{Action: Quarantine, Reason: "a policy failed"}
	case FailKeep:
		r.keep = true
	}
	return Verdict{}
}

func (r *run) addTrail(info *Info, v Verdict, changes []string, cost time.Duration, instructions int64, err error) {
	if v.Action == Continue && len(changes) == 0 && err == nil {
		return
	}
	by := info.Change()
	t := envelope.TrailEntry{Time: r.e.Now, Step: stepOf(r.e.Point), Hook: string(r.e.Point), Handler: by.Handler,
		Bundle: by.Bundle, Generation: by.Generation, Verdict: v.String(), Changes: changes, Cost: cost, Instructions: instructions}
	if r.e.Rcpt != nil {
		t.Rcpt = r.e.Rcpt.Address
	}
	if err != nil {
		t.Err = err.Error()
		if len(t.Err) > maxTrailError {
			t.Err = t.Err[:maxTrailError]
		}
	}
	r.trail = append(r.trail, t)
}

func stepOf(p Point) string {
	step, _, _ := strings.Cut(string(p), ".")
	return step
}

// callGuarded turns a panic of the engine into a failure of the handler.
func callGuarded(ctx context.Context, h Handler, spec Spec, e *Event) (v Verdict, n int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", ErrHook, p, debug.Stack())
		}
	}()
	return h.Call(ctx, spec, e)
}
