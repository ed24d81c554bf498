package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"carteiro/core/ops/admin"
	"carteiro/hooks/lua"
)

var manualBlock = regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```")

// TestManual runs what the manual shows. Blocks of files begin with their
// name, in a comment; sh blocks are commands, which succeed unless "# exit N"
// follows them; each line of a text block is part of what the commands before
// it printed.
func TestManual(t *testing.T) {
	pages, err := filepath.Glob("manual/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := manualBlock.FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			continue
		}
		shown++
		t.Run(filepath.Base(page), func(t *testing.T) {
			if strings.HasPrefix(os.Getenv("CARTEIRO_TIME_MOVED"), "-") && strings.Contains(string(text), "BEGIN PGP") {
				t.Skip("the key that the page shows was made later than the time that this process lives in")
			}
			r := &readme{t: t, dir: t.TempDir(), output: map[string]string{}}
			defer r.stop()
			said := ""
			for _, b := range blocks {
				switch b[1] {
				case "sh":
					said = r.manual(b[2])
				case "text":
					for line := range strings.Lines(b[2]) {
						if !strings.Contains(said, strings.TrimRight(line, "\n")) {
							t.Errorf("%q was not printed:\n%s", line, said)
						}
					}
				default:
					r.file(b[1], b[2])
				}
			}
		})
	}
	if shown == 0 {
		t.Error("the manual shows nothing")
	}
}

// file writes a block that is a file. In an eml block the name is a line of
// its own.
func (r *readme) file(kind, text string) {
	r.t.Helper()
	first, rest, _ := strings.Cut(text, "\n")
	name := strings.TrimSpace(strings.TrimLeft(first, "-#; "))
	if name == "" || strings.Contains(name, " ") {
		r.t.Fatalf("a %s block begins with %q instead of a file's name", kind, first)
	}
	if kind == "eml" {
		text = rest
	}
	if err := os.MkdirAll(filepath.Join(r.dir, filepath.Dir(name)), 0o755); err != nil {
		r.t.Fatal(err)
	}
	r.write(name, text)
}

var exits = regexp.MustCompile(`\s+# exit (\d+)$`)

// webAddr is where `init` has the http listener; under test it is elsewhere.
const webAddr = "127.0.0.1:8080"

// listener returns the address of a listener in mail/carteiro.toml.
func (r *readme) listener(name string) string {
	r.t.Helper()
	out, err := r.command("carteiro status --json -c mail/carteiro.toml").Output()
	var s admin.StatusReport
	if err != nil || json.Unmarshal(out, &s) != nil {
		r.t.Fatalf("status: %v\n%s", err, out)
	}
	i := slices.IndexFunc(s.Listeners, func(l admin.Listener) bool { return l.Name == name })
	if i < 0 {
		r.t.Fatalf("no listener %s in\n%s", name, out)
	}
	return s.Listeners[i].Addr
}

// manual runs the commands of a block and returns what they printed.
func (r *readme) manual(text string) string {
	r.t.Helper()
	var out strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		want := "0"
		if m := exits.FindStringSubmatch(line); m != nil {
			want, line = m[1], strings.TrimSuffix(line, m[0])
		}
		if strings.HasPrefix(line, "carteiro serve") || strings.HasPrefix(line, "carteiro dev") {
			r.run(line)
			continue
		}
		if program := strings.Fields(line)[0]; program != "carteiro" {
			need(r.t, program)
		}
		if strings.Contains(line, webAddr) {
			line = strings.ReplaceAll(line, webAddr, r.listener("web"))
		}
		cmd := r.command(line)
		b, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.String(); got != "exit status "+want {
			r.t.Errorf("%s: %s, %v, want status %s\n%s", line, got, err, want, b)
		}
		out.Write(b)
	}
	return out.String()
}

// TestManualRights: the table of rights has everything that needs one.
func TestManualRights(t *testing.T) {
	text, err := manual.ReadFile("manual/bundles.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z]+:[a-z]+) \| (.*) \|$`).FindAllStringSubmatch(string(text), -1) {
		rows[m[1]] = m[2]
	}
	n := 0
	for _, e := range lua.API() {
		for _, r := range e.Rights {
			n++
			// Also in the row of another right, if that row says "with" this one.
			found := false
			for right, row := range rows {
				for part := range strings.SplitSeq(row, "; ") {
					owner, names, listed := strings.Cut(part, ": ")
					if !listed {
						owner, names = "", part
					}
					named := regexp.MustCompile(`\b`+regexp.QuoteMeta(e.Name)+`\b`).MatchString(names) &&
						(owner == "" || strings.HasSuffix(owner, e.Owner))
					found = found || named && (right == string(r) || strings.Contains(part, "with "+string(r)))
				}
			}
			if !found {
				t.Errorf("the table of rights does not say that %s needs %s", e.Signature, r)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d rights are needed", n)
	}
}

var mentionedTopic = regexp.MustCompile("(?:carteiro help|`help)\\s+([a-z]+)")

// TestHelpTopicsExist: no page sends the reader to a topic or command that
// there is not, and the README names what is known not to work and what is
// trusted.
func TestHelpTopicsExist(t *testing.T) {
	pages, err := filepath.Glob("manual/*.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := root()
	for _, file := range append(pages, "../../README.md", "../../plugins/README.md", "../../hooks/README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]bool{}
		for _, m := range mentionedTopic.FindAllStringSubmatch(string(text), -1) {
			named[m[1]] = true
			if _, ok := manualPage(m[1]); ok {
				continue
			}
			if found, rest, err := commands.Find(m[1:2]); err != nil || len(rest) > 0 || found == commands {
				t.Errorf("%s sends to `carteiro help %s`, which there is not", file, m[1])
			}
		}
		if file == "../../README.md" && !(named["limits"] && named["security"]) {
			t.Errorf("the README names neither help limits nor help security: %v", named)
		}
	}
}
