package lua

import (
	"net/http"
	"testing"
)

// TestNoProxy: a proxy of the environment would connect for policies to
// whatever it reaches.
func TestNoProxy(t *testing.T) {
	d := NewDoer().(*doer)
	for _, c := range []*http.Client{d.public, d.private} {
		if c.Transport.(*http.Transport).Proxy != nil {
			t.Error("a proxy may be used")
		}
	}
}
