package pipeline_test

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// TestOptionsAtEveryHook crosses every hook with every option that says when a
// handler applies, in the way in which the server calls handlers of that hook:
// in order, after the 250, by a timer, for an event, a request or a command.
func TestOptionsAtEveryHook(t *testing.T) {
	const ours, route = "our.example", "out.example"
	beforeLogin := []hooks.Point{hooks.ReceiveConnect, hooks.ReceiveHelo}
	for _, spec := range hooks.Specs() {
		p := spec.Point
		at := ours
		if p == hooks.RouteResolve {
			at = route
		}
		type variant struct {
			name         string
			info         hooks.Info
			user, others bool // asked about mail of a user who logged in, of a stranger
		}
		variants := []variant{{"no option", hooks.Info{}, true, p != hooks.ReceiveAuth && p != hooks.RouteResolve && p != hooks.DeliverDSN}}
		everybody := variants[0].others
		if spec.HasOption("listener") {
			variants = append(variants, variant{"listener of users", hooks.Info{Listener: "submission"}, true, false},
				variant{"listener of others", hooks.Info{Listener: "mx"}, false, everybody},
				variant{"another listener", hooks.Info{Listener: "lmtp"}, false, false})
		}
		if spec.HasOption("login") {
			variants = append(variants, variant{"login", hooks.Info{Login: true}, !slices.Contains(beforeLogin, p), false})
		}
		known := !slices.Contains(beforeLogin, p) // the domain that the session is about
		knownOthers := known && p != hooks.ReceiveMail
		variants = append(variants, variant{"its domain", hooks.Info{Tier: hooks.Domain, Domains: []string{at}}, known, knownOthers && everybody},
			variant{"another domain", hooks.Info{Tier: hooks.Domain, Domains: []string{"b.example"}}, spec.NoMail, spec.NoMail},
			variant{"all but its domain", hooks.Info{Tier: hooks.Bundle, Bundle: "acme/x", Except: []string{"our.example", "out.example"}},
				!known || spec.NoMail, (!knownOthers || spec.NoMail) && everybody})
		for _, v := range variants {
			t.Run(string(p)+"/"+v.name, func(t *testing.T) {
				var asked atomic.Int64
				info := v.info
				info.Point, info.File, info.Line, info.Every, info.Path, info.Command = p, "a.lua", 1, time.Hour, "/x", "x"
				if info.Events = nil; p == hooks.ObserveEvent {
					info.Events = []string{"accepted"}
				}
				h := newHouse(t, core.Config{}, handler{info, func(*hooks.Event) (hooks.Verdict, error) {
					asked.Add(1)
					return hooks.Verdict{}, nil
				}})
				check := func(who string, want bool) {
					t.Helper()
					h.callBeside(p, info)
					h.quiet()
					if got := asked.Swap(0) > 0; got != want {
						t.Errorf("%s: asked %v, want %v", who, got, want)
					}
				}
				if st := h.visitAll(); st != nil {
					t.Fatal(st)
				}
				h.until("the user's mail is delivered", func() bool { return h.spooled() == 0 })
				check("a user's mail", v.user)
				h.strangerVisits()
				h.until("the stranger's mail is delivered", func() bool { return h.spooled() == 0 })
				check("a stranger's mail", v.others)
			})
		}
	}
}

// strangerVisits plays a session of a stranger that sends mail to bob.
func (h *house) strangerVisits() {
	h.t.Helper()
	s, ctx := session(), h.t.Context()
	defer h.Close(s)
	if st := h.Connect(ctx, s); st != nil {
		h.t.Fatal(st)
	}
	if st := h.Helo(ctx, s, "client.example"); st != nil {
		h.t.Fatal(st)
	}
	if st := h.offer(s, &envelope.Transaction{Sender: "a@a.example"}, plain, "bob@our.example"); st != nil {
		h.t.Fatal(st)
	}
}

// callBeside asks the hooks that no message meets.
func (h *house) callBeside(p hooks.Point, info hooks.Info) {
	h.t.Helper()
	switch p {
	case hooks.WebRequest:
		h.Web(h.t.Context(), cmp.Or(info.Bundle[strings.LastIndexByte(info.Bundle, '/')+1:], "scripts"), &hooks.Request{Path: "/x"})
	case hooks.AdminCommand:
		_, _ = h.Command(h.t.Context(), &hooks.Command{Name: "x"}) // nobody answers: the call is what counts
	case hooks.TimerTick:
		h.until("the timer is known", func() bool {
			info.Number = 0
			return h.value(timerSpace, timerName(info.Key(), "")) != ""
		})
		h.clock.Advance(2 * time.Hour)
		if err := h.Tick(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
}
