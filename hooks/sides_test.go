package hooks_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// TestSides: at hooks with two sides a bundle is asked for each domain that it
// serves, the recipient's last, and never for what a client claims.
func TestSides(t *testing.T) {
	ours := func(d string) bool { return strings.HasPrefix(d, "our") }
	all, first, second := hooks.Info{Tier: hooks.Bundle, Bundle: "all"}, hooks.Info{Tier: hooks.Bundle, Bundle: "1",
		Domains: []string{"our1.example"}},
		hooks.Info{Tier: hooks.Bundle, Bundle: "2", Position: 1, Domains: []string{"our2.example"}}
	both := hooks.Info{Tier: hooks.Bundle, Bundle: "both", Domains: []string{"our1.example", "our2.example"}}
	quiet := both
	quiet.Bundle, quiet.NoOutgoing = "quiet", true
	script := hooks.Info{Tier: hooks.Domain, Domains: []string{"our2.example"}}
	admin, after := hooks.Info{}, hooks.Info{Tier: hooks.After}
	for _, c := range []struct {
		name     string
		outgoing string // domain of the user who sends
		to       string // a recipient; "orig>address" for one that was given as orig
		by       []hooks.Info
		asked    string // direction and domain at hand of each call
	}{
		{"a user's mail to elsewhere", "our2.example", "h@far.example", []hooks.Info{second}, "2:out:our2.example"},
		{"of another domain", "our2.example", "h@far.example", []hooks.Info{first}, ""},
		{"a stranger's, whatever is claimed", "", "h@far.example", []hooks.Info{first, second}, ""},
		{"a stranger's to us", "", "b@our1.example", []hooks.Info{first, second, all}, "1:in:our1.example all:in:our1.example"},
		{"from one of ours to another, for both", "our2.example", "b@our1.example", []hooks.Info{both},
			"both:out:our2.example both:in:our1.example"},
		{"from one of ours to another, the recipient's last", "our2.example", "b@our1.example", []hooks.Info{first, second},
			"2:out:our2.example 1:in:our1.example"},
		{"within a domain", "our2.example", "b@our2.example", []hooks.Info{both, second, all, script},
			"all:within:our2.example both:within:our2.example 2:within:our2.example :within:our2.example"},
		{"a bundle for all, elsewhere", "our2.example", "h@far.example", []hooks.Info{all}, "all:out:our2.example"},
		{"a bundle for all, between ours", "our2.example", "b@our1.example", []hooks.Info{all}, "all:out:our2.example all:in:our1.example"},
		{"a bundle for all, our own report", "", "h@far.example", []hooks.Info{all}, "all:out:"},
		{"without outgoing mail", "our2.example", "h@far.example", []hooks.Info{quiet}, ""},
		{"without outgoing mail, to ours", "our2.example", "b@our1.example", []hooks.Info{quiet}, "quiet:in:our1.example"},
		{"without outgoing mail, within", "our2.example", "b@our2.example", []hooks.Info{quiet}, "quiet:within:our2.example"},
		{"a domain's script", "our2.example", "h@far.example", []hooks.Info{script}, ":out:our2.example"},
		{"the admin's scripts, once", "our2.example", "b@our1.example", []hooks.Info{admin, both, after},
			":within: both:out:our2.example both:in:our1.example :within:"},
		{"forwarded by a policy of the domain", "our1.example", "b@our1.example>b@far.example", []hooks.Info{first, all},
			"1:out:our1.example all:out:our1.example"},
		{"forwarded from one of ours", "our2.example", "b@our1.example>b@far.example", []hooks.Info{both},
			"both:out:our2.example both:out:our1.example"},
	} {
		for _, p := range []hooks.Point{hooks.QueueExpand, hooks.QueueCommit, hooks.DeliverAttempt, hooks.DeliverResult, hooks.DeliverDSN} {
			rc := recipientOf(c.to, ours)
			if p != hooks.QueueExpand && p != hooks.DeliverResult && rc.Orig != rc.Address {
				continue // groups and reports do not say how a recipient was given
			}
			var asked []string
			var handlers []hooks.Handler
			for _, info := range c.by {
				info.Point = p
				handlers = append(handlers, policy{info: info, call: func(e *hooks.Event) (hooks.Verdict, error) {
					at := ""
					if info.Tier == hooks.Bundle || info.Tier == hooks.Domain {
						at = e.DomainAtHand(func(d string) bool { return ours(d) && (info.Domains == nil || slices.Contains(info.Domains, d)) })
					}
					asked = append(asked, fmt.Sprintf("%s:%s:%s", info.Bundle, e.Direction(), at))
					return hooks.Verdict{}, nil
				}})
			}
			hooks.NewChain(handlers).Run(context.Background(), sidesEvent(p, rc, c.outgoing))
			got := strings.Join(asked, " ")
			if sortWords(got) != sortWords(c.asked) || len(c.by) < 3 && got != c.asked {
				t.Errorf("%s, %s: asked %q, want %q", p, c.name, got, c.asked)
			}
		}
	}
}

func sortWords(s string) string {
	f := strings.Fields(s)
	slices.Sort(f)
	return strings.Join(f, " ")
}

func recipientOf(to string, ours func(string) bool) *envelope.Recipient {
	orig, address, ok := strings.Cut(to, ">")
	if !ok {
		address = orig
	}
	return &envelope.Recipient{Orig: envelope.Address(orig), Address: envelope.Address(address),
		IsLocal: ours(envelope.Address(address).Domain())}
}

func sidesEvent(p hooks.Point, rc *envelope.Recipient, outgoing string) *hooks.Event {
	e := &hooks.Event{Point: p, Outgoing: outgoing, Msg: &hooks.Message{Sender: "claimed@our2.example"}}
	r := &hooks.Rcpt{Recipient: rc}
	switch p {
	case hooks.QueueExpand, hooks.DeliverResult:
		e.Rcpt = r
	case hooks.DeliverDSN:
		e.Rcpts = []*hooks.Rcpt{r}
	default:
		e.Group = &envelope.Group{Kind: envelope.Remote, Domain: rc.Address.Domain()}
		if rc.IsLocal {
			e.Group.Kind = envelope.Mailbox
		}
	}
	return e
}

// TestSidesVerdicts: the stricter verdict counts, and the recipient's side is
// asked whatever the sender's said.
func TestSidesVerdicts(t *testing.T) {
	say := func(v hooks.Action) hooks.Verdict {
		return hooks.Verdict{Action: v, Reason: v.String(), Status: envelope.Status{Code: 550, Text: v.String()}, Route: &hooks.Route{}}
	}
	for _, c := range []struct {
		p                       hooks.Point
		sender, recipient, want hooks.Action
	}{
		{hooks.QueueExpand, hooks.Quarantine, hooks.Reject, hooks.Reject},
		{hooks.QueueExpand, hooks.Reject, hooks.Quarantine, hooks.Reject},
		{hooks.QueueExpand, hooks.Discard, hooks.Quarantine, hooks.Discard},
		{hooks.QueueExpand, hooks.Quarantine, hooks.Continue, hooks.Quarantine},
		{hooks.QueueExpand, hooks.Continue, hooks.Discard, hooks.Discard},
		{hooks.QueueCommit, hooks.Hold, hooks.Schedule, hooks.Hold},
		{hooks.QueueCommit, hooks.Schedule, hooks.Hold, hooks.Hold},
		{hooks.DeliverAttempt, hooks.Hold, hooks.Reroute, hooks.Hold},
		{hooks.DeliverResult, hooks.Fail, hooks.Retry, hooks.Fail},
	} {
		asked := 0
		h := policy{info: hooks.Info{Point: c.p, Tier: hooks.Bundle, Domains: []string{"our1.example", "our2.example"}},
			call: func(e *hooks.Event) (hooks.Verdict, error) {
				asked++
				if e.Direction() == hooks.Out {
					return say(c.sender), nil
				}
				return say(c.recipient), nil
			}}
		rc := &envelope.Recipient{Address: "b@our1.example", Orig: "b@our1.example", IsLocal: true}
		last := false
		after := policy{info: hooks.Info{Point: c.p, Tier: hooks.After}, call: func(*hooks.Event) (hooks.Verdict,
			error) {
			last = true
			return hooks.Verdict{}, nil
		}}
		v, _ := hooks.NewChain([]hooks.Handler{h, after}).Run(context.Background(), sidesEvent(c.p, rc, "our2.example"))
		if v.Action != c.want || v.Reason != c.want.String() || asked != 2 || last {
			t.Errorf("%s: %v and %v give %v (%s), asked %d times, the last word %v", c.p, c.sender, c.recipient, v.Action, v.Reason, asked, last)
		}
	}
}

// TestSidesAssignments: of two assignments the recipient's side's counts.
func TestSidesAssignments(t *testing.T) {
	h := policy{info: hooks.Info{Point: hooks.QueueCommit, Tier: hooks.Bundle, Domains: []string{"our1.example", "our2.example"}},
		call: func(e *hooks.Event) (hooks.Verdict, error) {
			return hooks.Verdict{}, e.SetGroup("key", func(g *envelope.Group) { g.Key = e.Direction() })
		}}
	e := sidesEvent(hooks.QueueCommit, &envelope.Recipient{Address: "b@our1.example", IsLocal: true}, "our2.example")
	hooks.NewChain([]hooks.Handler{h}).Run(context.Background(), e)
	if e.Group.Key != hooks.In {
		t.Errorf("the key is %q", e.Group.Key)
	}
}
