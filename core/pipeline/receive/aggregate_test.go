package receive

import (
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// TestDisposition: reports say what happened to a message because of its DMARC
// result, and nothing about other filters.
func TestDisposition(t *testing.T) {
	refused := envelope.Reject(550, "5.7.1", "no")
	tests := []struct {
		name           string
		result, policy string // policy as it counts, published before t=y
		published      string
		testing        bool
		verdict        hooks.Action
		st             *envelope.Status
		want, why      string
	}{
		{"passes", "pass", "reject", "reject", false, hooks.Accept, nil, "pass", ""},
		{"passes, policy none", "pass", "none", "none", false, hooks.Accept, nil, "none", ""},
		{"passes and is spam", "pass", "reject", "reject", false, hooks.Accept, refused, "pass", ""},
		{"no answer", "temperror", "reject", "reject", false, hooks.Accept, nil, "none", ""},
		{"refused as the domain wants", "fail", "reject", "reject", false, hooks.Accept, refused, "reject", ""},
		{"discarded", "fail", "reject", "reject", false, hooks.Discard, nil, "reject", ""},
		{"quarantined as the domain wants", "fail", "quarantine", "quarantine", false, hooks.Quarantine, nil, "quarantine", ""},
		{"quarantined instead of refused", "fail", "reject", "reject", false, hooks.Quarantine, nil, "quarantine", "local_policy"},
		{"accepted", "fail", "quarantine", "quarantine", false, hooks.Accept, nil, "none", "local_policy"},
		{"refused as spam, policy none", "fail", "none", "none", false, hooks.Accept, refused, "none", ""},
		{"t=y, quarantined", "fail", "quarantine", "reject", true, hooks.Quarantine, nil, "quarantine", "policy_test_mode"},
		{"t=y, accepted", "fail", "none", "quarantine", true, hooks.Accept, nil, "none", "policy_test_mode"},
	}
	for _, test := range tests {
		a := &envelope.AuthResults{DMARC: envelope.AuthResult{Result: test.result, Policy: test.policy},
			Published: &envelope.DMARCRecord{P: test.published, Testing: test.testing}}
		if got, why := disposition(a, test.verdict, test.st); got != test.want || why != test.why {
			t.Errorf("%s: got disposition %q, override %q, want %q, %q", test.name, got, why, test.want, test.why)
		}
	}
}
