package hooks_test

import (
	"slices"
	"testing"

	"carteiro/hooks"
)

// TestRecorded: what a handler is said to have changed is what it changed.
func TestRecorded(t *testing.T) {
	s, _ := hooks.SpecOf(hooks.ReceiveData)
	for body, want := range map[string][]string{
		`msg:score("A", 3) msg:score("B", -0.5)`:                       {"score A 3, total 3", "score B -0.5, total 2.5"},
		`msg:remove_header("X-Spam")`:                                  nil,
		`msg:remove_header("Subject")`:                                 {"remove_header Subject"},
		`msg:set_header("X-Spam", "yes") msg:remove_header("X-Other")`: {"set_header X-Spam"},
	} {
		if failure, changes := runBody(t, s, body); failure != "" || !slices.Equal(changes, want) {
			t.Errorf("%s: %s, %q", body, failure, changes)
		}
	}
	// Where nothing may be changed, a removal of nothing is refused all the same.
	s, _ = hooks.SpecOf(hooks.QueueExpand)
	if failure, _ := runBody(t, s, `msg:remove_header("X-Spam")`); failure == "" {
		t.Error("a field can be removed at queue.expand")
	}
}
