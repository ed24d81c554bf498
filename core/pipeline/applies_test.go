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

// TestOptionsAtEveryHook tests every hook with every option that says when a handler
// applies. The handlers are called as the server calls them: in order, after the 250,
// by a timer, for an event, a request or a command.
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
			user, others bool // called for mail of a user who logged in, of a stranger
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
				srv := newTestServer(t, core.Config{}, goHandler{info, func(*hooks.Event) (hooks.Verdict, error) {
					asked.Add(1)
					return hooks.Verdict{}, nil
				}})
				check := func(who string, want bool) {
					t.Helper()
					srv.callOtherHook(p, info)
					srv.waitAllIdle()
					if got := asked.Swap(0) > 0; got != want {
						t.Errorf("%s: called %v, want %v", who, got, want)
					}
				}
				if st := srv.sendThroughAllHooks(); st != nil {
					t.Fatal(st)
				}
				srv.waitFor("the user's mail is delivered", func() bool { return srv.spoolCount() == 0 })
				check("a user's mail", v.user)
				srv.sendAsStranger()
				srv.waitFor("the stranger's mail is delivered", func() bool { return srv.spoolCount() == 0 })
				check("a stranger's mail", v.others)
			})
		}
	}
}

// sendAsStranger runs a session of a stranger that sends mail to bob.
func (srv *testServer) sendAsStranger() {
	srv.t.Helper()
	s, ctx := newSession(), srv.t.Context()
	defer srv.Close(s)
	if st := srv.Connect(ctx, s); st != nil {
		srv.t.Fatal(st)
	}
	if st := srv.Helo(ctx, s, "client.example"); st != nil {
		srv.t.Fatal(st)
	}
	if st := srv.send(s, &envelope.Transaction{Sender: "a@a.example"}, plainMessage, "bob@our.example"); st != nil {
		srv.t.Fatal(st)
	}
}

// callOtherHook calls a hook that does not run for messages.
func (srv *testServer) callOtherHook(p hooks.Point, info hooks.Info) {
	srv.t.Helper()
	switch p {
	case hooks.WebRequest:
		srv.Web(srv.t.Context(), cmp.Or(info.Bundle[strings.LastIndexByte(info.Bundle, '/')+1:], "scripts"), &hooks.Request{Path: "/x"})
	case hooks.AdminCommand:
		_, _ = srv.Command(srv.t.Context(), &hooks.Command{Name: "x"}) // the error does not matter here
	case hooks.TimerTick:
		srv.waitFor("the timer is known", func() bool {
			info.Number = 0
			return srv.kvValue(timerSpace, timerName(info.Key(), "")) != ""
		})
		srv.clock.Advance(2 * time.Hour)
		if err := srv.Tick(srv.t.Context()); err != nil {
			srv.t.Fatal(err)
		}
	}
}
