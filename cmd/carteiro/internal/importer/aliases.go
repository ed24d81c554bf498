package importer

import (
	"fmt"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
)

// Line is a logical line of a table of aliases: physical lines that begin with
// a space continue the one before.
type Line struct {
	Number     int // of its first physical line, from 1
	Key, Value string
}

// tableLines splits a table into logical lines.
func tableLines(text string) (out []Line, err error) {
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if len(out) == 0 {
				return nil, fmt.Errorf("%d: the line continues nothing", i+1)
			}
			out[len(out)-1].Value += " " + trimmed
		default:
			key, value, _ := strings.Cut(trimmed, " ")
			if k, v, tab := strings.Cut(trimmed, "\t"); tab && len(k) < len(key) {
				key, value = k, v
			}
			// /etc/aliases has a colon after the name.
			if k, v, colon := strings.Cut(trimmed, ":"); colon && len(k) < len(key) {
				key, value = k, v
			}
			if key == "" {
				return nil, fmt.Errorf("%d: the line has no name", i+1)
			}
			out = append(out, Line{i + 1, key, value})
		}
	}
	return out, nil
}

// ParseAliases reads a table of aliases: Postfix's virtual(5) or aliases(5).
// Names without a domain belong to domain. "user@old @new" and "@old @new" map
// names one to one. If domain is "", a name without "@" that has a dot is a
// domain, which virtual(5) makes virtual: skipped has these lines. An error
// begins with the number of its line.
func ParseAliases(text, domain string) (table []admin.ImportedAlias, skipped []Line, err error) {
	lines, err := tableLines(text)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range lines {
		name := l.Key
		if !strings.Contains(name, "@") {
			if domain == "" && strings.Contains(name, ".") {
				skipped = append(skipped, l)
				continue
			}
			if domain == "" {
				return nil, nil, fmt.Errorf("%d: %s has no domain; give --domain", l.Number, name)
			}
			name += "@" + domain
		}
		one := admin.ImportedAlias{Line: l.Number}
		one.Address = name
		for _, t := range strings.FieldsFunc(l.Value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			target, pattern, err := tableTarget(name, t, domain)
			if err != nil {
				return nil, nil, fmt.Errorf("%d: %s: %w", l.Number, name, err)
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

// tableTarget reads one target. pattern: the alias must match every user of its
// domain.
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
