package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestChanges: each file of .ci/changes has a kind and a text.
func TestChanges(t *testing.T) {
	changes, err := read("../../../.ci/changes")
	if err != nil {
		t.Error(err)
	}
	if len(changes) == 0 {
		t.Error("no changes: the test says nothing")
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		text, want string // want is part of the error; empty: none
	}{
		{"# fix: A title\n\nText.\n", ""},
		{"# security: A title\r\n\r\nText.\r\n", ""},
		{"# feature: A title: with a colon\ntext\n\n### Part\n", ""},
		{"", "1: the first line is \"\""},
		{"# A title\n\n- Text.\n", `1: the first line is "# A title" instead of "# KIND: TITLE"`},
		{"fix: A title\n\nText.\n", "1: the first line is"},
		{"\n# fix: A title\n\nText.\n", "1: the first line is"},
		{"# repair: A title\n\nText.\n", `1: the kind is "repair" instead of one of security, change, feature, fix`},
		{"# Fix: A title\n\nText.\n", `1: the kind is "Fix"`},
		{"# fix:\n\nText.\n", "1: the heading has no title"},
		{"# fix: A title\n", "2: there is no text"},
		{"# fix: A title\n \n\t\n", "2: there is no text"},
		{"# fix: A title\n\nText.\n\n# feature: Another\n\nText.\n", "5: a second heading"},
	}
	for _, tt := range tests {
		_, err := parse(tt.text)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("parse(%q): %v, want no error", tt.text, err)
		case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
			t.Errorf("parse(%q): %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestReadAndWrite(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("README.md", "how to write one\n")
	put("a.md", "# fix: First\n\nOne.\n")
	put("b-2.md", "# security: Second\n\n- Two.\n")
	put("c.md", "# fix: Third\n\nThree.\n\n")
	changes, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := write(&got, changes); err != nil {
		t.Fatal(err)
	}
	const want = "## Security\n\n### Second\n\n- Two.\n\n## Repaired\n\n### First\n\nOne.\n\n### Third\n\nThree.\n"
	if got.String() != want {
		t.Errorf("written:\n%s\nwant:\n%s", got.String(), want)
	}
	put("d.md", "# Fourth\n")
	put("note.txt", "# fix: Fifth\n\nFive.\n")
	put("Upper.md", "# fix: Sixth\n\nSix.\n")
	_, err = read(dir)
	if err == nil {
		t.Fatal("no error")
	}
	for _, place := range []string{"d.md:1: ", "note.txt: ", "Upper.md: "} {
		if !strings.Contains(err.Error(), filepath.Join(dir, place)) {
			t.Errorf("%v: %s is not named", err, place)
		}
	}
}
