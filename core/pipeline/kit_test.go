package pipeline_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/deliver"
	"carteiro/core/pipeline/intake"
	"carteiro/core/service/auth"
	"carteiro/core/service/dns"
	"carteiro/core/service/srs"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
)

// fakeTransport is a Transport that keeps the messages it gets, and replies as answer says.
type fakeTransport struct {
	mu       sync.Mutex
	received []sentMessage
	answer   func(hop envelope.NextHop, r *envelope.Recipient) envelope.Outcome // nil: 250
	block    chan struct{}                                                      // if set, each transfer first receives from it
}

type sentMessage struct {
	hop    envelope.NextHop
	sender envelope.Address
	to     []envelope.Address
	text   string
	prio   envelope.Priority
	size   int64
}

func (s *fakeTransport) Send(_ context.Context, hop envelope.NextHop, t envelope.Transfer) []envelope.Outcome {
	if s.block != nil {
		<-s.block
	}
	r, err := t.Open()
	if err != nil {
		panic(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	one := sentMessage{hop: hop, sender: t.Sender, text: string(text), prio: t.Priority, size: t.Size}
	var out []envelope.Outcome
	for _, rc := range t.Recipients {
		o := envelope.Outcome{Status: envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "ok"}, Host: hop.Hosts[0].Name}
		if s.answer != nil {
			o = s.answer(hop, rc)
		}
		out = append(out, o)
		one.to = append(one.to, rc.Address)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, one)
	return out
}

func (s *fakeTransport) messages() []sentMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sentMessage(nil), s.received...)
}

// fakeResolver is a Resolver with fixed answers; other names do not exist.
type fakeResolver map[string][]dns.MX

func (z fakeResolver) MX(_ context.Context, domain string) ([]dns.MX, error) {
	if domain == "broken.example" {
		return nil, dns.ErrServFail
	}
	mx, ok := z[domain]
	if !ok {
		return nil, dns.ErrNXDomain
	}
	return mx, nil
}

func (fakeResolver) A(context.Context, string) ([]netip.Addr, error)    { return nil, dns.ErrNXDomain }
func (fakeResolver) AAAA(context.Context, string) ([]netip.Addr, error) { return nil, dns.ErrNXDomain }
func (fakeResolver) PTR(context.Context, netip.Addr) ([]string, error)  { return nil, dns.ErrNXDomain }
func (fakeResolver) TXT(_ context.Context, name string) ([]string, error) {
	texts := map[string]string{"a.example": "v=spf1 ip4:192.0.2.7 -all", "_dmarc.a.example": "v=DMARC1; p=reject"}
	if t, ok := texts[name]; ok {
		return []string{t}, nil
	}
	return nil, dns.ErrNXDomain
}

// testServer is a pipeline for our.example with accounts alice and bob.
type testServer struct {
	*core.Pipeline
	t         *testing.T
	store     store.Store
	log       *telemetry.Journal
	policies  *hooks.Current
	accounts  *auth.Directory
	router    *deliver.Router
	signer    intake.Signer // nil: nothing is signed
	transport *fakeTransport
	clock     *clock.Clock
	stop      func()
	dir       string
}

var testResolver = fakeResolver{"out.example": {{Host: "mx2.out.example", Preference: 20}, {Host: "mx1.out.example", Preference: 10}},
	"slow.example": {}, "null.example": {{Host: ""}},
	"loop.example":   {{Host: "mx.our.example", Preference: 10}, {Host: "mx2.out.example", Preference: 20}},
	"backup.example": {{Host: "mx1.out.example", Preference: 10}, {Host: "mx.our.example", Preference: 20}}}

var testReturnPaths = srs.NewRing([]byte("core test"))

func newTestServer(t *testing.T, cfg core.Config, handlers ...hooks.Handler) *testServer {
	t.Helper()
	return openTestServer(t, t.TempDir(), cfg, handlers...)
}

func openTestServer(t *testing.T, dir string, cfg core.Config, handlers ...hooks.Handler) *testServer {
	t.Helper()
	srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}, dir: dir}
	srv.start(badgerstore.Options{Dir: dir}, nil, cfg, func(*badgerstore.Store) []hooks.Handler { return handlers })
	return srv
}

// start opens the store, makes the accounts if they do not exist, and starts the
// pipeline. wrap may put another store in front of the opened one.
func (srv *testServer) start(o badgerstore.Options, wrap func(store.Store) store.Store, cfg core.Config,
	policies func(*badgerstore.Store) []hooks.Handler) {
	srv.t.Helper()
	t, ctx := srv.t, srv.t.Context()
	o.Clock, o.Log = srv.clock, telemetry.Discard().Logger
	st, err := badgerstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d, err := auth.New(ctx, auth.Options{Data: st, Domains: []string{"our.example"}, Postmaster: "alice@our.example", Key: make([]byte, 32),
		Clock: srv.clock, WeakHash: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []envelope.Address{"alice@our.example", "bob@our.example"} {
		if !d.Exists(ctx, a) {
			if err := d.AddAccount(ctx, a, "secret"); err != nil {
				t.Fatal(err)
			}
		}
	}
	var front store.Store = st
	if wrap != nil {
		front = wrap(st)
	}
	cfg.Hostname = "mx.our.example"
	current := &hooks.Current{}
	current.Swap(&hooks.Generation{ID: "test", Chain: hooks.NewChain(policies(st))})
	srv.store, srv.policies, srv.log, srv.accounts = front, current, telemetry.Discard(), d
	srv.Pipeline = core.New(cfg, core.Parts{Store: front, Directory: d, Transport: srv.transport, Resolver: testResolver,
		Policies: current, Journal: srv.log, Clock: srv.clock, ReturnPaths: testReturnPaths, Signer: testSigner{srv}})
	port := cfg.Port
	if port == 0 {
		port = 25
	}
	srv.router = deliver.NewRouter(deliver.RouterConfig{Hostname: cfg.Hostname, Port: port, Relay: cfg.Relay, NextHops: cfg.NextHops},
		deliver.RouterParts{Resolver: testResolver, Policies: current, Apply: noEffects, Log: srv.log, Clock: srv.clock})
	run, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(run) }()
	srv.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
		if err := st.Close(); err != nil {
			t.Errorf("Close: got %v, want nil", err)
		}
	})
	t.Cleanup(srv.stop)
}

// testSigner signs with the signer that srv has at that time.
type testSigner struct{ h *testServer }

func (s testSigner) Sign(w envelope.Signature, body func() (io.ReadCloser, error)) (func(h *mime.Header) (string, error), error) {
	if s.h.signer == nil {
		return func(*mime.Header) (string, error) { return "", nil }, nil
	}
	return s.h.signer.Sign(w, body)
}

func (s testSigner) Seal(domain string, arrived *envelope.AuthResults, body func() (io.ReadCloser, error)) (func(h *mime.Header) (string,
	error), error) {
	if s.h.signer == nil {
		return func(*mime.Header) (string, error) { return "", nil }, nil
	}
	return s.h.signer.Seal(domain, arrived, body)
}

// noEffects is the Apply of a Router whose policies have no effects.
func noEffects(_ context.Context, _ *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error {
	if len(effects)+len(submits) > 0 {
		return errors.New("a route with effects")
	}
	return nil
}

// route returns the next hop of a group.
func (srv *testServer) route(ctx context.Context, env *envelope.Envelope, g *envelope.Group) (envelope.NextHop, *envelope.Status) {
	return srv.router.Route(ctx, env, g)
}

// Key spaces on disk.
const (
	timerSpace  = "#timers"
	eventSpace  = "#events"
	parkedSpace = "#events-parked"
)

// timerName returns the key of the last run of a timer for a domain.
func timerName(handler, domain string) string { return strings.TrimSuffix(handler+" "+domain, " ") }

func newSession() *envelope.Session {
	return &envelope.Session{ID: "s1", Listener: "mx", Protocol: "smtp", ESMTP: true, Helo: "client.example",
		Remote: netip.MustParseAddrPort("192.0.2.7:1234"), Started: time.Now()}
}

func newUserSession(name envelope.Address) *envelope.Session {
	s := newSession()
	s.Protocol, s.Listener, s.Identity = "submission", "submission", &envelope.Identity{User: name}
	return s
}

// send runs a transaction and returns the first refusal, or the reply to the data; nil
// for 250.
func (srv *testServer) send(s *envelope.Session, tx *envelope.Transaction, text string, to ...envelope.Address) *envelope.Status {
	srv.t.Helper()
	ctx := srv.t.Context()
	if st := srv.Mail(ctx, s, tx); st != nil && st.Code >= 400 {
		return st
	}
	defer srv.End(s, tx)
	for _, a := range to {
		r := &envelope.Recipient{Address: a, Orig: a}
		if st := srv.Rcpt(ctx, s, tx, r); st != nil && st.Code >= 400 {
			return st
		}
		tx.Recipients = append(tx.Recipients, r)
	}
	st, _ := srv.Data(ctx, s, tx, strings.NewReader(text))
	return st
}

const plainMessage = "From: a@a.example\r\nTo: alice@our.example\r\nSubject: hi\r\nMessage-ID: <1@a.example>\r\nDate: Mon, 2 Nov 2026 " +
	"10:00:00 +0000\r\n\r\nhello\r\n"

func (srv *testServer) mustSend(s *envelope.Session, from envelope.Address, text string, to ...envelope.Address) envelope.ID {
	srv.t.Helper()
	tx := &envelope.Transaction{Sender: from}
	if st := srv.send(s, tx, text, to...); st != nil {
		srv.t.Fatalf("got reply %v, want 250", st)
	}
	return tx.ID
}

// waitIdle waits until nothing is due and nothing runs.
func (srv *testServer) waitIdle() {
	srv.t.Helper()
	srv.waitFor("the queue is idle", func() bool {
		if srv.InFlight() > 0 {
			return false
		}
		for c := range envelope.Classes {
			for range srv.store.Due(srv.t.Context(), envelope.Class(c), srv.clock.Now()) {
				return false
			}
		}
		return srv.InFlight() == 0
	})
}

func (srv *testServer) waitFor(what string, ok func() bool) {
	srv.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	srv.t.Fatalf("timeout: %s", what)
}

// mailbox returns the messages in a folder.
func (srv *testServer) mailbox(owner envelope.Address, folder string) []string {
	srv.t.Helper()
	info, err := srv.store.Mailbox(srv.t.Context(), owner, folder)
	if err != nil {
		srv.t.Fatal(err)
	}
	var out []string
	for it, err := range srv.store.Items(srv.t.Context(), info.ID) {
		if err != nil {
			srv.t.Fatal(err)
		}
		r, err := srv.store.Open(srv.t.Context(), info.ID, it.UID)
		if err != nil {
			srv.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			srv.t.Fatal(err)
		}
		if int64(len(b)) != it.Size {
			srv.t.Errorf("item has size %d, but %d octets were read", it.Size, len(b))
		}
		out = append(out, string(b))
		r.Close()
	}
	return out
}

// spoolCount counts messages in the spool.
func (srv *testServer) spoolCount() int {
	n := 0
	for _, err := range srv.store.Messages(srv.t.Context()) {
		if err != nil {
			srv.t.Fatal(err)
		}
		n++
	}
	return n
}

// goHandler is a policy in Go.
type goHandler struct {
	info hooks.Info
	call func(e *hooks.Event) (hooks.Verdict, error)
}

func (h goHandler) Info() hooks.Info { return h.info }
func (h goHandler) Call(_ context.Context, _ hooks.Spec, e *hooks.Event) (hooks.Verdict, int64, error) {
	v, err := h.call(e)
	return v, 1, err
}

func handlerAt(p hooks.Point, call func(e *hooks.Event) (hooks.Verdict, error)) hooks.Handler {
	return goHandler{hooks.Info{Point: p, File: "policy.lua", Line: 1}, call}
}

var _ store.Store = (*badgerstore.Store)(nil)
