package hooks

import (
	"context"
	"sync/atomic"
	"time"
)

// Source is what an engine loads as a whole: a script directory, a domain's
// own scripts, or a bundle.
type Source struct {
	Name     string // "scripts", "scripts/domains/example.com" or the bundle's name
	Bundle   string // "" for scripts
	Version  string
	Tier     Tier
	Position int      // of the bundle in the configuration
	Domains  []string // nil: all
	Except   []string // domains that it is not for, where Domains is nil
	// NoOutgoing: it is not asked about outgoing mail of its domains.
	NoOutgoing bool              `json:",omitempty"`
	Files      map[string][]byte // by path relative to the source, "/" separated
	Main       []string          // the files to run, in order; others are for require and map.open
	Config     map[string]any    // bundle's settings
	// DomainConfig holds the settings of domains that have their own: whole,
	// not what differs from Config.
	DomainConfig map[string]map[string]any
	Grants       *Grants  // nil: everything
	HTTP         []string // that http may reach, see lua.HTTPGrant
	PlainWeb     bool     `json:",omitempty"` // its pages run without the sandbox
	Requires     []string // bundles whose files require finds
	After        []string // bundles of the same tier that are asked before
	// Settings are those of accounts that the bundle reads, by name.
	Settings map[string]Field `json:",omitempty"`
	Limits   Limits
}

// What a source has in one call where its Limits say nothing else.
const (
	FreeAlloc      = 64 << 20 // octets of strings and tables made
	FreeKV         = 200
	FreeDNS        = 50
	FreeHTTP       = 5
	FreeSubmits    = 10
	FreeRecipients = 1000
)

// Limits are a source's own; 0: the default. Wall, Instructions and Alloc
// count where they are stricter than the hook's, or where they were granted.
type Limits struct {
	Wall         time.Duration
	Instructions int64
	Alloc        int64 // octets of strings and tables made
	Granted      bool  // by the admin: they may be more than the hook's
	Recipients   int   // added per call
	Submits      int   // per call
	KV           int   // operations per call
	DNS          int   // look-ups per call
	HTTP         int   // requests per call
}

// Generation is an immutable set of policies, swapped as a whole. A mail
// transaction keeps the one it began with.
type Generation struct {
	ID      string // 12 hexadecimal digits of the digest over all sources
	Loaded  time.Time
	Sources []Source
	Chain   *Chain

	retired atomic.Int64 // when another took its place, Unix nanoseconds; 0: it is in force
}

// MaxRetired is how long a generation may serve transactions that began with
// it after another took its place.
const MaxRetired = 10 * time.Minute

// Retire notes that another generation has replaced this one.
func (g *Generation) Retire(now time.Time) { g.retired.Store(now.UnixNano()) }

// IsExpired reports whether it was replaced more than MaxRetired ago.
func (g *Generation) IsExpired(now time.Time) bool {
	at := g.retired.Load()
	return at != 0 && now.UnixNano()-at > int64(MaxRetired)
}

// StepError is an error of one step of a reload: "verify", "compile",
// "scratch" or "warm". It reads as the error that it holds.
type StepError struct {
	Step string
	Err  error
}

func (e *StepError) Error() string { return e.Err.Error() }

func (e *StepError) Unwrap() error { return e.Err }

// AtStep makes a StepError, or nil of nil.
func AtStep(step string, err error) error {
	if err == nil {
		return nil
	}
	return &StepError{step, err}
}

// Engine turns sources into a generation. It returns all errors that it
// finds, joined, each with "file:line: ", and changes nothing.
type Engine interface {
	Load(ctx context.Context, sources []Source) (*Generation, error)
}

type lenientKey struct{}

// Lenient has Engine.Load take sources that an earlier version took and that
// are refused when they are loaded anew: what is wrong there had no effect, and
// has none now. A start and a rollback load so, that an upgrade of the server
// needs no change of policies.
func Lenient(ctx context.Context) context.Context {
	return context.WithValue(ctx, lenientKey{}, true)
}

// IsLenient reports whether the context is one of Lenient.
func IsLenient(ctx context.Context) bool {
	lenient, _ := ctx.Value(lenientKey{}).(bool)
	return lenient
}

// Current is the generation in force.
type Current struct{ p atomic.Pointer[Generation] }

// Get returns the generation in force, never nil: without one, an empty one.
func (c *Current) Get() *Generation {
	if g := c.p.Load(); g != nil {
		return g
	}
	return &Generation{ID: "none", Chain: &Chain{}}
}

// Swap puts g in force and returns the one before, or nil. It retires
// nothing: its caller knows the time.
func (c *Current) Swap(g *Generation) *Generation {
	g.retired.Store(0)
	return c.p.Swap(g)
}
