// Package policyrun runs policies that no message triggers: timers, commands of
// operators, and HTTP requests.
//
//	timers.go  timer.tick, one handler at a time; the time of the run is committed with its effects
//	command.go admin.command
//	web.go     web.request
//	sandbox.go HTTP headers that keep pages of bundles apart
//	format1.go timers that an earlier version named differently
package policyrun

import (
	"context"
	"iter"
	"sync"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/service/auth"
	"carteiro/core/store"
	"carteiro/hooks"
)

// KV is the part of the store that a Runner reads.
type KV interface {
	Get(ctx context.Context, space, key string) ([]byte, error)
	Scan(ctx context.Context, space, prefix string, limit int) iter.Seq2[store.Pair, error]
}

// Directory lists the domains of ours; *auth.Directory is one.
type Directory interface {
	Domains() []auth.Domain
}

// Apply commits effects and submissions of a handler. It blocks until they are on
// disk.
type Apply func(ctx context.Context, gen *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error

// Parts are what a Runner is made of; all must be set.
type Parts struct {
	KV        KV
	Directory Directory
	Policies  *hooks.Current
	Apply     Apply
	Log       *telemetry.Journal
	Clock     *clock.Clock
}

// Runner runs policies.
type Runner struct {
	store    KV
	dir      Directory
	policies *hooks.Current
	apply    Apply
	log      *telemetry.Journal
	clock    *clock.Clock

	ticking sync.Mutex // one walk over the timers at a time
	adopted string     // generation for which timers of format 1 were looked for; guarded by ticking
}

// New makes a Runner.
func New(p Parts) *Runner {
	return &Runner{store: p.KV, dir: p.Directory, policies: p.Policies, apply: p.Apply, log: p.Log, clock: p.Clock}
}
