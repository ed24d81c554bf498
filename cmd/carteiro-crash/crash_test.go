package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAudit: an audit that could not find a fault would prove nothing.
func TestAudit(t *testing.T) {
	const a, b = "a@crash.example", "b@crash.example"
	both := []Found{{a, 0, "sum"}, {b, 0, "sum"}}
	tests := []struct {
		name  string
		said  answer
		found []Found
		want  string // beginning of the only fault; empty: none
	}{
		{"kept and there", kept, both, ""},
		{"kept and gone", kept, nil, "lost: message 0 was answered with 250, 0 of 2"},
		{"kept and half", kept, both[:1], "lost: message 0 was answered with 250, 1 of 2"},
		{"kept and twice", kept, append(both[:2:2], both[0]), "doubled: message 0 is 2 times"},
		{"kept, another body", kept, []Found{both[0], {b, 0, "other"}}, "damaged: message 0"},
		{"kept, a third has it", kept, append(both[:2:2], Found{"c@crash.example", 0, "sum"}), "astray: message 0"},
		{"something else there", kept, append(both[:2:2], Found{a, -1, ""}), "damaged: a message"},
		{"a number never given", kept, append(both[:2:2], Found{a, 7, ""}), "damaged: a message"},
		{"no answer, there", unknown, both, ""},
		{"no answer, not there", unknown, nil, ""},
		{"no answer, half", unknown, both[1:], "half: message 0 reached 1 of 2"},
		{"no answer, twice", unknown, append(both[:2:2], both[1]), "doubled: message 0"},
		{"refused", refused, nil, ""},
		{"refused and there", refused, both, "kept: message 0 was refused, 2 of 2"},
	}
	for _, tt := range tests {
		var l Ledger
		l.Record(l.Open([]string{a, b}, "sum"), tt.said)
		faults := l.Audit(tt.found).Faults
		switch {
		case tt.want == "" && len(faults) > 0:
			t.Errorf("%s: faults %q, want none", tt.name, faults)
		case tt.want != "" && (len(faults) != 1 || !strings.HasPrefix(faults[0], tt.want)):
			t.Errorf("%s: faults %q, want one %q", tt.name, faults, tt.want)
		}
	}
	if (AuditResult{}).Err() == nil {
		t.Error("an audit of nothing passes")
	}
}

// TestCrash is a short run against the real server.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds a server and kills it for some seconds")
	}
	binary := filepath.Join(t.TempDir(), "carteiro")
	if out, err := exec.Command("go", "build", "-o", binary, "carteiro/cmd/carteiro").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var out strings.Builder
	status := run(t.Context(), []string{"--duration", "2s", "--carteiro", binary, "--connections", "4"}, &out, os.Stderr)
	if status != 0 || !strings.Contains(out.String(), "nothing lost, doubled, damaged or half\n") {
		t.Errorf("status %d\n%s", status, &out)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--no-such-flag"}, {"stray"}} {
		var out, err strings.Builder
		if got := run(t.Context(), args, &out, &err); got != 2 {
			t.Errorf("%q: status %d, want 2", args, got)
		}
	}
}
