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

// sink is a Transport that keeps what it gets and answers as told.
type sink struct {
	mu     sync.Mutex
	got    []sent
	answer func(hop envelope.NextHop, r *envelope.Recipient) envelope.Outcome // nil: 250
	hold   chan struct{}                                                      // if set, each transfer waits for one receive
}

type sent struct {
	hop    envelope.NextHop
	sender envelope.Address
	to     []envelope.Address
	text   string
	prio   envelope.Priority
	size   int64
}

func (s *sink) Send(_ context.Context, hop envelope.NextHop, t envelope.Transfer) []envelope.Outcome {
	if s.hold != nil {
		<-s.hold
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
	one := sent{hop: hop, sender: t.Sender, text: string(text), prio: t.Priority, size: t.Size}
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
	s.got = append(s.got, one)
	return out
}

func (s *sink) all() []sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sent(nil), s.got...)
}

// zone is a Resolver with fixed answers; other names do not exist.
type zone map[string][]dns.MX

func (z zone) MX(_ context.Context, domain string) ([]dns.MX, error) {
	if domain == "broken.example" {
		return nil, dns.ErrServFail
	}
	mx, ok := z[domain]
	if !ok {
		return nil, dns.ErrNXDomain
	}
	return mx, nil
}

func (zone) A(context.Context, string) ([]netip.Addr, error)    { return nil, dns.ErrNXDomain }
func (zone) AAAA(context.Context, string) ([]netip.Addr, error) { return nil, dns.ErrNXDomain }
func (zone) PTR(context.Context, netip.Addr) ([]string, error)  { return nil, dns.ErrNXDomain }
func (zone) TXT(_ context.Context, name string) ([]string, error) {
	texts := map[string]string{"a.example": "v=spf1 ip4:192.0.2.7 -all", "_dmarc.a.example": "v=DMARC1; p=reject"}
	if t, ok := texts[name]; ok {
		return []string{t}, nil
	}
	return nil, dns.ErrNXDomain
}

// house is a pipeline for our.example with accounts alice and bob.
type house struct {
	*core.Pipeline
	t        *testing.T
	store    store.Store
	log      *telemetry.Journal
	gen      *hooks.Current
	accounts *auth.Directory
	router   *deliver.Router
	signer   intake.Signer // nil: nothing is signed
	sink     *sink
	clock    *clock.Clock
	stop     func()
	dir      string
}

var testZone = zone{"out.example": {{Host: "mx2.out.example", Preference: 20}, {Host: "mx1.out.example", Preference: 10}},
	"slow.example": {}, "null.example": {{Host: ""}},
	"loop.example":   {{Host: "mx.our.example", Preference: 10}, {Host: "mx2.out.example", Preference: 20}},
	"backup.example": {{Host: "mx1.out.example", Preference: 10}, {Host: "mx.our.example", Preference: 20}}}

var testRing = srs.NewRing([]byte("core test"))

func newHouse(t *testing.T, cfg core.Config, handlers ...hooks.Handler) *house {
	t.Helper()
	return openHouse(t, t.TempDir(), cfg, handlers...)
}

func openHouse(t *testing.T, dir string, cfg core.Config, handlers ...hooks.Handler) *house {
	t.Helper()
	h := &house{t: t, sink: &sink{}, clock: &clock.Clock{}, dir: dir}
	h.furnish(badgerstore.Options{Dir: dir}, nil, cfg, func(*badgerstore.Store) []hooks.Handler { return handlers })
	return h
}

// furnish opens the store, which wrap may stand before, makes the accounts
// that are not there yet, and starts the pipeline.
func (h *house) furnish(o badgerstore.Options, wrap func(store.Store) store.Store, cfg core.Config,
	policies func(*badgerstore.Store) []hooks.Handler) {
	h.t.Helper()
	t, ctx := h.t, h.t.Context()
	o.Clock, o.Log = h.clock, telemetry.Discard().Logger
	st, err := badgerstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d, err := auth.New(ctx, auth.Options{Data: st, Domains: []string{"our.example"}, Postmaster: "alice@our.example", Key: make([]byte, 32),
		Clock: h.clock, WeakHash: true})
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
	h.store, h.gen, h.log, h.accounts = front, current, telemetry.Discard(), d
	h.Pipeline = core.New(cfg, core.Parts{Store: front, Directory: d, Transport: h.sink, Resolver: testZone, Policies: current, Journal: h.log,
		Clock: h.clock, ReturnPaths: testRing, Signer: signerOf{h}})
	port := cfg.Port
	if port == 0 {
		port = 25
	}
	h.router = deliver.NewRouter(deliver.RouterConfig{Hostname: cfg.Hostname, Port: port, Relay: cfg.Relay, NextHops: cfg.NextHops},
		deliver.RouterParts{Resolver: testZone, Policies: current, Apply: noEffects, Log: h.log, Clock: h.clock})
	run, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(run) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(h.stop)
}

// signerOf signs as the test that set up h wants it, by the time that a message is signed.
type signerOf struct{ h *house }

func (s signerOf) Sign(w envelope.Signature, body func() (io.ReadCloser, error)) (func(h *mime.Header) (string, error), error) {
	if s.h.signer == nil {
		return func(*mime.Header) (string, error) { return "", nil }, nil
	}
	return s.h.signer.Sign(w, body)
}

func (s signerOf) Seal(domain string, arrived *envelope.AuthResults, body func() (io.ReadCloser, error)) (func(h *mime.Header) (string,
	error), error) {
	if s.h.signer == nil {
		return func(*mime.Header) (string, error) { return "", nil }, nil
	}
	return s.h.signer.Seal(domain, arrived, body)
}

// noEffects is for routes of policies that store nothing.
func noEffects(_ context.Context, _ *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error {
	if len(effects)+len(submits) > 0 {
		return errors.New("a route with effects")
	}
	return nil
}

// route is the next hop of a group.
func (h *house) route(ctx context.Context, env *envelope.Envelope, g *envelope.Group) (envelope.NextHop, *envelope.Status) {
	return h.router.Route(ctx, env, g)
}

// Key spaces on disk.
const (
	timerSpace  = "#timers"
	eventSpace  = "#events"
	parkedSpace = "#events-parked"
)

// timerName is the key under which the last run of a timer for a domain is stored.
func timerName(handler, domain string) string { return strings.TrimSuffix(handler+" "+domain, " ") }

func session() *envelope.Session {
	return &envelope.Session{ID: "s1", Listener: "mx", Protocol: "smtp", ESMTP: true, Helo: "client.example",
		Remote: netip.MustParseAddrPort("192.0.2.7:1234"), Started: time.Now()}
}

func user(name envelope.Address) *envelope.Session {
	s := session()
	s.Protocol, s.Listener, s.Identity = "submission", "submission", &envelope.Identity{User: name}
	return s
}

// offer plays a transaction and returns the answer to its first refusal or to
// its data, nil for 250.
func (h *house) offer(s *envelope.Session, tx *envelope.Transaction, text string, to ...envelope.Address) *envelope.Status {
	h.t.Helper()
	ctx := h.t.Context()
	if st := h.Mail(ctx, s, tx); st != nil && st.Code >= 400 {
		return st
	}
	defer h.End(s, tx)
	for _, a := range to {
		r := &envelope.Recipient{Address: a, Orig: a}
		if st := h.Rcpt(ctx, s, tx, r); st != nil && st.Code >= 400 {
			return st
		}
		tx.Recipients = append(tx.Recipients, r)
	}
	st, _ := h.Data(ctx, s, tx, strings.NewReader(text))
	return st
}

const plain = "From: a@a.example\r\nTo: alice@our.example\r\nSubject: hi\r\nMessage-ID: <1@a.example>\r\nDate: Mon, 2 Nov 2026 " +
	"10:00:00 +0000\r\n\r\nhello\r\n"

func (h *house) accept(s *envelope.Session, from envelope.Address, text string, to ...envelope.Address) envelope.ID {
	h.t.Helper()
	tx := &envelope.Transaction{Sender: from}
	if st := h.offer(s, tx, text, to...); st != nil {
		h.t.Fatalf("refused: %v", st)
	}
	return tx.ID
}

// idle waits until nothing is due and nothing runs.
func (h *house) idle() {
	h.t.Helper()
	h.until("the queue is idle", func() bool {
		if h.InFlight() > 0 {
			return false
		}
		for c := range envelope.Classes {
			for range h.store.Due(h.t.Context(), envelope.Class(c), h.clock.Now()) {
				return false
			}
		}
		return h.InFlight() == 0
	})
}

func (h *house) until(what string, ok func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	h.t.Fatalf("never: %s", what)
}

// box returns the texts in a mailbox.
func (h *house) box(owner envelope.Address, folder string) []string {
	h.t.Helper()
	info, err := h.store.Mailbox(h.t.Context(), owner, folder)
	if err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for it, err := range h.store.Items(h.t.Context(), info.ID) {
		if err != nil {
			h.t.Fatal(err)
		}
		r, err := h.store.Open(h.t.Context(), info.ID, it.UID)
		if err != nil {
			h.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			h.t.Fatal(err)
		}
		if int64(len(b)) != it.Size {
			h.t.Errorf("size is %d, but %d octets came", it.Size, len(b))
		}
		out = append(out, string(b))
		r.Close()
	}
	return out
}

// spooled counts messages in the spool.
func (h *house) spooled() int {
	n := 0
	for _, err := range h.store.Messages(h.t.Context()) {
		if err != nil {
			h.t.Fatal(err)
		}
		n++
	}
	return n
}

// handler is a policy in Go.
type handler struct {
	info hooks.Info
	call func(e *hooks.Event) (hooks.Verdict, error)
}

func (h handler) Info() hooks.Info { return h.info }
func (h handler) Call(_ context.Context, _ hooks.Spec, e *hooks.Event) (hooks.Verdict, int64, error) {
	v, err := h.call(e)
	return v, 1, err
}

func at(p hooks.Point, call func(e *hooks.Event) (hooks.Verdict, error)) hooks.Handler {
	return handler{hooks.Info{Point: p, File: "policy.lua", Line: 1}, call}
}

var _ store.Store = (*badgerstore.Store)(nil)
