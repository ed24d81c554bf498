package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// readmeTable returns the rows of the first table below a heading of
// core/README.md, without the header.
func readmeTable(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(module, "core", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("core/README.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		var row []string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			row = append(row, strings.TrimSpace(cell))
		}
		rows = append(rows, row)
	}
	if len(rows) < 2 {
		t.Fatalf("core/README.md has no table below %q", heading)
	}
	return rows[1:]
}

// TestQuestions: the files that core/README.md names as answers exist.
func TestQuestions(t *testing.T) {
	rows := readmeTable(t, "Where is ...?")
	if len(rows) < 20 {
		t.Errorf("%d questions, at least 20", len(rows))
	}
	for _, row := range rows {
		if info, err := os.Stat(filepath.Join(module, row[1])); err != nil || info.IsDir() {
			t.Errorf("%q is answered by %s, which is not a file", row[0], row[1])
		}
	}
}

// TestWayOfAMessage: so do the files on the way of a message.
func TestWayOfAMessage(t *testing.T) {
	for _, row := range readmeTable(t, "Follow one message") {
		folder := ""
		for _, name := range regexp.MustCompile(`[a-z0-9/]+\.go`).FindAllString(row[1], -1) {
			if strings.Contains(name, "/") {
				folder = filepath.Dir(name)
			} else {
				name = folder + "/" + name
			}
			if _, err := os.Stat(filepath.Join(module, "core", name)); err != nil {
				t.Errorf("step %s: %v", row[0], err)
			}
		}
	}
}

// TestGlossary: the list of words stays short, each word is there once, and its
// names in Go exist.
func TestGlossary(t *testing.T) {
	const most = 60
	rows := readmeTable(t, "Words")
	if len(rows) > most {
		t.Errorf("%d words, at most %d", len(rows), most)
	}
	declared := map[string]bool{}
	for _, f := range all(t) {
		for _, name := range Declared(f) {
			declared[name] = true
		}
	}
	seen := map[string]bool{}
	for _, row := range rows {
		if seen[row[0]] {
			t.Errorf("%q is there twice", row[0])
		}
		seen[row[0]] = true
		for _, m := range regexp.MustCompile("`([a-z]+\\.[A-Z]\\w*)`").FindAllStringSubmatch(row[2], -1) {
			if !declared[m[1]] {
				t.Errorf("%q: there is no %s", row[0], m[1])
			}
		}
	}
}
