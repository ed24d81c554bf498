package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/clock"
	"carteiro/core/pipeline/operate"
	"carteiro/core/service/lists"
	"carteiro/core/store/badgerstore"
	"carteiro/hooks"
)

// listPolicy is a policy in Go: a message to NAME-list@ is forked for alice, bob and
// x@out.example, and alter changes the fork.
func listPolicy(alter func(e *hooks.Event, m *hooks.Message) error) hooks.Handler {
	return handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if !strings.HasSuffix(e.Rcpt.Address.Local(), "-list") {
			return hooks.Verdict{}, nil
		}
		m, err := e.Fork(e.Rcpt)
		if err != nil {
			return hooks.Verdict{}, err
		}
		if e.Msg.Size < int64(len(plainMessage)) || m.Size != e.Msg.Size {
			return hooks.Verdict{}, fmt.Errorf("size %d", e.Msg.Size)
		}
		var to []hooks.Target
		for _, a := range []envelope.Address{"alice@our.example", "bob@our.example", "x@out.example"} {
			bounces := envelope.Address("bounce+" + a.Local() + "@our.example")
			to = append(to, hooks.Target{Address: a, Sender: &bounces, Fields: "X-Own: " + a.Local() + "\r\n"})
		}
		to = append(to, hooks.Target{Address: e.Rcpt.Address, Mailbox: true})
		return hooks.Verdict{}, errors.Join(
			e.EditHeader(m, "list", func(h *mime.Header) error { return h.Set("List-Id", string(e.Rcpt.Address)) }),
			e.AddSignature(m, envelope.Signature{Domain: "our.example"}), e.Replace(e.Rcpt, to), alter(e, m))
	})
}

func acceptRcpt(e *hooks.Event) (hooks.Verdict, error) {
	return hooks.Verdict{Action: hooks.Accept}, nil
}

func fields(text, name string) string {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	return strings.Join(mime.ParseHeader([]byte(head+"\r\n")).All(name), "; ")
}

func body(text string) string {
	_, b, _ := strings.Cut(text, "\r\n\r\n")
	return b
}

// Copies of one fork differ where the appended text has a placeholder. Each has an ARC
// seal about how the message arrived, and signatures that match the copy.
func TestCopiesOfTheirOwn(t *testing.T) {
	srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}}
	letter := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "all@our.example" {
			return hooks.Verdict{}, nil
		}
		m, err := e.Fork(e.Rcpt)
		if err != nil {
			return hooks.Verdict{}, err
		}
		var to []hooks.Target
		for _, a := range []envelope.Address{"alice@our.example", "bob@our.example", "x@out.example", "y@out.example"} {
			bounces := envelope.Address("bounce+" + a.Local() + "@our.example")
			fill := envelope.Values{"who": "dear " + a.Local() + strings.Repeat("!", len(to)*30)}
			if a.Local() == "bob" {
				fill = nil
			}
			to = append(to, hooks.Target{Address: a, Sender: &bounces, Fill: fill, ARC: "our.example"})
		}
		return hooks.Verdict{}, errors.Join(e.AppendText(m, mime.Text{Text: "for "}, mime.Text{Name: "who", Text: "everybody"},
			mime.Text{Text: "\n"}),
			e.AddSignature(m, envelope.Signature{Domain: "our.example"}), e.Replace(e.Rcpt, to))
	})
	srv.start(badgerstore.Options{InMemory: true}, nil, core.Config{}, func(*badgerstore.Store) []hooks.Handler {
		return []hooks.Handler{handlerAt(hooks.ReceiveRcpt, acceptRcpt), letter}
	})
	srv.signer = fakeSigner{}
	srv.mustSend(newSession(), "a@a.example", plainMessage, "all@our.example")
	srv.waitIdle()
	says := func(text string) string {
		for line := range strings.SplitSeq(text, "\r\n") {
			if strings.HasPrefix(line, "ARC-Seal") && !strings.HasSuffix(line, fmt.Sprintf("over 1 signatures and %d octets", len(body(text)))) {
				t.Errorf("%q is above a body of %d octets, want that number in it", line, len(body(text)))
			}
		}
		b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body(text))))
		if err != nil {
			t.Fatal(err)
		}
		_, foot, _ := strings.Cut(string(b), "for ")
		return strings.TrimSpace(foot)
	}
	for who, want := range map[envelope.Address]string{"alice@our.example": "dear alice", "bob@our.example": "everybody"} {
		got := srv.mailbox(who, "INBOX")
		if len(got) != 1 || says(got[0]) != want || fields(got[0], "DKIM-Signature") == "" || fields(got[0], "ARC-Seal") != "" ||
			fields(got[0], "Return-Path") != "<bounce+"+who.Local()+"@our.example>" {
			t.Errorf("%s has %q, want one filled copy with its own return path", who, got)
		}
	}
	out := slices.Clone(srv.transport.received)
	slices.SortFunc(out, func(a, b sentMessage) int { return strings.Compare(string(a.sender), string(b.sender)) })
	if len(out) != 2 {
		t.Fatalf("%d copies were sent, want 2", len(out))
	}
	for i, want := range []string{"dear x" + strings.Repeat("!", 60), "dear y" + strings.Repeat("!", 90)} {
		if got := says(out[i].text); got != want || int64(len(out[i].text)) != out[i].size {
			t.Errorf("copy %d: got %q, %d octets, size %d", i, got, len(out[i].text), out[i].size)
		}
		if seal := fields(out[i].text, "ARC-Seal"); !strings.HasPrefix(seal, "d=our.example spf=pass over 1 ") ||
			!strings.HasPrefix(out[i].text, "ARC-Seal") {
			t.Errorf("copy %d: got seal %q in %q, want the seal of our.example on top", i, seal, out[i].text)
		}
	}
}

// TestFillsAreToldApart: recipients whose values give the same text when joined still
// get different copies.
func TestFillsAreToldApart(t *testing.T) {
	srv := newTestServer(
		t,
		core.Config{},
		handlerAt(hooks.ReceiveRcpt, acceptRcpt),
		handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
			if e.Rcpt.Address != "all@our.example" {
				return hooks.Verdict{}, nil
			}
			m, err := e.Fork(e.Rcpt)
			if err != nil {
				return hooks.Verdict{}, err
			}
			return hooks.Verdict{}, errors.Join(e.AppendText(m, mime.Text{Name: "a", Text: "-"}, mime.Text{Text: " and "},
				mime.Text{Name: "b", Text: "-"}),
				e.Replace(e.Rcpt, []hooks.Target{{Address: "x@out.example", Fill: envelope.Values{"a": "1 b:2"}},
					{Address: "y@out.example", Fill: envelope.Values{"a": "1", "b": "2"}}}))
		}),
	)
	srv.mustSend(newSession(), "a@a.example", plainMessage, "all@our.example")
	srv.waitIdle()
	for _, got := range srv.transport.messages() {
		b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body(got.text))))
		want := map[envelope.Address]string{"x@out.example": "1 b:2 and -", "y@out.example": "1 and 2"}[got.to[0]]
		if err != nil || len(got.to) != 1 || !strings.HasSuffix(strings.TrimSpace(string(b)), want) {
			t.Errorf("%s got %q, %v, want its own text", got.to, b, err)
		}
	}
	if n := len(srv.transport.messages()); n != 2 {
		t.Errorf("%d copies were sent, want 2", n)
	}
}

// The copies of a fork have its changes, and each has its own fields, sender and
// signature. Other recipients of the message get it unchanged.
func TestFork(t *testing.T) {
	for name, tt := range map[string]struct {
		footer string
		to     []envelope.Address
		alice  []string // List-Id of what she gets
	}{
		"alone":         {"", []envelope.Address{"a-list@our.example"}, []string{"a-list@our.example"}},
		"beside a user": {"", []envelope.Address{"alice@our.example", "a-list@our.example"}, []string{"", "a-list@our.example"}},
		"twice": {"", []envelope.Address{"a-list@our.example", "b-list@our.example"},
			[]string{"a-list@our.example", "b-list@our.example"}},
		"changed": {"-- \nfoot\n", []envelope.Address{"a-list@our.example"}, []string{"a-list@our.example"}},
		"changed beside": {"-- \nfoot\n", []envelope.Address{"a-list@our.example", "alice@our.example", "b-list@our.example"},
			[]string{"", "a-list@our.example", "b-list@our.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := &testServer{t: t, transport: &fakeTransport{}, clock: &clock.Clock{}}
			srv.start(badgerstore.Options{InMemory: true}, nil, core.Config{}, func(*badgerstore.Store) []hooks.Handler {
				return []hooks.Handler{handlerAt(hooks.ReceiveRcpt, acceptRcpt), listPolicy(func(e *hooks.Event,
					m *hooks.Message) error {
					return e.AppendText(m, mime.Text{Text: tt.footer})
				})}
			})
			srv.signer = fakeSigner{}
			id := srv.mustSend(newSession(), "a@a.example", plainMessage, tt.to...)
			srv.waitIdle()
			var got []string
			for _, text := range srv.mailbox("alice@our.example", "INBOX") {
				list := fields(text, "List-Id")
				got = append(got, list)
				want, sign, own, returns := "hello\r\n", "", "", "<a@a.example>"
				if list != "" {
					sign, own, returns = "d=our.example over alice", "alice", "<bounce+alice@our.example>"
					want += strings.ReplaceAll(tt.footer, "\n", "\r\n")
				}
				if body := strings.ReplaceAll(body(text), "=20", " "); body != want || fields(text, "DKIM-Signature") != sign+" " &&
					fields(text, "DKIM-Signature") != sign || fields(text, "X-Own") != own || fields(text, "Return-Path") != returns {
					t.Errorf("list %q: wrong text or fields: %s", list, text)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.alice) {
				t.Errorf("alice got List-Ids %q, want %q", got, tt.alice)
			}
			forks := 0
			for _, a := range tt.to {
				if !strings.Contains(string(a), "list") {
					continue
				}
				forks++
				if archive := srv.mailbox(a, "INBOX"); len(archive) != 1 || fields(archive[0], "List-Id") != string(a) ||
					fields(archive[0], "X-Own") != "" {
					t.Errorf("filed for %s: got %q, want one copy with that List-Id and no X-Own", a, archive)
				}
			}
			out := srv.transport.messages()
			if len(out) != forks || out[0].sender != "bounce+x@our.example" || fields(out[0].text, "X-Own") != "x" ||
				int64(len(out[0].text)) < out[0].size {
				t.Errorf("sent %+v, want one message for each fork, from bounce+x@our.example", out)
			}
			if n := srv.spoolCount(); n != 0 {
				t.Errorf("%d messages are left in the spool, want 0", n)
			}
			if trail, err := srv.store.Trail(t.Context(), id); err != nil || !slices.ContainsFunc(trail,
				func(e envelope.TrailEntry) bool { return strings.HasPrefix(e.Text, "goes on as message ") }) {
				t.Errorf("no entry in the trail about the fork: %v, %+v", err, trail)
			}
		})
	}
}

// A handler does not run for the fork that it made; other handlers do.
func TestForkIsNotShownToItsMaker(t *testing.T) {
	forking := func(file, name string, more ...envelope.Address) hooks.Handler {
		return goHandler{hooks.Info{Point: hooks.QueueExpand, File: file}, func(e *hooks.Event) (hooks.Verdict, error) {
			m, err := e.Fork(e.Rcpt)
			if err == nil && len(more) > 0 {
				err = e.CopyTo(e.Rcpt, []hooks.Target{{Address: more[0]}})
			}
			return hooks.Verdict{}, errors.Join(err, e.EditHeader(m, "again", func(h *mime.Header) error { return h.Append(name, "yes") }))
		}}
	}
	looked := 0
	looks := goHandler{hooks.Info{Point: hooks.QueueExpand, File: "looks.lua"},
		func(*hooks.Event) (hooks.Verdict, error) { looked++; return hooks.Verdict{}, nil }}
	varies := goHandler{hooks.Info{Point: hooks.QueueExpand, File: "varies.lua"}, func(e *hooks.Event) (hooks.Verdict, error) {
		m, err := e.Variant(e.Rcpt)
		err = errors.Join(err, e.EditHeader(m, "again", func(h *mime.Header) error { return h.Append("X-Varied", "yes") }))
		return hooks.Verdict{}, errors.Join(err, e.Replace(e.Rcpt, []hooks.Target{{Address: e.Rcpt.Address, Msg: m}}))
	}}
	for name, c := range map[string]struct {
		handlers []hooks.Handler
		fields   map[string]string // of alice's message
		looked   int
		to       envelope.Address // somebody else who gets it too
	}{
		"one": {[]hooks.Handler{forking("a.lua", "X-A")}, map[string]string{"X-A": "yes"}, 0, ""},
		"two": {[]hooks.Handler{forking("a.lua", "X-A"), forking("b.lua", "X-B")}, map[string]string{"X-A": "yes", "X-B": "yes"},
			0, ""},
		"other handlers are called": {[]hooks.Handler{forking("a.lua", "X-A"), looks}, map[string]string{"X-A": "yes"}, 2, ""},
		"with a copy": {[]hooks.Handler{forking("a.lua", "X-A", "bob@our.example")}, map[string]string{"X-A": "yes"}, 0,
			"bob@our.example"},
		"a variant of itself": {[]hooks.Handler{varies}, map[string]string{"X-Varied": "yes"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			looked = 0
			srv := newTestServer(t, core.Config{}, c.handlers...)
			srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
			srv.waitFor("it is delivered", func() bool { return srv.spoolCount() == 0 })
			for _, a := range []envelope.Address{"alice@our.example", c.to} {
				if a == "" {
					continue
				}
				got := srv.mailbox(a, "INBOX")
				if len(got) != 1 {
					t.Fatalf("%s has %d messages, want 1", a, len(got))
				}
				for field, want := range c.fields {
					if v := fields(got[0], field); v != want {
						t.Errorf("%s of the message of %s is %q, want %q", field, a, v, want)
					}
				}
			}
			if looked != c.looked {
				t.Errorf("another handler was called %d times, want %d", looked, c.looked)
			}
		})
	}
}

// A recipient that a policy replaces by itself stays, with the changes of the policy.
func TestReplacedByItself(t *testing.T) {
	bounces := envelope.Address("bounces@our.example")
	again := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: "bob@our.example"},
			{Address: e.Rcpt.Address, Sender: &bounces, Fields: "X-Own: yes\r\n"}})
	})
	srv := newTestServer(t, core.Config{}, again)
	srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "x@out.example")
	srv.waitFor("it is sent", func() bool { return srv.spoolCount() == 0 })
	if out := srv.transport.messages(); len(out) != 1 || out[0].sender != bounces || fields(out[0].text, "X-Own") != "yes" {
		t.Errorf("sent %+v, want one message with the policy's sender and field", out)
	}
	if got := srv.mailbox("bob@our.example", "INBOX"); len(got) != 1 || fields(got[0], "X-Own") != "yes" {
		t.Errorf("bob has %q, want one message with the policy's field", got)
	}
}

// The same holds for the address with a tag, or in another spelling.
func TestReplacedByItsTag(t *testing.T) {
	for _, to := range []envelope.Address{"bob+news@our.example", "BOB@our.example"} {
		srv := newTestServer(t, core.Config{}, handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: to, Fields: "X-Own: yes\r\n"}})
		}))
		srv.mustSend(newUserSession("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "bob@our.example")
		srv.waitFor("it is filed", func() bool { return srv.spoolCount() == 0 })
		if got := srv.mailbox("bob@our.example", "INBOX"); len(got) != 1 || fields(got[0], "X-Own") != "yes" {
			t.Errorf("%s: bob has %q, want one message with the policy's field", to, got)
		}
	}
}

// A policy that forks each fork for a new recipient is stopped.
func TestForksEnd(t *testing.T) {
	again := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		m, err := e.Fork(e.Rcpt)
		err = errors.Join(err, e.EditHeader(m, "again", func(h *mime.Header) error { return h.Append("X-Again", "yes") }))
		return hooks.Verdict{}, errors.Join(err, e.Replace(e.Rcpt, []hooks.Target{{Address: "x" + e.Rcpt.Address}}))
	})
	srv := newTestServer(t, core.Config{}, again)
	if st := srv.send(newSession(), &envelope.Transaction{Sender: "a@a.example"}, plainMessage, "alice@our.example"); st == nil ||
		st.Code != 554 {
		t.Errorf("got reply %v, want 554", st)
	}
	srv.waitIdle()
	if n := srv.spoolCount(); n != 0 || len(srv.mailbox("alice@our.example", "INBOX")) != 0 {
		t.Errorf("%d messages in the spool, or some in the mailbox, want none", n)
	}
}

// A fork without changes does not become another message.
func TestForkUnchanged(t *testing.T) {
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		_, err := e.Fork(e.Rcpt)
		return hooks.Verdict{}, err
	}))
	id := srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	trail, err := srv.store.Trail(t.Context(), id)
	if err != nil || slices.ContainsFunc(trail, func(e envelope.TrailEntry) bool {
		return strings.HasPrefix(e.Text,
			"goes on as message ")
	}) || len(srv.mailbox("alice@our.example", "INBOX")) != 1 {
		t.Errorf("want one message and no fork in the trail: %v, %+v", err, trail)
	}
}

// Only the recipients whose target names a variant get it.
func TestVariant(t *testing.T) {
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "alice@our.example" || e.Msg.Header.Has("X-Variant") {
			return hooks.Verdict{}, nil
		}
		none, err := e.Variant(e.Rcpt)
		m, err2 := e.Variant(e.Rcpt)
		set := func(m *hooks.Message, v string) error {
			return e.EditHeader(m, v, func(h *mime.Header) error { return h.Set("X-Variant", v) })
		}
		return hooks.Verdict{}, errors.Join(err, err2, set(none, "nobody's"), set(m, "yes"),
			e.CopyTo(e.Rcpt, []hooks.Target{{Address: "bob@our.example", Msg: m}, {Address: "x@out.example"}, {Address: "y@out.example", Msg: m}}))
	}))
	srv.mustSend(newSession(), "a@a.example", plainMessage, "alice@our.example")
	srv.waitIdle()
	for who, want := range map[envelope.Address]string{"alice@our.example": "", "bob@our.example": "yes"} {
		if got := srv.mailbox(who, "INBOX"); len(got) != 1 || fields(got[0], "X-Variant") != want {
			t.Errorf("%s has %q, want only its own variant", who, got)
		}
	}
	for _, s := range srv.transport.messages() {
		if want := map[envelope.Address]string{"y@out.example": "yes"}[s.to[0]]; fields(s.text, "X-Variant") != want {
			t.Errorf("%s got %q, want only its own variant", s.to, s.text)
		}
	}
	if n := len(srv.transport.messages()); n != 2 {
		t.Errorf("%d messages were sent, want 2", n)
	}
	if n := srv.spoolCount(); n != 0 {
		t.Errorf("%d messages are left in the spool, want 0", n)
	}
}

// If one of the recipients that replace another is rejected, the DSN goes to the
// sender of its copy, and the others get theirs.
func TestForkRefusedInPart(t *testing.T) {
	policy := handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "a-list@our.example" {
			return hooks.Verdict{}, nil
		}
		_, err := e.Fork(e.Rcpt)
		bounces := envelope.Address("bob@our.example")
		return hooks.Verdict{}, errors.Join(err, e.Replace(e.Rcpt, []hooks.Target{{Address: "nobody@our.example", Sender: &bounces}}))
	})
	srv := newTestServer(t, core.Config{}, handlerAt(hooks.ReceiveRcpt, acceptRcpt), policy)
	srv.mustSend(newSession(), "a@a.example", plainMessage, "a-list@our.example")
	srv.waitIdle()
	if got := srv.mailbox("bob@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "Status: 5.1.1") {
		t.Errorf("bob has %q, want one DSN with status 5.1.1", got)
	}
}

// holdPolicy is a policy in Go that holds messages to NAME-list@ until they are
// released.
func holdPolicy(next hooks.Handler) hooks.Handler {
	return handlerAt(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if !strings.HasSuffix(e.Rcpt.Address.Local(), "-list") || e.Rcpt.Released {
			v, _, err := next.Call(context.Background(), hooks.Spec{}, e)
			return v, err
		}
		f, err := lists.Hold(string(e.Rcpt.Address), e.Msg.ID.String(), map[string]any{"subject": "hi"})
		return hooks.Verdict{Action: hooks.Discard, Reason: "held"}, errors.Join(err, e.AddEffect(f),
			e.AddSubmit(hooks.Submit{Forward: true, Hold: true, Sender: e.Msg.Sender, Rcpts: []envelope.Address{e.Rcpt.Address}}))
	})
}

// A held message waits, also after a restart, until a policy or an operator releases,
// drops or bounces it. That happens once.
func TestHeld(t *testing.T) {
	policies := []hooks.Handler{
		handlerAt(hooks.ReceiveRcpt, acceptRcpt),
		holdPolicy(listPolicy(func(*hooks.Event, *hooks.Message) error { return nil })),
	}
	dir := t.TempDir()
	srv := openTestServer(t, dir, core.Config{}, policies...)
	decide := func(id envelope.ID, what string) {
		t.Helper()
		if err := errorOf(srv.store.Apply(t.Context(), lists.Decide("a-list@our.example", id.String(), what))); err != nil {
			t.Fatal(err)
		}
	}
	listed := func() (ids []string) {
		for p, err := range srv.store.Scan(t.Context(), lists.HeldSpace("a-list@our.example"), "", 100) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, p.Key)
		}
		return ids
	}
	var ids []envelope.ID
	for range 4 {
		ids = append(ids, srv.mustSend(newSession(), "bob@our.example", plainMessage, "a-list@our.example", "alice@our.example"))
	}
	srv.waitIdle()
	if n := srv.spoolCount(); n != 4 || len(listed()) != 4 || len(srv.mailbox("alice@our.example", "INBOX")) != 4 {
		t.Fatalf("%d messages in the spool, listed %v, want 4 and 4", n, listed())
	}
	srv.stop()
	srv = openTestServer(t, dir, core.Config{}, policies...)
	decide(ids[0], "release")
	decide(ids[0], "release")
	decide(ids[1], "drop")
	if err := srv.Operate(t.Context(), operate.OpBounce, ids[2], "no"); err != nil {
		t.Fatal(err)
	}
	srv.waitFor("decided", func() bool { return srv.spoolCount() == 1 && srv.InFlight() == 0 })
	srv.waitIdle()
	if got := listed(); !slices.Equal(got, []string{ids[3].String()}) {
		t.Errorf("listed %v, want only the fourth message", got)
	}
	fromList := 0
	for _, text := range srv.mailbox("alice@our.example", "INBOX") {
		if fields(text, "List-Id") != "" {
			fromList++
		}
	}
	if fromList != 1 || len(srv.transport.messages()) != 1 {
		t.Errorf("released %d times, sent %d messages, want 1 and 1", fromList, len(srv.transport.messages()))
	}
	if got := srv.mailbox("bob@our.example", "INBOX"); len(got) != 2 { // the list's copy and a DSN
		t.Errorf("bob got %q, want the list's copy and a DSN", got)
	}
	if err := srv.Operate(t.Context(), operate.OpDrop, ids[3], "no"); err != nil {
		t.Fatal(err)
	}
	if got := listed(); got != nil {
		t.Errorf("still listed after drop: %v", got)
	}
	for p, err := range srv.store.Scan(t.Context(), lists.DecisionSpace, "", 10) {
		t.Errorf("decision left in the store: %v, %v", p, err)
	}
}

func errorOf(_ []int64, err error) error { return err }
