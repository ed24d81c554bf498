package pipeline_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// TestRouteWithoutHosts: a policy's route changes only what it names; the rest is the
// server's route, with all its checks.
func TestRouteWithoutHosts(t *testing.T) {
	cfg := core.Config{Port: 2525, NextHops: map[string]envelope.NextHop{"legacy.example": {Name: "legacy", LMTP: true, Configured: true,
		TLS:  envelope.TLSVerify,
		User: "we", Password: "secret", Hosts: []envelope.Host{{Name: "127.0.0.1", Port: 24}}}}}
	own := newTestServer(t, cfg)
	for _, c := range []struct {
		name   string
		route  hooks.Route
		change func(h *envelope.NextHop)
	}{
		{"source", hooks.Route{Source: "192.0.2.9"}, func(h *envelope.NextHop) { h.Source = "192.0.2.9" }},
		{"tls", hooks.Route{TLS: "verify"}, func(h *envelope.NextHop) { h.TLS = envelope.TLSVerify }},
		{"port", hooks.Route{Port: 26}, func(h *envelope.NextHop) {
			for i := range h.Hosts {
				h.Hosts[i].Port = 26
			}
		}},
		{"user", hooks.Route{User: "me", Password: "mine"}, func(h *envelope.NextHop) {
			h.User, h.Password, h.TLS = "me", "mine",
				envelope.TLSVerify
		}},
		{"the user of the configuration", hooks.Route{User: "we", TLS: "may"}, func(h *envelope.NextHop) {
			if h.TLS = envelope.TLSMay; h.User != "we" {
				h.User = "we"
			}
		}},
	} {
		for _, again := range []bool{false, true} {
			route := goHandler{hooks.Info{Point: hooks.RouteResolve}, func(*hooks.Event) (hooks.Verdict, error) {
				r := c.route
				return hooks.Verdict{Action: hooks.RouteTo, Route: &r}, nil
			}}
			srv := newTestServer(t, cfg, route)
			for _, domain := range []string{"out.example", "slow.example", "legacy.example", "[192.0.2.9]", "backup.example", "null.example",
				"nowhere.example", "loop.example"} {
				g := &envelope.Group{Kind: envelope.Remote, Domain: domain, Key: domain}
				want, wantStatus := own.route(t.Context(), &envelope.Envelope{}, g)
				want.Hosts = slices.Clone(want.Hosts)
				if again { // for one recipient, by reroute
					raw, err := json.Marshal(c.route)
					if err != nil {
						t.Fatal(err)
					}
					g.Recipients = []envelope.Recipient{{Route: string(raw)}}
					if c.route.Password != "" {
						continue // a reroute has none
					}
				}
				got, status := srv.route(t.Context(), &envelope.Envelope{}, g)
				if wantStatus == nil {
					c.change(&want)
				}
				if !reflect.DeepEqual(got.Hosts, want.Hosts) || got.Configured != want.Configured || got.LMTP != want.LMTP ||
					got.Source != want.Source ||
					got.TLS != want.TLS || got.User != want.User || got.Password != want.Password {
					t.Errorf("%s, %s: got %+v, want %+v", c.name, domain, got, want)
				}
				if (status == nil) != (wantStatus == nil) || status != nil && status.Reply() != wantStatus.Reply() {
					t.Errorf("%s, %s: got status %v, want %v", c.name, domain, status, wantStatus)
				}
			}
		}
	}
	if hop, _ := own.route(t.Context(), &envelope.Envelope{}, &envelope.Group{Kind: envelope.Remote, Domain: "legacy.example",
		Key: "legacy.example"}); hop.Hosts[0].Port != 24 {
		t.Errorf("a policy's port changed the configuration: got %+v, want port 24", hop)
	}
}
