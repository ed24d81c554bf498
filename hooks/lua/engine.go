// Package lua is the policy engine that Carteiro ships: it runs Lua 5.1
// without coroutines on gopher-lua and implements hooks.Engine. hooks/README.md
// says what the files are about.
//
// A Load checks everything that can be checked before the policies count: limits
// on the source text, syntax, unknown and accidental globals, hook names, options
// and literal verdicts; then it runs the files once in a scratch state. Load is
// deterministic, changes nothing on error and returns all errors that it found as
// *source.Error, joined.
//
// A call is bounded in instructions, wall time and octets of strings and tables
// made; pcall cannot escape that. Scripts reach only functions of this package.
// These limits are for mistakes: they are not a wall against an author who wants
// to do harm, because Go cannot account for the memory of a single call.
package lua

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"carteiro/hooks/lua/source"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/service/srs"
	"carteiro/core/store"
	"carteiro/hooks"
)

var setUp sync.Once

// Accounts answers what scripts ask about accounts.
type Accounts interface {
	Exists(ctx context.Context, a envelope.Address) bool
	// Setting is what `account set` stored, decoded JSON; nil when absent.
	Setting(ctx context.Context, a envelope.Address, name string) (any, error)
	// Confirmed reports whether that setting was set as confirmed.
	Confirmed(ctx context.Context, a envelope.Address, name string) (bool, error)
	// ResolveForPolicy resolves a local address: to a mailbox, or to other addresses;
	// to neither if nobody has it.
	ResolveForPolicy(ctx context.Context, a envelope.Address) (mailbox envelope.Address, targets []envelope.Address, err error)
	// MaySendAs is "as", "behalf" or "" for no.
	MaySendAs(ctx context.Context, user, a envelope.Address) string
	// Owns reports whether an address is the user's own: the account's, with any
	// tag, or an alias that leads to it.
	Owns(ctx context.Context, user, a envelope.Address) bool
	// AccountOf returns the one account that an address leads to, or "".
	AccountOf(ctx context.Context, a envelope.Address) envelope.Address

	// Grant, Revoke and Granted give rights, take them back and list them; a
	// grant's error is for who asked.
	Grant(ctx context.Context, owner, delegate envelope.Address, right string, until time.Time) error
	Revoke(ctx context.Context, owner, delegate envelope.Address, right string) error
	Grants(ctx context.Context, owner envelope.Address) []envelope.Grant

	// Login verifies credentials and returns the account; it blocks for the
	// work, and longer after wrong guesses.
	Login(ctx context.Context, cred *envelope.Credentials) (envelope.Address, error)
}

// Options are what an engine needs of the server. Zero values leave out what
// depends on them: without KV, kv and rate raise; without Resolver, dns does.
type Options struct {
	KV       store.KV
	Resolver Resolver
	Accounts Accounts
	HTTP     Doer // nil: http raises
	// Refused, if set, is called for each request that was refused because its
	// host leads to a private network. It must not block.
	Refused  func(host string)
	Metrics  Metrics // nil: what scripts count is dropped
	Milters  Milters // nil: milter raises
	Spam     Spam    // nil: spam raises
	Keys     Keys    // nil: crypt.openpgp, crypt.smime and crypt.has_key raise
	Cover    *Coverage
	Clock    *clock.Clock
	Log      *slog.Logger
	Hostname string
	WebURL   string    // how the world reaches the http listener, see server.url
	Secret   []byte    // of server.sign
	Ring     *srs.Ring // signs addr.srs and addr.verp; without keys they raise
	// Local reports whether a domain is one of this server; its senders need no SRS.
	Local func(domain string) bool
	// Observe, if set, is called after each call of a handler; it must not block.
	Observe func(c hooks.Call)
	// Usage, if set, is called after each call of a bundle; it must not block.
	Usage func(Usage)
	// Strict makes Load run the checks of `scripts check`, which find code that is
	// certain to fail. Without it such code raises an error only when it runs.
	Strict bool
	// Like, if set, is an engine with which this one shares compiled files: for
	// engines that load the same sources one after the other.
	Like *Engine
	// HeapLimit ends calls while the process's heap holds more octets; 0: nine
	// tenths of the runtime's memory limit where one is set, else 4 GiB.
	HeapLimit uint64
}

// Usage is what one call of a bundle cost.
type Usage struct {
	Bundle       string
	Domain       string // at hand; "": the server as a whole
	Instructions int64
	Submits      int // messages sent
	Failed       bool
}

// Engine implements hooks.Engine. It is safe for concurrent use.
type Engine struct {
	Options
	heapLimit uint64
	small     []glua.LValue
	rates     rates
	claims    claims
	programs  *atomic.Pointer[programs] // of the last sources that compiled
	tests     *atomic.Pointer[programs] // of the last test file
}

var _ hooks.Engine = (*Engine)(nil)

// New makes an engine. It starts nothing.
func New(o Options) *Engine {
	setUp.Do(func() {
		glua.MaxArrayIndex = maxArrayIndex
		glua.CompatVarArg = false // there is no arg in a function with "..."
	})
	e := &Engine{
		Options:   o,
		heapLimit: o.HeapLimit,
		small:     makeSmall(),
		programs:  &atomic.Pointer[programs]{},
		tests:     &atomic.Pointer[programs]{},
	}
	if o.Like != nil {
		e.programs, e.tests, e.Like = o.Like.programs, o.Like.tests, nil
	}
	if e.heapLimit == 0 {
		e.heapLimit = 4 << 30
		if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
			e.heapLimit = uint64(limit) / 10 * 9
		}
	}
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	if e.Local == nil {
		e.Local = func(string) bool { return false }
	}
	e.rates.tat = map[string]time.Time{}
	e.claims.until = map[string]claim{}
	return e
}

// generation is what a generation shares: compiled sources, maps, handlers, pools.
type generation struct {
	engine   *Engine
	id       string
	sources  []*loadedSource
	handlers []*handler
	mapMu    sync.Mutex
	maps     map[tableKey]*table
	memoMu   sync.Mutex
	memos    []*memo
	secretMu sync.Mutex
	secrets  map[hooks.Secret]string
	regexes  regexes
	fast     *pool
	slow     *pool // for handlers that may wait for the network
}

// usesGlobal reports whether the code of a source reads a global.
func (s *generation) usesGlobal(name string) bool {
	return slices.ContainsFunc(s.sources, func(u *loadedSource) bool { return u.uses[name] })
}

// Load compiles, checks and loads sources. It blocks for the work and at most
// the budgets of the files' own code.
func (e *Engine) Load(ctx context.Context, sources []hooks.Source) (_ *hooks.Generation, err error) {
	step := "compile"
	defer guardLoad(&step, &err)
	s := &generation{engine: e, id: digest(sources), maps: map[tableKey]*table{}, secrets: map[hooks.Secret]string{}}
	sources = slices.Clone(sources)
	if err := orderBundles(sources); err != nil {
		return nil, hooks.AtStep("verify", err)
	}
	var errs, faults []error
	var old programs
	if p := e.programs.Load(); p != nil {
		old = *p
	}
	used := programs{}
	for _, src := range sources {
		u, err := compileSource(src, e.Strict, old, used)
		if u != nil {
			faults = append(faults, u.faults...)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if src.Bundle != "" {
			u.ownDomain = s.ownDomains(&u.src)
		}
		s.sources = append(s.sources, u)
		if e.Cover != nil {
			e.Cover.add(u)
		}
	}
	if len(errs) > 0 {
		return nil, hooks.AtStep("compile", errors.Join(source.SortFaults(append(errs, faults...))...))
	}
	e.programs.Store(&used)
	step = "scratch"
	scratch, err := s.loadFirst(ctx)
	if err != nil || len(faults) > 0 {
		return nil, hooks.AtStep("scratch", errors.Join(source.SortFaults(append(faults, err))...))
	}
	step = "warm"
	if err := s.fillPool(ctx, scratch); err != nil {
		return nil, hooks.AtStep("warm", err)
	}
	handlers := make([]hooks.Handler, len(s.handlers))
	for i, h := range s.handlers {
		handlers[i] = h
	}
	chain := hooks.NewChain(handlers)
	chain.OnCall = e.Observe
	return &hooks.Generation{ID: s.id, Loaded: e.Clock.Now(), Sources: sources, Chain: chain}, nil
}

// fillPool fills the fast pool.
func (s *generation) fillPool(ctx context.Context, scratch *state) error {
	n := 2 * runtime.GOMAXPROCS(0)
	s.fast, s.slow = newPool(n, 0), newPool(maxSlow, slowIdle)
	s.fast.addIdle(scratch)
	for range n - 1 {
		st, err := s.loadAnother(ctx)
		if err != nil {
			return fmt.Errorf("a file loads differently the second time: %w", err)
		}
		s.fast.addIdle(st)
	}
	return nil
}

// digest returns the first 12 hexadecimal digits of a digest over all sources.
func digest(sources []hooks.Source) string {
	h := sha256.New()
	put := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	for _, src := range sources {
		files := src.Files
		src.Files = nil
		meta, err := json.Marshal(src)
		if err != nil {
			meta = fmt.Appendf(nil, "%#v", src)
		}
		put(string(meta))
		for _, name := range sortedKeys(files) {
			put(name)
			put(string(files[name]))
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}
