package hooks

import "testing"

// TestHTTPGrant: what may be granted, and for which hosts it counts.
func TestHTTPGrant(t *testing.T) {
	for text, want := range map[string]HTTPGrant{
		"api.acme.example:443":        {"api.acme.example:443", false},
		"API.Acme.Example.:0443":      {"api.acme.example:443", false},
		"rspamd.lan:11334 private":    {"rspamd.lan:11334", true},
		" rspamd.lan:11334  private ": {"rspamd.lan:11334", true},
		"127.0.0.1:8080":              {"127.0.0.1:8080", true},
		"[::1]:8080":                  {"[::1]:8080", true},
		"[0:0:0:0:0:0:0:1]:8080":      {"[::1]:8080", true},
		"8.8.8.8:443":                 {"8.8.8.8:443", true},
	} {
		if got, ok := ParseHTTPGrant(text); !ok || got != want {
			t.Errorf("%q: %+v %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "x", "x:", ":80", "x:0", "x:99999", "x:80 public", "x:80 private please", "x y:80", "http://x:80",
		"x:80/path", "[x]:80", "::1:80", "x:-1"} {
		if got, ok := ParseHTTPGrant(text); ok {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
	list := []string{"a.example:80", "b.example:80 private", "a.example:81", "a.example:81 private"}
	for host, want := range map[string][2]bool{"a.example:80": {true, false}, "b.example:80": {true, true}, "a.example:81": {true, true},
		"c.example:80": {}} {
		if granted, private := HTTPGrantFor(list, host); granted != want[0] || private != want[1] {
			t.Errorf("%s: %v %v", host, granted, private)
		}
	}
}
