package rules

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var seconds = regexp.MustCompile(`, \d+ s\b`)

// TestStages: .ci/run says why a stage was skipped, and its last line counts
// what passed, failed and was skipped.
func TestStages(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	stages, err := filepath.Abs(filepath.Join(module, ".ci", "stages"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		script, line, last string
		fails              bool
	}{
		{"stage one true", "--- one: ok, 0 s", "1 stages passed, 0 failed, 0 skipped", false},
		{"stage one false\nstage two true", "--- one: FAILED, 0 s", "1 stages passed, 1 failed, 0 skipped; FAILED: one", true},
		{"stage one ./needs\nstage two true\nstage three ./needs", "--- one: skipped, 0 s: no compiler; none at all",
			"1 stages passed, 0 failed, 2 skipped; skipped: one, three", false},
		{"stage one ./needs\nstage \"number two\" false", "skipped: no compiler; none at all",
			"0 stages passed, 1 failed, 1 skipped; FAILED: number two; skipped: one", true},
		// What a test prints is not the stage's word.
		{"stage one echo skipped: a test", "--- one: ok, 0 s", "1 stages passed, 0 failed, 0 skipped", false},
	}
	needs := "#!/usr/bin/env bash\nset -euo pipefail\nsource '" + stages + "'\nskip 'no compiler; none at all'\nexit 1\n"
	for _, tt := range tests {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "needs"), []byte(needs), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bash, "-c", "set -euo pipefail\nsource '"+stages+"'\n"+tt.script+"\nfinish\n")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if (err != nil) != tt.fails {
			t.Errorf("%s: %v, want failure %v\n%s", tt.script, err, tt.fails, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if last := lines[len(lines)-1]; !strings.HasSuffix(last, " in all; "+tt.last) {
			t.Errorf("%s: the last line is %q, want %q", tt.script, last, tt.last)
		}
		// How many seconds a stage took depends on the machine.
		if !strings.Contains("\n"+seconds.ReplaceAllString(string(out), ", 0 s"), "\n"+tt.line) {
			t.Errorf("%s: no line %q in\n%s", tt.script, tt.line, out)
		}
	}
}
