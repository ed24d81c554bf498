// Package admin has the calls that operators make to a server: they have a name, and JSON
// arguments and answers. The command line uses them through the server's unix
// socket (mode 0600: who can open it may do everything), or, for accounts,
// aliases and domains, on a store that no server has open; programs may also
// come through an http listener, with a token. It decides nothing
// about mail; it calls core and auth.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"carteiro/core"
	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/generations"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/events"
	"carteiro/core/service/auth"
	"carteiro/core/service/spam"
	"carteiro/core/service/srs"
	"carteiro/core/store"
)

// ErrUnavailable: the call needs a running server.
var ErrUnavailable = errors.New("needs the running server")

// Service answers calls. Store, Directory, Keys and Spam are always set; the rest is nil
// if no server runs.
type Service struct {
	Store     store.Store
	Directory *auth.Directory
	Returns   *srs.Keys
	Keys      *crypt.Keys
	Pipeline  *core.Pipeline
	Journal   *telemetry.Journal
	Spam      *spam.Filter
	Clock     *clock.Clock
	TestClock bool
	Version   string
	Started   time.Time
	Hostname  string
	// Reload reads scripts, bundles and the reloadable settings anew and
	// returns the generation that is in force now.
	Reload func(ctx context.Context, by string) (Generation, error)
	// Policies are the current and the earlier generations.
	Policies *generations.Manager
	// Generation describes the policies in force.
	Generation func() Generation
	// BundleUsage is what bundles cost since the server started.
	BundleUsage func() []BundleUsage
	// PrivateHosts are those to which http requests of policies are refused.
	PrivateHosts func() []string
	// CheckSetting refuses a value that a bundle could not read.
	CheckSetting func(a envelope.Address, name string, value any) error
	// Listeners are the addresses that the server got.
	Listeners func() []Listener
}

// Generation describes a set of policies.
type Generation struct {
	ID       string    `json:"id"`
	Loaded   time.Time `json:"loaded"`
	Handlers int       `json:"handlers"`
	// Fallback: the files on disk are broken, this is the last good one.
	Fallback bool `json:"fallback,omitempty"`
	// Pinned is why the policies are those of a rollback, and not the files on disk.
	Pinned string `json:"pinned,omitempty"`
	// Probation is until when it is watched, and rolled back if it does badly.
	Probation time.Time `json:"probation,omitzero"`
}

// BundleUsage is what a bundle cost for one domain, or with Domain "" for the
// server as a whole.
type BundleUsage struct {
	Bundle       string `json:"bundle"`
	Domain       string `json:"domain"`
	Calls        int64  `json:"calls"`
	Instructions int64  `json:"instructions"`
	Submits      int64  `json:"submits"`
	Errors       int64  `json:"errors"`
}

// Listener is one address that the server answers at.
type Listener struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Addr     string `json:"addr"`
	TLS      string `json:"tls"`
}

// method is one call, and an empty value of its arguments.
type method struct {
	call func(ctx context.Context, s *Service, args json.RawMessage) (any, error)
	args any
}

// typed makes a method of a function with its own argument type; unknown
// fields are errors, as unknown settings are.
func typed[A any](f func(ctx context.Context, s *Service, args A) (any, error)) method {
	var empty A
	return method{args: empty, call: func(ctx context.Context, s *Service, raw json.RawMessage) (any, error) {
		var args A
		if len(raw) > 0 {
			if err := decodeStrict(raw, &args); err != nil {
				return nil, err
			}
		}
		return f(ctx, s, args)
	}}
}

// methods is the table of calls.
func methods() map[string]method {
	return map[string]method{
		"status":  typed(status),
		"reload":  typed(reload),
		"clock":   typed(advance),
		"explain": typed(explain),
		"command": typed(command),

		"command.list": typed(commandList),
		"bundle.usage": typed(bundleUsage),

		"generation.list":     typed(generationList),
		"generation.diff":     typed(generationDiff),
		"generation.rollback": typed(generationRollback),

		"account.add":      typed(accountAdd),
		"account.rm":       typed(accountRemove),
		"account.list":     typed(accountList),
		"account.show":     typed(accountShow),
		"account.set":      typed(accountSet),
		"account.password": typed(accountPassword),
		"account.grant":    typed(accountGrant),
		"account.revoke":   typed(accountRevoke),
		"account.audit":    typed(accountAudit),
		"alias.add":        typed(aliasAdd),
		"alias.rm":         typed(aliasRemove),
		"alias.list":       typed(aliasList),
		"alias.import":     typed(aliasImport),
		"key.add":          typed(keyAdd),
		"key.rm":           typed(keyRemove),
		"key.list":         typed(keyList),
		"srs.list":         typed(srsList),
		"srs.rotate":       typed(srsRotate),
		"domain.add":       typed(domainAdd),
		"domain.rm":        typed(domainRemove),
		"domain.list":      typed(domainList),

		"spam.learn":    typed(spamLearn),
		"spam.unlearn":  typed(spamUnlearn),
		"spam.classify": typed(spamClassify),
		"spam.stats":    typed(spamStats),

		"queue.list":    typed(queueList),
		"queue.show":    typed(queueShow),
		"queue.summary": typed(queueSummary),
		"queue.operate": typed(queueOperate),
	}
}

// Methods are the calls by name, each with an empty value of its arguments.
func Methods() map[string]any {
	out := map[string]any{}
	for name, m := range methods() {
		out[name] = m.args
	}
	return out
}

// Call does one call and returns what its answer is made of.
func (s *Service) Call(ctx context.Context, name string, args json.RawMessage) (any, error) {
	m, ok := methods()[name]
	if !ok {
		return nil, fmt.Errorf("no call %q", name)
	}
	return m.call(ctx, s, args)
}

// none is for calls without arguments.
type none struct{}

// StatusReport is the answer of "status".
type StatusReport struct {
	Version    string      `json:"version"`
	Hostname   string      `json:"hostname"`
	Started    time.Time   `json:"started"`
	Now        time.Time   `json:"now"`
	Generation Generation  `json:"generation"`
	InFlight   int         `json:"in_flight"`
	Store      store.Stats `json:"store"`
	Listeners  []Listener  `json:"listeners"`
	Watched    int         `json:"watched"` // by how many `carteiro trace`
	// Events counts the events that handlers of observe.event have not got yet.
	Events events.Backlog `json:"events"`
	// PrivateHosts lead to private networks and were not granted so: http
	// requests of policies to them are refused.
	PrivateHosts []string `json:"private_hosts,omitempty"`
}

func status(ctx context.Context, s *Service, _ none) (any, error) {
	if s.Pipeline == nil {
		return nil, ErrUnavailable
	}
	events, err := s.Pipeline.Events(ctx)
	if err != nil { // the rest is needed most when the store has failed
		s.Journal.WarnContext(ctx, "events not counted", "err", err)
	}
	var private []string
	if s.PrivateHosts != nil {
		private = s.PrivateHosts()
	}
	return StatusReport{PrivateHosts: private, Version: s.Version, Hostname: s.Hostname, Started: s.Started, Now: s.Clock.Now(),
		Generation: s.Generation(), InFlight: s.Pipeline.InFlight(), Store: s.Store.Stats(), Listeners: s.Listeners(),
		Watched: s.Journal.Tracer.Watchers(), Events: events}, nil
}

// ReloadArgs say who wants a reload: "cli", or "api", which is also the meaning of "".
type ReloadArgs struct {
	By string `json:"by,omitempty"`
}

func reload(ctx context.Context, s *Service, a ReloadArgs) (any, error) {
	if s.Reload == nil {
		return nil, ErrUnavailable
	}
	switch a.By {
	case "":
		a.By = "api"
	case "api", "cli":
	default:
		return nil, fmt.Errorf("by: %q is none of api, cli", a.By)
	}
	return s.Reload(ctx, a.By)
}

func bundleUsage(_ context.Context, s *Service, _ none) (any, error) {
	if s.BundleUsage == nil {
		return nil, ErrUnavailable
	}
	return s.BundleUsage(), nil
}

type advanceArgs struct {
	By time.Duration `json:"by"`
}

// advance moves the test clock. Timers that become due have run when it returns, so that
// they run once for each of several calls.
func advance(ctx context.Context, s *Service, a advanceArgs) (any, error) {
	if !s.TestClock {
		return nil, errors.New("this server lives by the system's clock; start it with --test-clock, or use `carteiro dev`")
	}
	if a.By <= 0 {
		return nil, errors.New("a clock goes forward")
	}
	s.Clock.Advance(a.By)
	if s.Pipeline != nil {
		if err := s.Pipeline.Tick(ctx); err != nil {
			return nil, err
		}
	}
	return map[string]time.Time{"now": s.Clock.Now()}, nil
}

// Handler serves calls as POST /v1/NAME, and what any monitor may ask.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/submit", s.serveSubmit)
	mux.HandleFunc("POST /v1/{name}", s.serveCall)
	mux.HandleFunc("GET /v1/trace", s.serveTrace)
	mux.HandleFunc("GET /v1/mbox", s.serveMbox)
	mux.Handle("GET /metrics", Metrics(s.Journal))
	mux.HandleFunc("GET /health", Health(s.Store))
	return mux
}
