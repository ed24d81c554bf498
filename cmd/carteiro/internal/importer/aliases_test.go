package importer

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestParseAliases: tables as Postfix reads them.
func TestParseAliases(t *testing.T) {
	for _, tt := range []struct {
		name, domain, text string
		want               string // "LINE ADDRESS TARGETS;", and "-LINE KEY;" for lines left out
		err                string
	}{
		{"virtual", "", "info@a.example alice@a.example bob@b.example\n", "1 info@a.example alice@a.example,bob@b.example;", ""},
		{"tabs and commas", "", "info@a.example\tx@a.example,\ty@a.example ,z@a.example\n",
			"1 info@a.example x@a.example,y@a.example,z@a.example;", ""},
		{"CRLF, comments, blank lines", "", "# a table\r\n\r\n  \r\ninfo@a.example x@a.example\r\n", "4 info@a.example x@a.example;", ""},
		{"continuation", "", "info@a.example x@a.example,\n  # not a name\n\ty@a.example\n", "1 info@a.example x@a.example,y@a.example;", ""},
		{"one user to the same user elsewhere", "", "x@a.example @b.example\n", "1 x@a.example x@b.example;", ""},
		{"every user of a domain", "", "@a.example @b.example\n", "1 /(.+)/@a.example $1@b.example;", ""},
		{"catch-all", "", "@a.example x@b.example\n", "1 @a.example x@b.example;", ""},
		{"a domain made virtual", "", "a.example anything\nx@a.example y@b.example\n", "2 x@a.example y@b.example;-1 a.example;", ""},
		{"aliases(5)", "a.example", "postmaster: root\nroot:\\alice, bob@b.example\n",
			"1 postmaster@a.example root@a.example;2 root@a.example alice@a.example,bob@b.example;", ""},
		{"a name with a dot", "a.example", "first.last: x\n", "1 first.last@a.example x@a.example;", ""},
		{"no targets", "a.example", "x:\n", "1 x@a.example ;", ""},

		{"a name without a domain", "", "root x@a.example\n", "", "1: root has no domain; give --domain"},
		{"a target without a domain", "", "x@a.example y@a.example\ny@a.example root\n", "",
			"2: y@a.example: target root has no domain; give --domain"},
		{"a program", "", "x@a.example |/bin/true\n", "",
			"1: x@a.example: target |/bin/true: programs, files and :include: are not supported; a policy can do what they did"},
		{"a file", "a.example", "x: /dev/null\n", "", "1: x@a.example: target /dev/null: programs"},
		{"an include", "a.example", "x: :include:/etc/list\n", "", "1: x@a.example: target :include:/etc/list: programs"},
		{"a program with words", "a.example", "x: \"|/bin/true now\"\n", "", `1: x@a.example: target "|/bin/true: programs`},
		{"no name", "a.example", "x: y\n: z@a.example\n", "", "2: the line has no name"},
		{"nothing to continue", "a.example", "# comment\n  y@a.example\n", "", "2: the line continues nothing"},
	} {
		table, skipped, err := ParseAliases(tt.text, tt.domain)
		var got strings.Builder
		for _, a := range table {
			fmt.Fprintf(&got, "%d %s %s;", a.Line, a.Address, strings.Join(a.Targets, ","))
		}
		for _, s := range skipped {
			fmt.Fprintf(&got, "-%d %s;", s.Number, s.Key)
		}
		if tt.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got.String(), err, tt.want)
		}
	}
}

// FuzzParseAliases: an error names a line of the text, and what is taken over
// has an address with a domain and a line of its own.
func FuzzParseAliases(f *testing.F) {
	f.Add("info@a.example alice@a.example bob@b.example\n", "")
	f.Add("@a.example @b.example\na.example x\n", "")
	f.Add("postmaster: root\nroot:\\alice,\n\tbob@b.example\n", "a.example")
	f.Add(": x\n", "a.example")
	f.Add("x@a.example |/bin/true\n", "")
	f.Fuzz(func(t *testing.T, text, domain string) {
		if strings.ContainsAny(domain, " \t,@") {
			t.Skip() // the operator gives the domain
		}
		lines := strings.Count(text, "\n") + 1
		table, skipped, err := ParseAliases(text, domain)
		if err != nil {
			number, _, _ := strings.Cut(err.Error(), ":")
			if n, e := strconv.Atoi(number); e != nil || n < 1 || n > lines {
				t.Errorf("%q: the error names no line: %v", text, err)
			}
			return
		}
		last := 0
		for _, a := range table {
			if !strings.Contains(a.Address, "@") || a.Line <= last || a.Line > lines {
				t.Errorf("%q: alias %+v after line %d", text, a, last)
			}
			last = a.Line
			for _, target := range a.Targets {
				// A name with such characters is refused by the server.
				if !strings.Contains(target, "@") || strings.ContainsAny(target, " \t,") && !strings.ContainsAny(a.Address, " \t,") {
					t.Errorf("%q: target %q of %s", text, target, a.Address)
				}
			}
		}
		for _, s := range skipped {
			if domain != "" || strings.Contains(s.Key, "@") || s.Number < 1 || s.Number > lines {
				t.Errorf("%q: left out %+v", text, s)
			}
		}
	})
}
