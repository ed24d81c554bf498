package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core"
	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/config"
	"carteiro/core/ops/generations"
	"carteiro/core/ops/telemetry"
	"carteiro/core/protocol/netline"
	"carteiro/core/protocol/pop3"
	"carteiro/core/protocol/smtpout"
	"carteiro/core/service/auth"
	"carteiro/core/service/dns"
	"carteiro/core/service/spam"
	"carteiro/core/service/srs"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
	"carteiro/hooks/lua"
)

// serverOptions are what a command adds to the configuration.
type serverOptions struct {
	offline bool         // store and directory alone
	clock   *clock.Clock // that can be moved; nil is the system's
	log     io.Writer    // default standard error
}

// server is a whole server, put together but not serving yet.
type server struct {
	cfg       *config.Config
	opt       serverOptions
	journal   *telemetry.Journal
	clock     *clock.Clock
	store     *badgerstore.Store
	directory *auth.Directory
	spam      *spam.Filter
	returns   *srs.Keys
	keys      *crypt.Keys
	resolver  *dns.Resolver
	engine    *lua.Engine
	policies  *generations.Manager
	usage     bundleUsage
	refused   refusedHosts
	out       *smtpout.Client
	pipeline  *core.Pipeline
	limits    *netline.Limits
	certs     *certificates
	listeners []*listener
	maildrops []*pop3.Server // of the listeners that hand mail out
	started   time.Time
}

// listener is one bound address.
type listener struct {
	net.Listener
	config config.Listener
	serve  func(ctx context.Context, ln net.Listener) error
}

// openServer opens the store and puts everything together; nothing is bound
// and nothing runs. What the configuration, the files that it names or the
// store have wrong is a usage error; then nothing was changed.
func openServer(ctx context.Context, cfg *config.Config, opt serverOptions) (*server, error) {
	s := &server{cfg: cfg, opt: opt, started: time.Now()}
	if opt.log == nil {
		s.opt.log = os.Stderr
	}
	s.journal, s.clock = telemetry.New(s.opt.log, cfg.Log.Format, cfg.Log.Level), opt.clock
	if err := cfg.CheckFiles(); err != nil {
		return nil, err
	}
	key, err := site.ReadKey(cfg.Storage.KeyFile)
	if err != nil {
		return nil, err
	}
	if s.certs, err = loadCertificates(cfg.TLS); err != nil {
		return nil, err
	}
	if err := s.openStore(ctx, key); err != nil {
		return nil, err
	}
	if opt.offline {
		return s, nil
	}
	if err := s.connect(ctx, key); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// openStore opens the store and what keeps its data there.
func (s *server) openStore(ctx context.Context, key []byte) error {
	storage, err := site.OpenStorage(ctx, s.cfg, key, s.clock, s.journal.Logger)
	if err != nil {
		return err
	}
	s.store, s.directory, s.spam, s.keys, s.returns = storage.Store, storage.Directory, storage.Spam, storage.Keys, storage.Returns
	return nil
}

// connect makes the parts of the pipeline and says who asks whom.
func (s *server) connect(ctx context.Context, key []byte) error {
	var servers []string
	if s.cfg.DNS.Resolver != "" {
		servers = []string{s.cfg.DNS.Resolver}
	}
	s.resolver = dns.New(dns.Options{Servers: servers, Now: s.clock.Now})
	s.engine = lua.New(lua.Options{KV: s.store, Resolver: s.resolver, Accounts: s.directory, Clock: s.clock, Log: s.journal.Logger,
		Hostname: s.cfg.Hostname, WebURL: s.cfg.Web.URL, Secret: key, Ring: &s.returns.Ring, Local: s.directory.Local, HTTP: lua.NewDoer(),
		Refused: s.refused.add, Metrics: s.journal.Counted, Milters: milters(s.cfg), Spam: s.spam, Keys: s.keys, Observe: s.observeHook,
		Usage: s.countUsage})
	if err := completeLock(ctx, s.cfg, s.journal.Logger); err != nil {
		return err
	}
	s.policies = s.keeper()
	if err := s.startPolicies(ctx); err != nil {
		return err
	}
	s.out = smtpout.New(s.outbound())
	s.pipeline = core.New(s.pipelineConfig(), core.Parts{
		Store:       spam.Watch(s.store, s.spam),
		Directory:   s.directory,
		Transport:   s.out,
		Resolver:    s.resolver,
		Policies:    &s.policies.Current,
		Journal:     s.journal,
		Clock:       s.clock,
		Signer:      keyring(s.cfg),
		ReturnPaths: &s.returns.Ring,
	})
	s.limits = s.clientLimits()
	return nil
}

// close gives everything back; the store last, for all others write to it.
func (s *server) close() error {
	for _, l := range s.listeners {
		l.Close()
	}
	if s.out != nil {
		s.out.Close()
	}
	return s.store.Close()
}

func (s *server) observeHook(c hooks.Call) {
	if s.journal.Tracer.On() {
		s.traceHook(c)
	}
	s.journal.Metrics.HookSeconds.WithLabelValues(string(c.Info.Point)).Observe(c.Cost.Seconds())
	if c.Err != nil {
		s.journal.Metrics.HookFailures.WithLabelValues(string(c.Info.Point), c.Info.Bundle).Inc()
	}
}

// service is what operators may ask this server.
func (s *server) service() *admin.Service {
	svc := &admin.Service{
		Store:        s.store,
		Directory:    s.directory,
		Returns:      s.returns,
		Keys:         s.keys,
		Spam:         s.spam,
		Pipeline:     s.pipeline,
		Journal:      s.journal,
		Clock:        s.clock,
		CheckSetting: s.checkSetting,
		TestClock:    s.opt.clock != nil,
		Version:      version(),
		Started:      s.started,
		Hostname:     s.cfg.Hostname,
	}
	if s.pipeline != nil {
		svc.Reload, svc.Generation, svc.Listeners, svc.Policies = s.reload, s.generation, s.listenerAddrs, s.policies
		svc.BundleUsage, svc.PrivateHosts = s.usage.list, s.refused.list
	}
	return svc
}

// checkSetting asks the bundles in force about an account's setting; those of
// the configuration where no server runs.
func (s *server) checkSetting(a envelope.Address, name string, value any) error {
	var sources []hooks.Source
	if s.policies != nil {
		sources = s.policies.Get().Sources
	} else {
		var err error
		if sources, err = readBundles(s.cfg); err != nil {
			return err
		}
	}
	return hooks.CheckSetting(sources, a, name, value)
}

func (s *server) listenerAddrs() []admin.Listener {
	var out []admin.Listener
	for _, l := range s.listeners {
		out = append(out, admin.Listener{Name: l.config.Name, Protocol: l.config.Protocol, Addr: l.Addr().String(), TLS: l.config.TLS})
	}
	return out
}

// loopbackOnly is what a test clock asks of a configuration.
func loopbackOnly(cfg *config.Config) error {
	for _, l := range cfg.Listeners {
		host, _, err := net.SplitHostPort(l.Addr)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return usage("listener %s at %s: a test clock needs loopback addresses only", l.Name, l.Addr)
		}
	}
	return nil
}

var errStopped = errors.New("stopped")
