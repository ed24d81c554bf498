// Command changelog prints the files of .ci/changes by kind, for the notes of
// a release. .ci/changes/README.md says how the files are written.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// kinds are the kinds of changes with their headings, in the order in which a
// reader needs them: first what asks for an action.
var kinds = []struct{ name, heading string }{
	{"security", "Security"},
	{"change", "Changes of what worked before"},
	{"feature", "New"},
	{"fix", "Repaired"},
}

// change is one file.
type change struct {
	kind, title, text string
}

var fileName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*\.md$`)

// parse reads the text of one file: "# KIND: TITLE", and below it what
// changed.
func parse(text string) (change, error) {
	first, rest, _ := strings.Cut(text, "\n")
	heading, isHeading := strings.CutPrefix(strings.TrimSuffix(first, "\r"), "# ")
	kind, title, hasKind := strings.Cut(heading, ":")
	if !isHeading || !hasKind {
		return change{}, fmt.Errorf("1: the first line is %q instead of \"# KIND: TITLE\"", first)
	}
	c := change{kind, strings.TrimSpace(title), strings.TrimSpace(rest)}
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	switch {
	case !slices.Contains(names, kind):
		return change{}, fmt.Errorf("1: the kind is %q instead of one of %s", kind, strings.Join(names, ", "))
	case c.title == "":
		return change{}, errors.New("1: the heading has no title")
	case c.text == "":
		return change{}, errors.New("2: there is no text below the heading")
	}
	for n, line := range slices.Collect(strings.Lines(rest)) {
		if strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "## ") {
			return change{}, fmt.Errorf("%d: a second heading; write a file for each change", n+2)
		}
	}
	return c, nil
}

// read reads all files of a folder, sorted by their names. The error names
// each file that is not as README.md says, with the line.
func read(dir string) ([]change, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []change
	var faults []error
	for _, e := range entries {
		if e.Name() == "README.md" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if e.IsDir() || !fileName.MatchString(e.Name()) {
			faults = append(faults, fmt.Errorf("%s: the name is not small letters, digits and hyphens before .md", path))
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		c, err := parse(string(text))
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%w", path, err))
			continue
		}
		out = append(out, c)
	}
	return out, errors.Join(faults...)
}

// write prints the changes, those of one kind together.
func write(w io.Writer, changes []change) error {
	var b strings.Builder
	for _, k := range kinds {
		begun := false
		for _, c := range changes {
			if c.kind != k.name {
				continue
			}
			if !begun {
				fmt.Fprintf(&b, "## %s\n\n", k.heading)
				begun = true
			}
			fmt.Fprintf(&b, "### %s\n\n%s\n\n", c.title, c.text)
		}
	}
	_, err := io.WriteString(w, strings.TrimSuffix(b.String(), "\n"))
	return err
}

func main() {
	dir := ".ci/changes"
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	changes, err := read(dir)
	if err == nil {
		err = write(os.Stdout, changes)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
