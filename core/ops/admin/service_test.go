package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carteiro/core"
	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/generations"
	"carteiro/core/ops/telemetry"
	"carteiro/core/protocol/httpin"
	"carteiro/core/service/auth"
	"carteiro/core/service/dns"
	"carteiro/core/service/dns/dnsserver"
	"carteiro/core/service/spam"
	"carteiro/core/service/srs"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
	"carteiro/hooks/lua"
)

func TestMain(m *testing.M) {
	// Badger's cache and the metrics library keep goroutines.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2.(*lfuPolicy).processItems"),
		goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// deferAll is a transport whose peers are all busy.
type deferAll struct{}

func (deferAll) Send(_ context.Context, hop envelope.NextHop, t envelope.Transfer) []envelope.Outcome {
	out := make([]envelope.Outcome, len(t.Recipients))
	for i := range out {
		out[i] = envelope.Outcome{Status: envelope.Status{Code: 451, Enhanced: "4.3.2", Text: "busy"}, Host: hop.Hosts[0].Name}
	}
	return out
}

// policy has a command, and refuses a recipient.
const policy = `
on("admin.command", { command = "greet" }, function(cmd)
  if cmd.verb == "fail" then error("broken on purpose") end
  return response { type = "text/plain", body = "hello " .. (cmd.args[1] or "nobody") .. "\n" }
end)
on("receive.rcpt", function(session, tx, rcpt)
  if rcpt.address == "refused@a.example" then return reject(550, "5.7.1", "not you") end
end)
`

// rig is a service with everything that it has in a running server: a store on
// disk, a directory, a pipeline that runs, and policies. All foreign servers are
// busy.
type rig struct {
	*Service
	t       testing.TB
	sources []hooks.Source // what a reload finds
	readErr error          // or why it finds nothing
}

const zone = "out.example. MX 10 mx.out.example.\nmx.out.example. A 127.0.0.1\n"

func newRig(t testing.TB) *rig {
	t.Helper()
	ctx, r := context.Background(), &rig{t: t}
	r.sources = []hooks.Source{{
		Name:  "scripts",
		Tier:  hooks.Admin,
		Main:  []string{"policy.lua"},
		Files: map[string][]byte{"policy.lua": []byte(policy)},
	}}
	now := clock.Still(time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC))
	st, err := badgerstore.Open(badgerstore.Options{
		Dir:   filepath.Join(t.TempDir(), "store"),
		Small: true,
		Clock: now,
		Log:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	dir, err := auth.New(ctx, auth.Options{
		Data:       st,
		Domains:    []string{"a.example"},
		Postmaster: "postmaster@a.example",
		Key:        key,
		Clock:      now,
		WeakHash:   true,
	})
	if err != nil {
		t.Fatal(err)
	}
	returns, err := srs.OpenKeys(ctx, st, key, now.Now)
	if err != nil {
		t.Fatal(err)
	}
	names, err := dnsserver.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	journal := telemetry.Discard()
	filter := spam.New(st, now)
	resolver := dns.New(dns.Options{Servers: []string{names.Addr}, Now: now.Now})
	engine := lua.New(lua.Options{
		KV: st, Resolver: resolver, Accounts: dir, Clock: now, Log: journal.Logger, Hostname: "mx.a.example", Secret: key,
		Ring: &returns.Ring, Local: dir.Local, Metrics: journal.Counted, Spam: filter,
	})
	keeper := generations.New(generations.Options{
		Store: st, Engine: engine, Clock: now, Journal: journal,
		Read:    func(context.Context) ([]hooks.Source, error) { return r.sources, r.readErr },
		Smoke:   func(context.Context, []hooks.Source) error { return nil },
		Prepare: func(context.Context) (func(), error) { return func() {}, nil },
		Changed: func(generations.Entry) {},
		Stamp:   func() string { return "" },
	})
	if err := keeper.Start(ctx); err != nil {
		t.Fatal(err)
	}
	pipeline := core.New(core.Config{Hostname: "mx.a.example", Retry: []time.Duration{time.Hour}}, core.Parts{
		Store: spam.Watch(st, filter), Directory: dir, Transport: deferAll{}, Resolver: resolver, Policies: &keeper.Current, Journal: journal,
		Clock: now, ReturnPaths: &returns.Ring,
	})
	run, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- pipeline.Run(run) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ran, st.Close()); err != nil {
			t.Error(err)
		}
		names.Close()
	})
	r.Service = &Service{
		Store: st, Directory: dir, Returns: returns, Keys: &crypt.Keys{Data: st, Clock: now}, Pipeline: pipeline, Journal: journal,
		Spam: filter, Clock: now, TestClock: true, Version: "1.2.3", Started: now.Now(), Hostname: "mx.a.example", Policies: keeper,
		Generation: func() Generation { return Generation{ID: keeper.Get().ID} },
		Reload: func(ctx context.Context, by string) (Generation, error) {
			_, err := keeper.Reload(ctx, by)
			return Generation{ID: keeper.Get().ID}, err
		},
		BundleUsage:  func() []BundleUsage { return []BundleUsage{{Bundle: "acme/x", Calls: 2}} },
		PrivateHosts: func() []string { return []string{"router.example:80"} },
		CheckSetting: func(_ envelope.Address, name string, value any) error {
			if name == "days" && value == "many" {
				return errors.New("days: not a number")
			}
			return nil
		},
		Listeners: func() []Listener {
			return []Listener{{Name: "mx", Protocol: "smtp", Addr: "127.0.0.1:25", TLS: "none"}}
		},
	}
	return r
}

// serve serves the calls at a unix socket, and returns its path and a client.
func (r *rig) serve() (path string, c *Client) {
	r.t.Helper()
	path = filepath.Join(r.t.TempDir(), "admin.sock")
	ln, err := Listen(path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.run(func(ctx context.Context) error { return serveSocket(ctx, ln, r.Handler()) })
	if c, err = Dial(context.Background(), path); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.http.CloseIdleConnections)
	return path, c
}

// serveSocket serves calls as `carteiro serve` does.
func serveSocket(ctx context.Context, ln net.Listener, h http.Handler) error {
	return httpin.Serve(ctx, ln, &http.Server{Handler: h}, 5*time.Second)
}

// serveHTTP serves the calls at an http listener, and returns its address.
func (r *rig) serveHTTP(token string) (addr string) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	srv := httpin.New(httpin.Config{Token: token, Calls: r.Handler(), Metrics: Metrics(r.Journal), Health: Health(r.Store)}, r.Pipeline)
	r.run(func(ctx context.Context) error { return srv.Serve(ctx, ln) })
	return ln.Addr().String()
}

// run runs a server until the test ends.
func (r *rig) run(serve func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// do makes a call that has to succeed.
func (r *rig) do(name string, args, answer any) {
	r.t.Helper()
	raw, err := json.Marshal(args)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := r.Call(context.Background(), name, raw)
	if err != nil {
		r.t.Fatalf("%s %s: %v", name, raw, err)
	}
	if answer == nil {
		return
	}
	if raw, err = json.Marshal(got); err == nil {
		err = json.Unmarshal(raw, answer)
	}
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
}

// fails makes a call that has to fail with an error that begins so.
func (r *rig) fails(name, args, want string) {
	r.t.Helper()
	got, err := r.Call(context.Background(), name, json.RawMessage(args))
	if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
		r.t.Errorf("%s %s: %v, %v, want %q", name, args, got, err, want)
	}
}

// hand hands a message in, which has to be accepted, and returns its id.
func (r *rig) hand(c *Client, s Submission, text string) string {
	r.t.Helper()
	id, err := c.Submit(context.Background(), s, stringReader(text))
	if err != nil {
		r.t.Fatalf("%+v: %v", s, err)
	}
	return id
}

// stringReader is a reader of unknown length, like a pipe.
func stringReader(s string) io.Reader {
	r, w := io.Pipe()
	go func() { io.WriteString(w, s); w.Close() }()
	return r
}

// until waits until ok is true.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never: %s", what)
		}
	}
}
