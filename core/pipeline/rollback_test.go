package pipeline_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// everythingPolicy makes everything that a commit can hold from one message: effects,
// mail of policies, a fork with another body and placeholders, a message held for a
// list of people, a forward, copies in folders, a rejected recipient with its DSN, a
// handler after the 250, events, and at delivery copies, forwards and mail again. It
// ignores mail of policies.
const everythingPolicy = `
local function own(msg) return msg:header("Auto-Submitted") end
local function note(what, n)
  kv.incr(what)
  mail.submit { from = "policy@our.example", to = "bob@our.example", subject = what, text = what }
end
on("receive.rcpt", function(session, tx, rcpt)
  if rcpt.address == "list@our.example" or rcpt.address == "no@our.example" then return accept() end
end)
on("receive.data", function(session, tx, msg) note("data") end)
on("receive.data", { async = true }, function(session, tx, msg) note("after") end)
on("queue.expand", function(msg, rcpt)
  if own(msg) then return end
  if rcpt.address == "list@our.example" then
    note("list")
    local f = rcpt:fork()
    f:set_header("Subject", "forked")
    f:append_text("for %(who)\n", { who = "anybody" })
    list.hold("held@our.example", msg, {})
    mail.forward(msg, "forwarded@out.example")
    mail.file(msg, "bob@our.example", "Filed")
    rcpt:replace({ "alice@our.example", "x@out.example", "y@out.example" },
      function(a) return { fill = { who = a }, sender = "list@our.example" } end)
  elseif rcpt.address == "no@our.example" then
    note("no")
    return reject("550 5.7.1 not here")
  end
end)
on("queue.commit", function(msg, group)
  if own(msg) then return end
  kv.incr("commit " .. msg:subject() .. " " .. (group.is_local and "here" or group.domain))
end)
on("deliver.local", function(msg, rcpt, box)
  if own(msg) then return end
  note("local " .. msg:subject() .. " " .. rcpt.address)
  rcpt:copy_to("copy@out.example")
  mail.forward(msg, "later@out.example")
  mail.file(msg, box.address, "Again")
  return fileinto("Mail")
end)
on("deliver.result", function(msg, rcpt, result)
  if own(msg) or result.class == "deferred" then return end
  kv.incr("result " .. msg:subject() .. " " .. rcpt.address)
end)
on("deliver.dsn", function(msg, rcpts, dsn) note("dsn " .. dsn.action .. " " .. rcpts[1].address) end)
on("observe.event", function(event)
  if event.name == "deferred" or event.name == "rejected" then return end
  if event.data.subject == "hi" or event.data.subject == "forked" then
    kv.incr("event " .. event.name .. " " .. event.data.subject .. (type(event.data.to) == "string" and " " .. event.data.to or ""))
  end
end)
`

// failer counts the steps of a pipeline and lets one of them fail.
type failer struct {
	now, at, failed atomic.Int64
	late            bool // the write succeeds, but is reported as failed
	taken           atomic.Int64
}

// step reports whether this step fails.
func (f *failer) step() bool {
	hit := f.now.Add(1) == f.at.Load()
	if hit {
		f.failed.Add(1)
	}
	return hit
}

// write is a step that writes to the store.
func (f *failer) write(do func() error) error {
	if !f.step() {
		return do()
	}
	if f.late {
		if err := do(); err != nil {
			return err
		}
	}
	return errFault
}

// failerStore fails writes, and reads of bodies.
type failerStore struct {
	*faultyStore
	f *failer
}

func (s failerStore) Commit(ctx context.Context, effects []envelope.Effect, messages ...*store.Message) error {
	return s.f.write(func() error { return s.faultyStore.Commit(ctx, effects, messages...) })
}

func (s failerStore) Settle(ctx context.Context, x *store.Settlement) error {
	return s.f.write(func() error { return s.faultyStore.Settle(ctx, x) })
}

func (s failerStore) Body(ctx context.Context, e *envelope.Envelope) (io.ReadCloser, error) {
	if s.f.step() {
		return nil, errFault
	}
	return s.faultyStore.Body(ctx, e)
}

// failerHandler fails at hooks before the 250, where a failure defers the message. At
// each call it adds to taken, and undoes that if the call is rolled back.
type failerHandler struct {
	hooks.Handler
	f *failer
}

// ofPolicy reports whether a message is not deferred by failing policies: a DSN, which
// is then sent without them, or mail of policies, which is dropped.
func ofPolicy(m *hooks.Message) bool { return m != nil && m.Header.Has("Auto-Submitted") }

func (h failerHandler) Call(ctx context.Context, spec hooks.Spec, e *hooks.Event) (hooks.Verdict, int64, error) {
	if spec.Fail == hooks.FailDefer && !ofPolicy(e.Msg) && h.f.step() {
		return hooks.Verdict{}, 1, errFault
	}
	v, n, err := h.Handler.Call(ctx, spec, e)
	if spec.Fail == hooks.FailDefer && e.Apply == nil && err == nil { // the others commit at once, or run again at each attempt
		h.f.taken.Add(1)
		e.Pending.Undo = append(e.Pending.Undo, func() { h.f.taken.Add(-1) })
	}
	return v, n, err
}

// messageTraces is everything that a message left behind.
type messageTraces struct {
	kv      map[string]string
	boxes   map[string][]string
	peers   []string // each message to each address once
	spooled int      // the message that is held
	taken   int64    // by calls of handlers that defer a message when they fail
}

// newEverythingServer returns a server with that policy whose step number at fails.
func newEverythingServer(t *testing.T, at int64, late bool) (*testServer, *failer, *faultyStore) {
	t.Helper()
	f := &failer{late: late}
	f.at.Store(at)
	srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}}
	srv.transport.answer = func(_ envelope.NextHop, r *envelope.Recipient) envelope.Outcome {
		if r.Address == "x@bad.example" {
			return envelope.Outcome{Status: envelope.Status{Code: 550, Enhanced: "5.1.1", Text: "no"}}
		}
		return envelope.Outcome{Status: envelope.Status{Code: 250, Text: "ok"}}
	}
	hop := envelope.NextHop{Hosts: []envelope.Host{{Name: "mx.example", Port: 25}}}
	cfg := core.Config{NextHops: map[string]envelope.NextHop{"out.example": hop, "bad.example": hop}}
	faulty := &faultyStore{faults: map[string]func() error{}, write: func() error {
		if f.step() {
			return errFault
		}
		return nil
	}}
	wrap := func(s store.Store) store.Store { faulty.Store = s; return failerStore{faulty, f} }
	srv.start(badgerstore.Options{InMemory: true}, wrap, cfg, func(st *badgerstore.Store) []hooks.Handler {
		source := hookstest.Scripts(map[string]string{"everything.lua": everythingPolicy})
		gen, err := lua.New(lua.Options{KV: st, Clock: srv.clock, Hostname: "mx.our.example"}).Load(t.Context(), []hooks.Source{source})
		if err != nil {
			t.Fatal(err)
		}
		var list []hooks.Handler
		for _, spec := range hooks.Specs() {
			for _, one := range gen.Chain.Handlers(spec.Point) {
				list = append(list, failerHandler{one, f})
			}
		}
		return list
	})
	if err := srv.accounts.AddAlias(t.Context(), "both@our.example", []envelope.Address{"alice@our.example", "bob@our.example"}); err != nil {
		t.Fatal(err)
	}
	return srv, f, faulty
}

const everythingText = "From: alice@our.example\r\nTo: list@our.example\r\nSubject: hi\r\nMessage-ID: <1@our.example>\r\n" +
	"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\nhello\r\n"

func (srv *testServer) sendEverything() *envelope.Status {
	return srv.send(newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"}, everythingText,
		"list@our.example", "no@our.example", "both@our.example", "x@bad.example")
}

// traces waits until all is done, and returns what the message left behind.
func (srv *testServer) traces(f *failer) messageTraces {
	srv.t.Helper()
	srv.waitAllIdle()
	w := messageTraces{kv: map[string]string{}, boxes: map[string][]string{}, spooled: srv.spoolCount(), taken: f.taken.Load()}
	for p, err := range srv.store.Scan(srv.t.Context(), "scripts", "", 1000) {
		if err != nil {
			srv.t.Fatal(err)
		}
		w.kv[p.Key] = string(p.Value)
	}
	for _, owner := range []envelope.Address{"alice@our.example", "bob@our.example"} {
		for _, folder := range []string{"INBOX", "Mail", "Again", "Filed"} {
			var got []string
			for _, text := range srv.mailbox(owner, folder) {
				got = append(got, summaryOf(text))
			}
			slices.Sort(got)
			if got != nil {
				w.boxes[string(owner)+" "+folder] = got
			}
		}
	}
	for _, one := range srv.transport.messages() {
		for _, to := range one.to {
			w.peers = append(w.peers, string(to)+" "+summaryOf(one.text))
		}
	}
	slices.Sort(w.peers)
	w.peers = slices.Compact(w.peers) // a peer may get a message twice when its outcome could not be recorded
	return w
}

// summaryOf returns a text that distinguishes the messages of the test.
func summaryOf(text string) string {
	_, body, _ := strings.Cut(text, "\r\n\r\n")
	line, _, _ := strings.Cut(body, "\r\n")
	last := body[strings.LastIndex(strings.TrimRight(body, "\r\n"), "\n")+1:]
	if strings.HasPrefix(line, "--") { // a DSN
		line, last = "a DSN", ""
	}
	return fields(text, "Subject") + " | " + line + " | " + strings.TrimRight(last, "\r\n")
}

func (w messageTraces) differs(from messageTraces) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(mergeMaps(w.kv, from.kv))) {
		if w.kv[key] != from.kv[key] {
			out = append(out, fmt.Sprintf("%s is %q, want %q", key, w.kv[key], from.kv[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(mergeMaps(w.boxes, from.boxes))) {
		if !slices.Equal(w.boxes[key], from.boxes[key]) {
			out = append(out, fmt.Sprintf("%s holds %q, want %q", key, w.boxes[key], from.boxes[key]))
		}
	}
	if !slices.Equal(w.peers, from.peers) {
		out = append(out, fmt.Sprintf("peers got %q, want %q", w.peers, from.peers))
	}
	if w.spooled != from.spooled {
		out = append(out, fmt.Sprintf("%d messages are spooled, want %d", w.spooled, from.spooled))
	}
	if w.taken != from.taken {
		out = append(out, fmt.Sprintf("%d calls of handlers count, want %d", w.taken, from.taken))
	}
	return strings.Join(out, "\n")
}

func mergeMaps[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// TestTakenBackAtEveryPoint makes each step fail, one in each run: every write and read
// of a body, every handler before the 250, and every commit, which either is not done,
// or is done but reported as failed. A refused message leaves nothing. At the end, after
// the client and the queue have tried again, the result is the same as without the
// fault.
func TestTakenBackAtEveryPoint(t *testing.T) {
	clean, f, _ := newEverythingServer(t, 0, false)
	if st := clean.sendEverything(); st != nil {
		t.Fatal(st)
	}
	accepted := f.now.Load()
	want := clean.traces(f)
	steps := f.now.Load()
	clean.stop()
	if len(want.kv) < 20 || len(want.peers) < 8 || want.spooled != 1 || len(want.boxes) < 4 || accepted < 15 || steps < accepted+10 {
		t.Fatalf("%d steps, %d until the 250: the message has too few effects for this test: %+v", steps, accepted, want)
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for n := next.Add(1); n <= 2*steps && !t.Failed(); n = next.Add(1) {
				checkFailingStep(t, (n+1)/2, n%2 == 0, want)
			}
		})
	}
	workers.Wait()
	t.Logf("each of %d steps failed once, %d of them before the 250", steps, accepted)
}

func checkFailingStep(t *testing.T, at int64, late bool, want messageTraces) {
	srv, f, faulty := newEverythingServer(t, at, late)
	defer srv.stop()
	name := fmt.Sprintf("step %d, late %v", at, late)
	st := srv.sendEverything()
	refused := st != nil
	if refused {
		if st.Code/100 != 4 || f.failed.Load() != 1 {
			t.Errorf("%s: got reply %v after %d faults, want 4xx after 1", name, st, f.failed.Load())
		}
		if n := faulty.drafts.Load(); n != 0 {
			t.Errorf("%s: %d drafts are left of a refused message, want 0", name, n)
		}
		left := srv.traces(f)
		commitDone := late && len(left.kv) > 0 // only the reply was lost: the client sends it again
		if !commitDone {
			if d := left.differs(messageTraces{}); d != "" {
				t.Errorf("%s: a refused message left\n%s", name, d)
			}
			if st := srv.sendEverything(); st != nil {
				t.Errorf("%s: second try: got reply %v, want 250", name, st)
			}
		}
	}
	srv.waitAllIdle()
	for range 3 { // attempts that failed are made again
		srv.clock.Advance(6 * time.Minute)
		srv.waitAllIdle()
	}
	got := srv.traces(f)
	if late { // a commit that was reported as failed was undone in taken
		got.taken = want.taken
	}
	if d := got.differs(want); d != "" {
		t.Errorf("%s, refused %v:\n%s", name, refused, d)
	}
	srv.checkNothingHeld(faulty)
}

// newLuaServer returns a server with a policy in Lua.
func newLuaServer(t *testing.T, script string) *testServer {
	t.Helper()
	srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}}
	srv.start(badgerstore.Options{InMemory: true}, nil, core.Config{}, func(st *badgerstore.Store) []hooks.Handler {
		source := hookstest.Scripts(map[string]string{"policy.lua": script})
		gen, err := lua.New(lua.Options{KV: st, Clock: srv.clock, Hostname: "mx.our.example"}).Load(t.Context(), []hooks.Source{source})
		if err != nil {
			t.Fatal(err)
		}
		var list []hooks.Handler
		for _, spec := range hooks.Specs() {
			list = append(list, gen.Chain.Handlers(spec.Point)...)
		}
		return list
	})
	return srv
}

// TestForwardBesideFork: deliver.local forwards the delivered message, even if a copy
// that it makes too becomes a fork with another body.
func TestForwardBesideFork(t *testing.T) {
	srv := newLuaServer(t, `
on("receive.rcpt", function(session, tx, rcpt) if rcpt.address == "list@our.example" then return accept() end end)
on("queue.expand", function(msg, rcpt)
  if rcpt.address ~= "list@our.example" then return end
  rcpt:fork():append_text("forked\n")
  rcpt:replace("x@out.example")
end)
on("deliver.local", function(msg, rcpt, box)
  mail.forward(msg, "forwarded@out.example")
  rcpt:copy_to("list@our.example")
end)
`)
	srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitAllIdle()
	got := map[envelope.Address]bool{}
	for _, one := range srv.transport.messages() {
		for _, to := range one.to {
			got[to] = strings.Contains(one.text, "forked")
		}
	}
	if want := map[envelope.Address]bool{"forwarded@out.example": false, "x@out.example": true}; !maps.Equal(got, want) {
		t.Errorf("recipients with the fork's text: got %v, want %v", got, want)
	}
}

// TestForwardWaitsForItsPolicy: a forward at delivery is not lost if a hook of the queue
// fails temporarily, and the delivery does not wait for it.
func TestForwardWaitsForItsPolicy(t *testing.T) {
	srv := newLuaServer(t, `
on("queue.expand", function(msg, rcpt)
  if rcpt.address == "forwarded@out.example" and kv.get("mended") == nil then error("broken") end
end)
on("deliver.local", function(msg, rcpt, box) mail.forward(msg, "forwarded@out.example") end)
`)
	id := srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitAllIdle()
	if n := len(srv.mailbox("alice@our.example", "INBOX")); n != 1 || len(srv.transport.messages()) != 0 {
		t.Errorf("alice has %d messages, the peer %d, want 1 and 0", n, len(srv.transport.messages()))
	}
	if err := errorOf(srv.store.Apply(t.Context(), []envelope.Effect{{Space: "scripts", Op: envelope.Set, Key: "mended",
		Value: []byte(`"yes"`)}})); err != nil {
		t.Fatal(err)
	}
	srv.clock.Advance(6 * time.Minute)
	srv.waitAllIdle()
	srv.waitFor("the forward is sent", func() bool { return len(srv.transport.messages()) == 1 })
	if n := len(srv.mailbox("alice@our.example", "INBOX")); n != 1 || srv.spoolCount() != 0 {
		t.Errorf("alice has %d messages, %d are spooled, want 1 and 0", n, srv.spoolCount())
	}
	if to := srv.transport.messages()[0].to; len(to) != 1 || to[0] != "forwarded@out.example" {
		t.Errorf("sent to %v, want forwarded@out.example (message %s)", to, id)
	}
}

// TestForwardExpires: a forward whose policy fails until the message expires gives a DSN,
// and the effects of the policy are undone.
func TestForwardExpires(t *testing.T) {
	srv := newLuaServer(t, `
on("queue.expand", function(msg, rcpt)
  if rcpt.address == "forwarded@out.example" then kv.incr("tried") error("broken") end
end)
on("deliver.local", function(msg, rcpt, box)
  if not msg:header("Auto-Submitted") then mail.forward(msg, "forwarded@out.example") end
end)
`)
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", everythingText, "bob@our.example")
	srv.waitAllIdle()
	srv.clock.Advance(30 * 24 * time.Hour)
	srv.waitFor("the DSN", func() bool { return len(srv.mailbox("alice@our.example", "INBOX")) == 1 })
	srv.waitAllIdle()
	if got := srv.mailbox("alice@our.example", "INBOX")[0]; !strings.Contains(got, "Status: 5.4.7") {
		t.Errorf("want a DSN with status 5.4.7, got %s", got)
	}
	if got := srv.kvValue("scripts", "tried"); got != "" {
		t.Errorf("effects of the policy that failed: got %q, want none", got)
	}
	if n := srv.spoolCount(); n != 0 || len(srv.transport.messages()) != 0 {
		t.Errorf("%d messages are spooled, %d were sent, want none", n, len(srv.transport.messages()))
	}
}

// TestDSNWaitsForTheDisk: a message whose DSN cannot be written is deferred. The client
// sends it again, and the DSN about the rejected recipient is made then.
func TestDSNWaitsForTheDisk(t *testing.T) {
	reject := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address == "bob@our.example" {
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Enhanced: "5.7.1", Text: "no"}}, nil
		}
		return hooks.Verdict{}, nil
	})
	srv, s := newFaultyServer(t, reject)
	writes := 0
	s.write = func() error {
		if writes++; writes == 2 { // the first writes the body of the message
			return store.ErrFull
		}
		return nil
	}
	st := srv.send(newUserSession("alice@our.example"), &envelope.Transaction{Sender: "alice@our.example"},
		strings.Replace(plainMessage, "a@a.example", "alice@our.example", 1),
		"alice@our.example", "bob@our.example")
	if st == nil || st.Code != 452 {
		t.Fatalf("got reply %v, want 452", st)
	}
	if n := srv.spoolCount() + len(srv.mailbox("alice@our.example", "INBOX")); n != 0 {
		t.Errorf("%d messages are left of a refused one, want 0", n)
	}
	srv.checkNothingHeld(s)
}
