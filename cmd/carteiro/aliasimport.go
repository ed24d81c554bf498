package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
)

func aliasImport() *cobra.Command {
	var o options
	var domain string
	cmd := &cobra.Command{Use: "import FILE [--domain D]", Short: "Take over a table of aliases, Postfix's virtual or /etc/aliases, all or nothing", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			table, skipped, err := readAliasTable(string(text), domain)
			if err != nil {
				return fmt.Errorf("%s:%w", args[0], err)
			}
			return show(cmd, &o, "alias.import", admin.ImportArgs{Aliases: table}, true, func(w io.Writer, r admin.ImportReport) {
				fmt.Fprintf(w, "%d aliases\n", r.Aliases)
				for _, s := range skipped {
					fmt.Fprintf(w, "line %d left out: %s names a domain; `carteiro domain add` makes it local\n", s.line, s.key)
				}
			})
		}}
	o.flags(cmd, true)
	cmd.Flags().StringVar(&domain, "domain", "", "`domain` of names without one")
	return cmd
}

// tableLine is a logical line of a table: lines that begin with a space go on
// the one before.
type tableLine struct {
	line       int
	key, value string
}

func tableLines(text string) []tableLine {
	var out []tableLine
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if n := len(out); n > 0 {
				out[n-1].value += " " + trimmed
			}
		default:
			key, value, _ := strings.Cut(trimmed, " ")
			if k, v, tab := strings.Cut(trimmed, "\t"); tab && len(k) < len(key) {
				key, value = k, v
			}
			// /etc/aliases has a colon behind the name.
			if k, v, colon := strings.Cut(trimmed, ":"); colon && len(k) < len(key) {
				key, value = k, v
			}
			out = append(out, tableLine{i + 1, key, value})
		}
	}
	return out
}

// readAliasTable reads a table. "user@old @new" and "@old @new" map names one
// to one; a name without "@" that has a dot is Postfix's way to make a domain
// virtual, and left out, unless domain says where names without one belong.
func readAliasTable(text, domain string) (table []admin.ImportedAlias, skipped []tableLine, err error) {
	for _, l := range tableLines(text) {
		name := l.key
		if !strings.Contains(name, "@") {
			if domain == "" && strings.Contains(name, ".") {
				skipped = append(skipped, l)
				continue
			}
			if domain == "" {
				return nil, nil, fmt.Errorf("%d: %s has no domain; give --domain", l.line, name)
			}
			name += "@" + domain
		}
		one := admin.ImportedAlias{Line: l.line}
		one.Address = name
		for _, t := range strings.FieldsFunc(l.value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			target, pattern, err := tableTarget(name, t, domain)
			if err != nil {
				return nil, nil, fmt.Errorf("%d: %s: %w", l.line, name, err)
			}
			if pattern {
				one.Address = "/(.+)/" + name
			}
			one.Targets = append(one.Targets, target)
		}
		table = append(table, one)
	}
	return table, skipped, nil
}

// tableTarget reads one target; pattern says that the name has to be one that
// matches every user of its domain.
func tableTarget(name, t, domain string) (target string, pattern bool, err error) {
	switch {
	case strings.ContainsAny(t[:1], `|/:"`):
		return "", false, fmt.Errorf("target %s: programs, files and :include: are not supported; a policy can do what they did", t)
	case t[0] == '@' && name[0] == '@':
		return "$1" + t, true, nil
	case t[0] == '@':
		return envelope.Address(name).Local() + t, false, nil
	case !strings.Contains(t, "@") && domain == "":
		return "", false, fmt.Errorf("target %s has no domain; give --domain", t)
	case !strings.Contains(t, "@"):
		return strings.TrimPrefix(t, `\`) + "@" + domain, false, nil
	}
	return t, false, nil
}
