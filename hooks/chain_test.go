package hooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// policy is a handler in Go.
type policy struct {
	info hooks.Info
	call func(e *hooks.Event) (hooks.Verdict, error)
}

func (p policy) Info() hooks.Info { return p.info }

func (p policy) Call(_ context.Context, _ hooks.Spec, e *hooks.Event) (hooks.Verdict, int64, error) {
	v, err := p.call(e)
	return v, 7, err
}

var errBroken = fmt.Errorf("%w: broken", hooks.ErrHook)

// step is a handler in a table: its tier and what it answers.
type step struct {
	tier     hooks.Tier
	order    int
	position int
	file     string
	line     int
	answer   hooks.Action
	fails    bool
	panics   bool
	onError  hooks.Failure
	listener string
	domains  []string
}

// run makes a chain of steps, runs it and tells who was asked, as letters.
func run(p hooks.Point, e *hooks.Event, steps ...step) (hooks.Verdict, []envelope.TrailEntry, string) {
	var asked []byte
	var list []hooks.Handler
	for i, s := range steps {
		list = append(list, policy{info: hooks.Info{Point: p, Tier: s.tier, Order: s.order, Position: s.position, File: s.file, Line: s.line,
			OnError:  s.onError,
			Listener: s.listener, Domains: s.domains, Generation: "g1"},
			call: func(*hooks.Event) (hooks.Verdict, error) {
				asked = append(asked, byte('a'+i))
				if s.panics {
					panic("out of order")
				}
				if s.fails {
					return hooks.Verdict{Action: hooks.Accept}, errBroken
				}
				return hooks.Verdict{Action: s.answer, Reason: string(rune('a' + i)), Identity: map[string]any{"by": string(rune('a' + i))}}, nil
			}})
	}
	e.Point = p
	v, trail := hooks.NewChain(list).Run(context.Background(), e)
	return v, trail, string(asked)
}

func TestOrder(t *testing.T) {
	_, _, asked := run(hooks.ReceiveMail, &hooks.Event{},
		step{tier: hooks.After, order: -100},            // a
		step{tier: hooks.Domain, order: -100},           // b
		step{tier: hooks.Bundle, position: 1},           // c
		step{tier: hooks.Bundle, position: 0, order: 5}, // d
		step{tier: hooks.Admin, file: "b.lua"},          // e
		step{tier: hooks.Admin, file: "a.lua", line: 9}, // f
		step{tier: hooks.Admin, file: "a.lua", line: 2}, // g
		step{tier: hooks.Admin, file: "z.lua", order: -1},
	)
	if asked != "hgfedcba" {
		t.Errorf("asked %s, want hgfedcba", asked)
	}
}

func TestVerdicts(t *testing.T) {
	const admin, bundle, domain, after = hooks.Admin, hooks.Bundle, hooks.Domain, hooks.After
	for name, c := range map[string]struct {
		point hooks.Point
		steps []step
		asked string
		want  hooks.Action
	}{
		"nobody":   {hooks.ReceiveRcpt, nil, "", hooks.Continue},
		"continue": {hooks.ReceiveRcpt, []step{{tier: admin}, {tier: bundle}}, "ab", hooks.Continue},
		"reject ends": {hooks.ReceiveRcpt, []step{{tier: admin, answer: hooks.Reject},
			{tier: after, answer: hooks.Accept}}, "a", hooks.Reject},
		"defer ends": {hooks.ReceiveRcpt, []step{{tier: bundle, answer: hooks.Defer}, {tier: after}}, "a",
			hooks.Defer},
		"discard ends": {hooks.ReceiveRcpt, []step{{tier: domain, answer: hooks.Discard}, {tier: after}}, "a",
			hooks.Discard},
		"quarantine ends": {hooks.ReceiveData, []step{{tier: bundle, answer: hooks.Quarantine}, {tier: after}}, "a",
			hooks.Quarantine},
		"accept of the admin skips the lower": {hooks.ReceiveRcpt, []step{{tier: admin, answer: hooks.Accept}, {tier: admin, order: 1},
			{tier: bundle}, {tier: domain}, {tier: after}}, "ae", hooks.Accept},
		"accept of a bundle skips bundles": {hooks.ReceiveRcpt, []step{{tier: admin}, {tier: bundle, answer: hooks.Accept},
			{tier: bundle, position: 1, answer: hooks.Reject}, {tier: domain, answer: hooks.Reject}, {tier: after}}, "abe", hooks.Accept},
		"accept of a domain": {hooks.ReceiveRcpt, []step{{tier: bundle}, {tier: domain, answer: hooks.Accept},
			{tier: domain, order: 1}, {tier: after}}, "abd", hooks.Accept},
		"the admin's last word after an accept": {hooks.ReceiveRcpt, []step{{tier: bundle, answer: hooks.Accept},
			{tier: after, answer: hooks.Reject}}, "ab", hooks.Reject},
		"accept of after ends after": {hooks.ReceiveRcpt, []step{{tier: after, answer: hooks.Accept},
			{tier: after, order: 1, answer: hooks.Reject}}, "a", hooks.Accept},
		"two accepts, the second ends its tier": {hooks.ReceiveRcpt, []step{{tier: bundle, answer: hooks.Accept},
			{tier: after, answer: hooks.Accept}, {tier: after, order: 1, answer: hooks.Reject}}, "ab", hooks.Accept},
		"a block list of the admin comes first": {hooks.ReceiveRcpt, []step{{tier: bundle, answer: hooks.Accept},
			{tier: admin, answer: hooks.Reject}}, "b", hooks.Reject},
		"a verdict the hook has not": {hooks.ReceiveMail, []step{{tier: admin, answer: hooks.Accept}, {tier: after}}, "a",
			hooks.Defer},
		"another such": {hooks.DeliverLocal, []step{{tier: admin, answer: hooks.Defer}, {tier: after}}, "ab",
			hooks.Continue},
		"nodsn goes on": {hooks.DeliverResult, []step{{tier: admin, answer: hooks.NoDSN},
			{tier: after, answer: hooks.Fail}}, "ab", hooks.Fail},
		"a panic is a failure": {hooks.ReceiveRcpt, []step{{tier: admin, panics: true}, {tier: after}}, "a", hooks.Defer},
		"continue on error": {hooks.ReceiveRcpt, []step{{tier: admin, fails: true, onError: hooks.FailContinue},
			{tier: after}}, "ab", hooks.Continue},
		"reject on error": {hooks.ReceiveRcpt, []step{{tier: admin, fails: true, onError: hooks.FailReject},
			{tier: after}}, "a", hooks.Reject},
		"quarantine on error": {hooks.ReceiveData, []step{{tier: admin, fails: true, onError: hooks.FailQuarantine},
			{tier: after}}, "a", hooks.Quarantine},
		"defer on error": {hooks.DeliverLocal, []step{{tier: admin, fails: true, onError: hooks.FailDefer},
			{tier: after}}, "a", hooks.Defer},
		"failing is stricter than an accept": {hooks.ReceiveRcpt, []step{{tier: bundle, answer: hooks.Accept}, {tier: after, fails: true}},
			"ab", hooks.Defer},
		"after keep nothing is dropped": {hooks.DeliverLocal, []step{{tier: admin, fails: true}, {tier: bundle, answer: hooks.Discard}},
			"ab", hooks.Keep},
		"after keep nothing is rejected": {hooks.DeliverLocal, []step{{tier: admin, fails: true}, {tier: bundle, answer: hooks.Reject}},
			"ab", hooks.Keep},
		"after keep it can be filed": {hooks.DeliverLocal, []step{{tier: admin, fails: true}, {tier: bundle, answer: hooks.FileInto}},
			"ab", hooks.FileInto},
		"a failing handler's own accept is void": {hooks.ReceiveRcpt, []step{{tier: admin, fails: true, onError: hooks.FailContinue},
			{tier: bundle, answer: hooks.Reject}}, "ab", hooks.Reject},
	} {
		t.Run(name, func(t *testing.T) {
			e := &hooks.Event{Rcpt: &hooks.Rcpt{Recipient: &envelope.Recipient{Address: "bob@our.example"}}}
			v, _, asked := run(c.point, e, c.steps...)
			if v.Action != c.want || asked != c.asked {
				t.Errorf("got %v, asked %q; want %v, %q", v, asked, c.want, c.asked)
			}
		})
	}
}

func TestNoDSNIsKept(t *testing.T) {
	v, _, _ := run(hooks.DeliverResult, &hooks.Event{}, step{tier: hooks.Admin, answer: hooks.NoDSN},
		step{tier: hooks.After, answer: hooks.Fail})
	if !v.NoDSN {
		t.Error("nodsn was lost")
	}
}

func TestFirstIdentityCounts(t *testing.T) {
	v, _, _ := run(hooks.ReceiveAuth, &hooks.Event{}, step{tier: hooks.Bundle, answer: hooks.Accept},
		step{tier: hooks.After, answer: hooks.Accept})
	if v.Identity["by"] != "a" {
		t.Errorf("identity of %v", v.Identity["by"])
	}
}

// TestFailureColumn: what the contract's table says, for each hook, for each
// way to fail.
func TestFailureColumn(t *testing.T) {
	want := map[hooks.Point]string{
		hooks.ReceiveConnect: "defer 421", hooks.ReceiveHelo: "defer 451", hooks.ReceiveAuth: "defer 454", hooks.ReceiveMail: "defer 451",
		hooks.ReceiveRcpt: "defer 451", hooks.ReceiveHeaders: "defer 451", hooks.ReceiveData: "defer 451", hooks.QueueExpand: "defer 451",
		hooks.QueueCommit: "defer 451", hooks.RouteResolve: "continue", hooks.DeliverAttempt: "continue", hooks.DeliverLocal: "continue",
		hooks.DeliverResult: "continue", hooks.DeliverDSN: "continue", hooks.TimerTick: "continue", hooks.WebRequest: "continue",
		hooks.ObserveEvent: "continue",
		hooks.AdminCommand: "continue", hooks.ReceiveAfter: "continue",
	}
	if len(want) != len(hooks.Specs()) {
		t.Fatalf("%d hooks in the table, %d here", len(hooks.Specs()), len(want))
	}
	for _, s := range hooks.Specs() {
		for name, bad := range map[string]step{"error": {fails: true}, "panic": {panics: true}, "verdict": {answer: 200}} {
			v, trail, _ := run(s.Point, &hooks.Event{}, bad)
			if got := v.String(); !strings.HasPrefix(got, want[s.Point]) {
				t.Errorf("%s, %s: got %q, want %q", s.Point, name, got, want[s.Point])
			}
			if len(trail) != 1 || trail[0].Err == "" || trail[0].Hook != string(s.Point) || trail[0].Generation != "g1" {
				t.Errorf("%s, %s: trail %+v", s.Point, name, trail)
			}
			if strings.Contains(v.Status.Text, "broken") {
				t.Errorf("%s: the peer sees %q", s.Point, v.Status.Text)
			}
		}
	}
}

func TestListenerAndDomains(t *testing.T) {
	mx := &envelope.Session{Listener: "mx"}
	rcpt := func(a string) *hooks.Rcpt {
		return &hooks.Rcpt{Recipient: &envelope.Recipient{Address: envelope.Address(a), Orig: "orig@orig.example"}}
	}
	ours := []string{"our.example"}
	for name, c := range map[string]struct {
		e     *hooks.Event
		s     step
		asked bool
	}{
		"listener":           {&hooks.Event{Session: mx}, step{listener: "mx"}, true},
		"other listener":     {&hooks.Event{Session: mx}, step{listener: "submission"}, false},
		"no session":         {&hooks.Event{}, step{listener: "mx"}, false},
		"recipient":          {&hooks.Event{Rcpt: rcpt("bob@our.example")}, step{domains: ours}, true},
		"original recipient": {&hooks.Event{Rcpt: rcpt("x@y.example")}, step{domains: []string{"orig.example"}}, true},
		"other recipient": {&hooks.Event{Rcpt: rcpt("bob@other.example"),
			Session: &envelope.Session{Identity: &envelope.Identity{User: "a@our.example"}}}, step{domains: ours}, false},
		"group":       {&hooks.Event{Group: &envelope.Group{Domain: "our.example"}}, step{domains: ours}, true},
		"route":       {&hooks.Event{Domain: "our.example"}, step{domains: ours}, true},
		"other route": {&hooks.Event{Domain: "other.example"}, step{domains: ours}, false},
		"login": {&hooks.Event{Cred: &hooks.Cred{Credentials: &envelope.Credentials{User: "Bob@Our.Example"}}},
			step{domains: ours}, true},
		"other login": {&hooks.Event{Cred: &hooks.Cred{Credentials: &envelope.Credentials{User: "bob@other.example"}}},
			step{domains: ours}, false},
		"identity": {&hooks.Event{Session: &envelope.Session{Identity: &envelope.Identity{User: "a@our.example"}}},
			step{domains: ours}, true},
		"one of the recipients": {&hooks.Event{Tx: &envelope.Transaction{Recipients: []*envelope.Recipient{{Address: "a@x.example"},
			{Address: "b@our.example"}}}}, step{domains: ours}, true},
		"none of them": {&hooks.Event{Tx: &envelope.Transaction{Recipients: []*envelope.Recipient{{Address: "a@x.example"}}}},
			step{domains: ours}, false},
		"report":        {&hooks.Event{Rcpts: []*hooks.Rcpt{rcpt("bob@our.example")}}, step{domains: ours}, true},
		"nothing known": {&hooks.Event{}, step{domains: ours}, false},
	} {
		if _, _, asked := run(hooks.ReceiveMail, c.e, c.s); (asked == "a") != c.asked {
			t.Errorf("%s: asked %v, want %v", name, asked == "a", c.asked)
		}
	}
}

// TestMailboxDomain: a policy for another domain, which the mail was for at
// first, is not asked about the mailbox that it came to.
func TestMailboxDomain(t *testing.T) {
	box := &hooks.Rcpt{Recipient: &envelope.Recipient{Orig: "info@two.example", Address: "ann@our.example", IsLocal: true}}
	for domain, want := range map[string]bool{"our.example": true, "two.example": false} {
		_, _, asked := run(hooks.DeliverLocal, &hooks.Event{Rcpt: box}, step{domains: []string{domain}})
		if (asked == "a") != want {
			t.Errorf("%s is asked: %v, want %v", domain, !want, want)
		}
	}
}

func TestTrail(t *testing.T) {
	h := policy{info: hooks.Info{Point: hooks.ReceiveRcpt, File: "a.lua", Line: 3, Bundle: "acme/x", Version: "1.2.0", Tier: hooks.Bundle,
		Generation: "g"},
		call: func(e *hooks.Event) (hooks.Verdict, error) {
			err := e.SetMeta(&e.Rcpt.Meta, "k", "v")
			return hooks.Verdict{Action: hooks.Reject, Status: envelope.Status{Code: 550, Enhanced: "5.7.1", Text: "no"}}, err
		}}
	var seen []string
	c := hooks.NewChain([]hooks.Handler{h, policy{info: hooks.Info{Point: hooks.ReceiveRcpt}, call: func(*hooks.Event) (hooks.Verdict,
		error) {
		return hooks.Verdict{}, nil
	}}})
	c.OnCall = func(c hooks.Call) { seen = append(seen, c.Info.Name()) }
	now := time.Unix(1700000000, 0)
	_, trail := c.Run(context.Background(), &hooks.Event{Point: hooks.ReceiveRcpt, Now: now,
		Rcpt: &hooks.Rcpt{Recipient: &envelope.Recipient{Address: "b@x.example"}}})
	if len(trail) != 1 {
		t.Fatalf("%d entries; one that only looked leaves none", len(trail))
	}
	e := trail[0]
	if e.Handler != "a.lua:3" || e.Bundle != "acme/x@1.2.0" || e.Generation != "g" || e.Verdict != "reject 550 5.7.1 no" ||
		e.Rcpt != "b@x.example" ||
		!slices.Equal(e.Changes, []string{"meta k"}) || e.Instructions != 7 || !e.Time.Equal(now) || e.Step != "receive" {
		t.Errorf("%+v", e)
	}
	if !slices.Equal(seen, []string{":0", "acme/x@1.2.0 a.lua:3"}) {
		t.Errorf("observed %q", seen)
	}
}

func TestApply(t *testing.T) {
	effect := envelope.Effect{Op: envelope.Set, Key: "k"}
	writer := func(p hooks.Point) *hooks.Chain {
		return hooks.NewChain([]hooks.Handler{policy{info: hooks.Info{Point: p}, call: func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{Action: hooks.Defer}, e.AddEffect(effect)
		}}})
	}
	for _, s := range hooks.Specs() {
		applied := 0
		e := &hooks.Event{Point: s.Point, Apply: func(f []envelope.Effect, _ []hooks.Submit) error { applied += len(f); return nil }}
		if !s.Allows(hooks.Defer) {
			continue
		}
		v, _ := writer(s.Point).Run(context.Background(), e)
		if v.Action != hooks.Defer {
			t.Errorf("%s: %v", s.Point, v)
		}
		if wantApplied, wantPending := map[bool][2]int{true: {0, 1}, false: {1, 0}}[s.InCommit][0],
			map[bool]int{true: 1}[s.InCommit]; applied != wantApplied || len(e.Pending.Effects) != wantPending {
			t.Errorf("%s: %d applied, %d pending", s.Point, applied, len(e.Pending.Effects))
		}
	}
	broken := errors.New("disk")
	e := &hooks.Event{Point: hooks.ReceiveMail, Apply: func([]envelope.Effect, []hooks.Submit) error { return broken }}
	v, trail := writer(hooks.ReceiveMail).Run(context.Background(), e)
	if v.Status.Code != 451 || !strings.Contains(trail[0].Err, "disk") {
		t.Errorf("effects that cannot be stored: %v %+v", v, trail)
	}
}

func TestBreaker(t *testing.T) {
	var asked int
	sick := true
	c := hooks.NewChain([]hooks.Handler{
		policy{info: hooks.Info{Point: hooks.ReceiveMail, File: "sick.lua"}, call: func(*hooks.Event) (hooks.Verdict, error) {
			asked++
			if sick {
				return hooks.Verdict{}, errBroken
			}
			return hooks.Verdict{}, nil
		}}})
	now := time.Unix(1700000000, 0)
	ask := func() (hooks.Verdict, string) {
		v, trail := c.Run(context.Background(), &hooks.Event{Point: hooks.ReceiveMail, Now: now})
		if len(trail) == 0 {
			return v, ""
		}
		return v, trail[0].Err
	}
	for range 60 { // slow failures never open it
		ask()
		now = now.Add(4 * time.Second)
	}
	if asked != 60 {
		t.Fatalf("asked %d times, want 60: 15 failures a minute are not enough", asked)
	}
	now = now.Add(time.Hour)
	for i := range 200 { // one bad message in three does not open it either
		sick = i%3 == 0
		ask()
		now = now.Add(10 * time.Millisecond)
	}
	if asked != 260 {
		t.Fatalf("asked %d times, want 260: most went well", asked)
	}
	now = now.Add(time.Hour)
	asked, sick = 0, true
	for range 50 {
		v, _ := ask()
		if v.Status.Code != 451 {
			t.Fatalf("got %v", v)
		}
		now = now.Add(100 * time.Millisecond)
	}
	if asked != 20 {
		t.Errorf("asked %d times, want 20", asked)
	}
	if _, err := ask(); !strings.Contains(err, "not called because it failed too often") {
		t.Errorf("trail says %q", err)
	}
	now = now.Add(31 * time.Second)
	ask() // half open: one try, it fails
	ask()
	if asked != 21 {
		t.Errorf("asked %d times, want 21", asked)
	}
	sick = false
	now = now.Add(31 * time.Second)
	for range 5 {
		if v, err := ask(); v.Action != hooks.Continue || err != "" {
			t.Errorf("well again: %v %s", v, err)
		}
	}
	if asked != 26 {
		t.Errorf("asked %d times, want 26", asked)
	}
}

// TestExhausted: mail that runs a handler out of its budget counts once for each
// client network and minute, and costs at most three calls.
func TestExhausted(t *testing.T) {
	asked := 0
	c := hooks.NewChain([]hooks.Handler{policy{info: hooks.Info{Point: hooks.ReceiveData}, call: func(e *hooks.Event) (hooks.Verdict, error) {
		asked++
		return hooks.Verdict{}, fmt.Errorf("%w: %w", hooks.ErrHook, hooks.ErrExhausted)
	}}})
	failures := 0
	c.OnRun = func(r hooks.RunStats) { failures += r.Failures }
	now := time.Unix(1700000040, 0)
	ask := func(ip string) []envelope.TrailEntry {
		s := &envelope.Session{Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), 25)}
		v, trail := c.Run(context.Background(), &hooks.Event{Point: hooks.ReceiveData, Now: now, Session: s, Tx: &envelope.Transaction{}})
		if v.Action != hooks.Defer {
			t.Fatalf("%s: %v", ip, v)
		}
		return trail
	}
	for n := range 30 {
		ask(fmt.Sprintf("192.0.2.%d", n))
	}
	if asked != 3 || failures != 1 {
		t.Errorf("30 messages of one network: %d calls, want 3; %d failures, want 1", asked, failures)
	}
	if trail := ask("192.0.2.1"); !strings.Contains(trail[0].Err, "192.0.2.0/24 exhausted its budget 3 times") {
		t.Errorf("the trail says %q", trail[0].Err)
	}
	asked = 0
	for n := range 30 {
		ask(fmt.Sprintf("2001:db8:1:%x::1", n%2))
	}
	if asked != 6 {
		t.Errorf("30 messages of two IPv6 networks: %d calls, want 6", asked)
	}
	now, asked = now.Add(time.Minute), 0
	if ask("192.0.2.1"); asked != 1 {
		t.Error("the network is not asked about in the next minute")
	}
	now, asked = now.Add(2*time.Minute), 0
	for n := range 40 {
		ask(fmt.Sprintf("10.0.%d.1", n))
	}
	if asked != 20 {
		t.Errorf("40 networks: %d calls, want 20: then the handler is taken for ill", asked)
	}
	now, asked = now.Add(31*time.Second), 0
	ask("10.0.1.1") // tries it again, and was counted in this minute
	if ask("10.0.99.1"); asked != 2 {
		t.Errorf("asked %d times after the rest, want 2: mail that does not count does not prolong it", asked)
	}
}

// TestInherit: a handler that rests goes on resting over a reload that did not
// change its file, wherever its lines and neighbours are.
func TestInherit(t *testing.T) {
	asked := 0
	ill := func(code string) policy {
		return policy{info: hooks.Info{Point: hooks.ReceiveMail, File: "ill.lua", Line: 9, Code: code}, call: func(*hooks.Event) (hooks.Verdict,
			error) {
			asked++
			return hooks.Verdict{}, errBroken
		}}
	}
	other := policy{info: hooks.Info{Point: hooks.ReceiveMail, Tier: hooks.Domain, Domains: []string{"a.example"}, File: "ill.lua", Code: "1"},
		call: func(*hooks.Event) (hooks.Verdict, error) { return hooks.Verdict{}, nil }}
	now := time.Unix(1700000040, 0)
	ask := func(c *hooks.Chain) { c.Run(context.Background(), &hooks.Event{Point: hooks.ReceiveMail, Now: now}) }
	first := hooks.NewChain([]hooks.Handler{ill("1")})
	for range 30 {
		ask(first)
	}
	if asked != 20 {
		t.Fatalf("asked %d times, want 20", asked)
	}
	for code, want := range map[string]int{"1": 0, "2": 1} {
		asked = 0
		var worst hooks.CallStats
		next := hooks.NewChain([]hooks.Handler{other, ill(code)})
		next.OnRun = func(r hooks.RunStats) { worst = r.WorstHandler }
		next.Inherit(first)
		if ask(next); asked != want {
			t.Errorf("file %s: asked %d times after the reload, want %d", code, asked, want)
		}
		if worst.Failures > 1 {
			t.Errorf("file %s: failures from before the reload are counted: %+v", code, worst)
		}
	}
}
