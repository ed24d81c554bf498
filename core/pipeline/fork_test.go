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

// lists is a policy in Go: whatever is for NAME-list@ goes to alice, bob and
// x@out.example as a message of its own, for alter to change.
func mailsTo(alter func(e *hooks.Event, m *hooks.Message) error) hooks.Handler {
	return at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if !strings.HasSuffix(e.Rcpt.Address.Local(), "-list") {
			return hooks.Verdict{}, nil
		}
		m, err := e.Fork(e.Rcpt)
		if err != nil {
			return hooks.Verdict{}, err
		}
		if e.Msg.Size < int64(len(plain)) || m.Size != e.Msg.Size {
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

func known(e *hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{Action: hooks.Accept}, nil }

func fields(text, name string) string {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	return strings.Join(mime.ParseHeader([]byte(head+"\r\n")).All(name), "; ")
}

func body(text string) string {
	_, b, _ := strings.Cut(text, "\r\n\r\n")
	return b
}

// Copies of one fork have each its own text where the appended one has a mark,
// and a seal that tells how the message arrived; what is signed is what goes
// out.
func TestCopiesOfTheirOwn(t *testing.T) {
	h := &house{t: t, sink: &sink{}, clock: &clock.Clock{}}
	letter := at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
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
	h.furnish(badgerstore.Options{InMemory: true}, nil, core.Config{}, func(*badgerstore.Store) []hooks.Handler {
		return []hooks.Handler{at(hooks.ReceiveRcpt, known), letter}
	})
	h.signer = stamps{}
	h.accept(session(), "a@a.example", plain, "all@our.example")
	h.idle()
	says := func(text string) string {
		for line := range strings.SplitSeq(text, "\r\n") {
			if strings.HasPrefix(line, "ARC-Seal") && !strings.HasSuffix(line, fmt.Sprintf("over 1 signatures and %d octets", len(body(text)))) {
				t.Errorf("%q above a body of %d octets", line, len(body(text)))
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
		got := h.box(who, "INBOX")
		if len(got) != 1 || says(got[0]) != want || fields(got[0], "DKIM-Signature") == "" || fields(got[0], "ARC-Seal") != "" ||
			fields(got[0], "Return-Path") != "<bounce+"+who.Local()+"@our.example>" {
			t.Errorf("%s has %q", who, got)
		}
	}
	out := slices.Clone(h.sink.got)
	slices.SortFunc(out, func(a, b sent) int { return strings.Compare(string(a.sender), string(b.sender)) })
	if len(out) != 2 {
		t.Fatalf("%d copies went out", len(out))
	}
	for i, want := range []string{"dear x" + strings.Repeat("!", 60), "dear y" + strings.Repeat("!", 90)} {
		if got := says(out[i].text); got != want || int64(len(out[i].text)) != out[i].size {
			t.Errorf("copy %d: %q, %d octets, said to be %d", i, got, len(out[i].text), out[i].size)
		}
		if seal := fields(out[i].text, "ARC-Seal"); !strings.HasPrefix(seal, "d=our.example spf=pass over 1 ") ||
			!strings.HasPrefix(out[i].text, "ARC-Seal") {
			t.Errorf("copy %d: seal %q in %q", i, seal, out[i].text)
		}
	}
}

// TestFillsAreToldApart: whose texts read alike, but for where one ends, get no
// copy of each other.
func TestFillsAreToldApart(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.ReceiveRcpt, known), at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
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
	}))
	h.accept(session(), "a@a.example", plain, "all@our.example")
	h.idle()
	for _, got := range h.sink.all() {
		b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body(got.text))))
		want := map[envelope.Address]string{"x@out.example": "1 b:2 and -", "y@out.example": "1 and 2"}[got.to[0]]
		if err != nil || len(got.to) != 1 || !strings.HasSuffix(strings.TrimSpace(string(b)), want) {
			t.Errorf("%s got %q, %v", got.to, b, err)
		}
	}
	if n := len(h.sink.all()); n != 2 {
		t.Errorf("%d copies went out", n)
	}
}

// A fork goes out as it was changed, each copy with its own fields, sender and
// signature; whoever else got the message sees nothing of that.
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
			h := &house{t: t, sink: &sink{}, clock: &clock.Clock{}}
			h.furnish(badgerstore.Options{InMemory: true}, nil, core.Config{}, func(*badgerstore.Store) []hooks.Handler {
				return []hooks.Handler{at(hooks.ReceiveRcpt, known), mailsTo(func(e *hooks.Event,
					m *hooks.Message) error {
					return e.AppendText(m, mime.Text{Text: tt.footer})
				})}
			})
			h.signer = stamps{}
			id := h.accept(session(), "a@a.example", plain, tt.to...)
			h.idle()
			var got []string
			for _, text := range h.box("alice@our.example", "INBOX") {
				list := fields(text, "List-Id")
				got = append(got, list)
				want, sign, own, returns := "hello\r\n", "", "", "<a@a.example>"
				if list != "" {
					sign, own, returns = "d=our.example over alice", "alice", "<bounce+alice@our.example>"
					want += strings.ReplaceAll(tt.footer, "\n", "\r\n")
				}
				if body := strings.ReplaceAll(body(text), "=20", " "); body != want || fields(text, "DKIM-Signature") != sign+" " &&
					fields(text, "DKIM-Signature") != sign || fields(text, "X-Own") != own || fields(text, "Return-Path") != returns {
					t.Errorf("list %q: %s", list, text)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.alice) {
				t.Errorf("alice got %q", got)
			}
			forks := 0
			for _, a := range tt.to {
				if !strings.Contains(string(a), "list") {
					continue
				}
				forks++
				if archive := h.box(a, "INBOX"); len(archive) != 1 || fields(archive[0], "List-Id") != string(a) || fields(archive[0], "X-Own") != "" {
					t.Errorf("filed for %s: %q", a, archive)
				}
			}
			out := h.sink.all()
			if len(out) != forks || out[0].sender != "bounce+x@our.example" || fields(out[0].text, "X-Own") != "x" ||
				int64(len(out[0].text)) < out[0].size {
				t.Errorf("sent %+v", out)
			}
			if n := h.spooled(); n != 0 {
				t.Errorf("%d messages left", n)
			}
			if trail, err := h.store.Trail(t.Context(), id); err != nil || !slices.ContainsFunc(trail,
				func(e envelope.TrailEntry) bool { return strings.HasPrefix(e.Text, "goes on as message ") }) {
				t.Errorf("the trail does not say where it went: %v, %+v", err, trail)
			}
		})
	}
}

// A handler is not asked about the fork that it made; others are.
func TestForkIsNotShownToItsMaker(t *testing.T) {
	forking := func(file, name string, more ...envelope.Address) hooks.Handler {
		return handler{hooks.Info{Point: hooks.QueueExpand, File: file}, func(e *hooks.Event) (hooks.Verdict, error) {
			m, err := e.Fork(e.Rcpt)
			if err == nil && len(more) > 0 {
				err = e.CopyTo(e.Rcpt, []hooks.Target{{Address: more[0]}})
			}
			return hooks.Verdict{}, errors.Join(err, e.EditHeader(m, "again", func(h *mime.Header) error { return h.Append(name, "yes") }))
		}}
	}
	looked := 0
	looks := handler{hooks.Info{Point: hooks.QueueExpand, File: "looks.lua"},
		func(*hooks.Event) (hooks.Verdict, error) { looked++; return hooks.Verdict{}, nil }}
	varies := handler{hooks.Info{Point: hooks.QueueExpand, File: "varies.lua"}, func(e *hooks.Event) (hooks.Verdict, error) {
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
		"others are asked": {[]hooks.Handler{forking("a.lua", "X-A"), looks}, map[string]string{"X-A": "yes"}, 2, ""},
		"with a copy": {[]hooks.Handler{forking("a.lua", "X-A", "bob@our.example")}, map[string]string{"X-A": "yes"}, 0,
			"bob@our.example"},
		"a variant of itself": {[]hooks.Handler{varies}, map[string]string{"X-Varied": "yes"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			looked = 0
			h := newHouse(t, core.Config{}, c.handlers...)
			h.accept(session(), "a@a.example", plain, "alice@our.example")
			h.until("it is delivered", func() bool { return h.spooled() == 0 })
			for _, a := range []envelope.Address{"alice@our.example", c.to} {
				if a == "" {
					continue
				}
				got := h.box(a, "INBOX")
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
				t.Errorf("another handler was asked %d times, want %d", looked, c.looked)
			}
		})
	}
}

// A recipient that a policy replaces by itself stays, with what the policy wants
// for it.
func TestReplacedByItself(t *testing.T) {
	bounces := envelope.Address("bounces@our.example")
	again := at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: "bob@our.example"},
			{Address: e.Rcpt.Address, Sender: &bounces, Fields: "X-Own: yes\r\n"}})
	})
	h := newHouse(t, core.Config{}, again)
	h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "x@out.example")
	h.until("it is sent", func() bool { return h.spooled() == 0 })
	if out := h.sink.all(); len(out) != 1 || out[0].sender != bounces || fields(out[0].text, "X-Own") != "yes" {
		t.Errorf("sent %+v", out)
	}
	if got := h.box("bob@our.example", "INBOX"); len(got) != 1 || fields(got[0], "X-Own") != "yes" {
		t.Errorf("bob has %q", got)
	}
}

// One that a policy replaces by itself with a tag, or written in another way,
// stays too.
func TestReplacedByItsTag(t *testing.T) {
	for _, to := range []envelope.Address{"bob+news@our.example", "BOB@our.example"} {
		h := newHouse(t, core.Config{}, at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{}, e.Replace(e.Rcpt, []hooks.Target{{Address: to, Fields: "X-Own: yes\r\n"}})
		}))
		h.accept(user("alice@our.example"), "alice@our.example", "From: alice@our.example\r\n\r\nx\r\n", "bob@our.example")
		h.until("it is filed", func() bool { return h.spooled() == 0 })
		if got := h.box("bob@our.example", "INBOX"); len(got) != 1 || fields(got[0], "X-Own") != "yes" {
			t.Errorf("%s: bob has %q", to, got)
		}
	}
}

// Forks of forks for ever new recipients end.
func TestForksEnd(t *testing.T) {
	again := at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		m, err := e.Fork(e.Rcpt)
		err = errors.Join(err, e.EditHeader(m, "again", func(h *mime.Header) error { return h.Append("X-Again", "yes") }))
		return hooks.Verdict{}, errors.Join(err, e.Replace(e.Rcpt, []hooks.Target{{Address: "x" + e.Rcpt.Address}}))
	})
	h := newHouse(t, core.Config{}, again)
	if st := h.offer(session(), &envelope.Transaction{Sender: "a@a.example"}, plain, "alice@our.example"); st == nil || st.Code != 554 {
		t.Errorf("answer %v", st)
	}
	h.idle()
	if n := h.spooled(); n != 0 || len(h.box("alice@our.example", "INBOX")) != 0 {
		t.Errorf("%d left", n)
	}
}

// A fork that nobody changed is no other message.
func TestForkUnchanged(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		_, err := e.Fork(e.Rcpt)
		return hooks.Verdict{}, err
	}))
	id := h.accept(session(), "a@a.example", plain, "alice@our.example")
	h.idle()
	trail, err := h.store.Trail(t.Context(), id)
	if err != nil || slices.ContainsFunc(trail, func(e envelope.TrailEntry) bool {
		return strings.HasPrefix(e.Text,
			"goes on as message ")
	}) || len(h.box("alice@our.example", "INBOX")) != 1 {
		t.Errorf("%v, %+v", err, trail)
	}
}

// A variant goes to those whose target names it, and to nobody else.
func TestVariant(t *testing.T) {
	h := newHouse(t, core.Config{}, at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
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
	h.accept(session(), "a@a.example", plain, "alice@our.example")
	h.idle()
	for who, want := range map[envelope.Address]string{"alice@our.example": "", "bob@our.example": "yes"} {
		if got := h.box(who, "INBOX"); len(got) != 1 || fields(got[0], "X-Variant") != want {
			t.Errorf("%s has %q", who, got)
		}
	}
	for _, s := range h.sink.all() {
		if want := map[envelope.Address]string{"y@out.example": "yes"}[s.to[0]]; fields(s.text, "X-Variant") != want {
			t.Errorf("%s has %q", s.to, s.text)
		}
	}
	if n := len(h.sink.all()); n != 2 {
		t.Errorf("%d sent", n)
	}
	if n := h.spooled(); n != 0 {
		t.Errorf("%d messages left", n)
	}
}

// Who is refused among those that replace a recipient is told to the sender
// that the copy has, and the others get theirs.
func TestForkRefusedInPart(t *testing.T) {
	policy := at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if e.Rcpt.Address != "a-list@our.example" {
			return hooks.Verdict{}, nil
		}
		_, err := e.Fork(e.Rcpt)
		bounces := envelope.Address("bob@our.example")
		return hooks.Verdict{}, errors.Join(err, e.Replace(e.Rcpt, []hooks.Target{{Address: "nobody@our.example", Sender: &bounces}}))
	})
	h := newHouse(t, core.Config{}, at(hooks.ReceiveRcpt, known), policy)
	h.accept(session(), "a@a.example", plain, "a-list@our.example")
	h.idle()
	if got := h.box("bob@our.example", "INBOX"); len(got) != 1 || !strings.Contains(got[0], "Status: 5.1.1") {
		t.Errorf("the report: %q", got)
	}
}

// holdAll is a policy in Go that holds what is for NAME-list@ until it is
// released.
func holdAll(next hooks.Handler) hooks.Handler {
	return at(hooks.QueueExpand, func(e *hooks.Event) (hooks.Verdict, error) {
		if !strings.HasSuffix(e.Rcpt.Address.Local(), "-list") || e.Rcpt.Released {
			v, _, err := next.Call(context.Background(), hooks.Spec{}, e)
			return v, err
		}
		f, err := lists.Hold(string(e.Rcpt.Address), e.Msg.ID.String(), map[string]any{"subject": "hi"})
		return hooks.Verdict{Action: hooks.Discard, Reason: "held"}, errors.Join(err, e.AddEffect(f),
			e.AddSubmit(hooks.Submit{Forward: true, Hold: true, Sender: e.Msg.Sender, Rcpts: []envelope.Address{e.Rcpt.Address}}))
	})
}

// What is held waits, over a restart too, until it is released, dropped or
// returned, by a policy's decision or by an operator, once.
func TestHeld(t *testing.T) {
	policies := []hooks.Handler{at(hooks.ReceiveRcpt, known), holdAll(mailsTo(func(*hooks.Event, *hooks.Message) error { return nil }))}
	dir := t.TempDir()
	h := openHouse(t, dir, core.Config{}, policies...)
	decide := func(id envelope.ID, what string) {
		t.Helper()
		if err := applied(h.store.Apply(t.Context(), lists.Decide("a-list@our.example", id.String(), what))); err != nil {
			t.Fatal(err)
		}
	}
	listed := func() (ids []string) {
		for p, err := range h.store.Scan(t.Context(), lists.HeldSpace("a-list@our.example"), "", 100) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, p.Key)
		}
		return ids
	}
	var ids []envelope.ID
	for range 4 {
		ids = append(ids, h.accept(session(), "bob@our.example", plain, "a-list@our.example", "alice@our.example"))
	}
	h.idle()
	if n := h.spooled(); n != 4 || len(listed()) != 4 || len(h.box("alice@our.example", "INBOX")) != 4 {
		t.Fatalf("%d in the spool, listed %v", n, listed())
	}
	h.stop()
	h = openHouse(t, dir, core.Config{}, policies...)
	decide(ids[0], "release")
	decide(ids[0], "release")
	decide(ids[1], "drop")
	if err := h.Operate(t.Context(), operate.OpBounce, ids[2], "no"); err != nil {
		t.Fatal(err)
	}
	h.until("decided", func() bool { return h.spooled() == 1 && h.InFlight() == 0 })
	h.idle()
	if got := listed(); !slices.Equal(got, []string{ids[3].String()}) {
		t.Errorf("listed %v", got)
	}
	fromList := 0
	for _, text := range h.box("alice@our.example", "INBOX") {
		if fields(text, "List-Id") != "" {
			fromList++
		}
	}
	if fromList != 1 || len(h.sink.all()) != 1 {
		t.Errorf("released %d times, %d left", fromList, len(h.sink.all()))
	}
	if got := h.box("bob@our.example", "INBOX"); len(got) != 2 { // the list's copy and the report of what was returned
		t.Errorf("bob got %q", got)
	}
	if err := h.Operate(t.Context(), operate.OpDrop, ids[3], "no"); err != nil {
		t.Fatal(err)
	}
	if got := listed(); got != nil {
		t.Errorf("dropped and still listed: %v", got)
	}
	for p, err := range h.store.Scan(t.Context(), lists.DecisionSpace, "", 10) {
		t.Errorf("still to be decided: %v, %v", p, err)
	}
}

func applied(_ []int64, err error) error { return err }
