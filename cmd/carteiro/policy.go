package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/ops/admin"
	"carteiro/hooks"
)

// policyUse is how commands of policies are typed.
const policyUse = "carteiro NAME VERB ARGS... --OPTION VALUE [--json] [-c FILE]"

// policyCommand passes a command on to the policies that have it. Without a
// NAME it lists those that policies have.
func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:                "policy [NAME VERB ARGS... --OPTION VALUE]",
		DisableFlagParsing: true,
		Args:               cobra.ArbitraryArgs,
		Short:              "Run a command that a policy has (admin.command), or list them; `carteiro NAME ...` is the short form",
		RunE: func(cmd *cobra.Command, words []string) error {
			line, err := readPolicyLine(words)
			switch {
			case err != nil:
				return err
			case line.help:
				return cmd.Help()
			case line.words == nil:
				return line.list(cmd)
			}
			return line.run(cmd)
		},
	}
	// For the help text; readPolicyLine reads them.
	(&options{}).flags(cmd, true)
	return cmd
}

// isPolicyCommand reports whether a command line begins with a word that is no
// command of ours, so that policies are to be asked.
func isPolicyCommand(tree *cobra.Command, words []string) bool {
	if len(words) == 0 || words[0] == "" || words[0][0] == '-' || strings.HasPrefix(words[0], cobra.ShellCompRequestCmd) ||
		words[0] == "completion" || words[0] == "help" { // cobra adds these when it runs
		return false
	}
	return !slices.ContainsFunc(tree.Commands(), func(c *cobra.Command) bool { return c.Name() == words[0] || c.HasAlias(words[0]) })
}

// policyLine is a command line for policies, read.
type policyLine struct {
	options
	named  bool // the configuration was named
	help   bool
	words  []string
	values map[string]string
}

// readPolicyLine separates our options, -c, --config, --json and --help, from
// those of the policy, which all have a value. After "--" there are no options.
func readPolicyLine(words []string) (*policyLine, error) {
	l := &policyLine{options: options{config: defaultConfig}, values: map[string]string{}}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		name, value, joined := strings.Cut(word, "=")
		need := func() error {
			if joined {
				return nil
			}
			if len(words) == 0 || strings.HasPrefix(words[0], "--") || words[0] == "-c" || words[0] == "-h" {
				return usage("%s needs a value; write %s VALUE or --OPTION=VALUE", name, name)
			}
			value, words = words[0], words[1:]
			return nil
		}
		switch {
		case word == "--":
			l.words = append(l.words, words...)
			words = nil
		case name == "-c" || name == "--config":
			if err := need(); err != nil {
				return nil, err
			}
			l.config, l.named = value, true
		case strings.HasPrefix(word, "-c") && !strings.HasPrefix(word, "--"):
			l.config, l.named = word[2:], true
		case word == "-h" || word == "--help":
			l.help = true
		case name == "--json":
			if joined && value != "true" && value != "false" {
				return nil, usage("--json is true or false, not %q", value)
			}
			l.json = value != "false"
		case strings.HasPrefix(name, "--"):
			if err := need(); err != nil {
				return nil, err
			}
			name = name[2:]
			if _, twice := l.values[name]; twice || name == "" {
				return nil, usage("--%s is given twice, or has no name", name)
			}
			l.values[name] = value
		case len(word) > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9'):
			return nil, usage("unknown option %s; options of policies are written --NAME VALUE; a word that begins with a dash goes after --", word)
		default:
			l.words = append(l.words, word)
		}
	}
	return l, nil
}

func (l *policyLine) run(cmd *cobra.Command) error {
	name := l.words[0]
	in := hooks.Command{
		Name:    name,
		Args:    []string{},
		Options: l.values,
		JSON:    l.json,
	}
	if len(l.words) > 1 {
		in.Verb, in.Args = l.words[1], l.words[2:]
	}
	if _, err := os.Stat(l.config); !l.named && err != nil { // a typo, more likely than a policy without a server
		return usage("unknown command %q%s; a command of a policy needs -c FILE, for %s cannot be read", name,
			suggestWord(cmd.Root(), name, nil), l.config)
	}
	raw, err := l.call(cmd.Context(), "command", in, false)
	switch {
	case errors.Is(err, admin.ErrNoServer):
		return fmt.Errorf("%q is not a command of carteiro%s, and policies cannot be asked for it: %w", name, suggestWord(cmd.Root(),
			name, nil), err)
	case errors.Is(err, admin.ErrNoCommand):
		commands, _ := l.policyCommands(cmd) // a suggestion less, if they cannot be had
		return usage("unknown command %q: neither carteiro nor a policy has it%s", name, suggestWord(cmd.Root(), name, commands))
	case err != nil:
		return err
	}
	var answer admin.CommandAnswer
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	return l.printAnswer(cmd.OutOrStdout(), answer)
}

// printAnswer prints what a policy answered. With --json it is JSON in any case: a
// policy that answers a text to it answers that text as JSON.
func (o *options) printAnswer(w io.Writer, a admin.CommandAnswer) error {
	switch {
	case o.json && json.Valid([]byte(a.Body)):
		return o.print(w, json.RawMessage(a.Body), nil)
	case o.json:
		raw, err := json.Marshal(a.Body)
		if err != nil {
			return err
		}
		return o.print(w, raw, nil)
	}
	if a.Body != "" && !strings.HasSuffix(a.Body, "\n") && strings.HasPrefix(a.Type, "text/") {
		a.Body += "\n"
	}
	_, err := io.WriteString(w, a.Body)
	return err
}

// policyCommands asks the server for the commands that policies have.
func (l *policyLine) policyCommands(cmd *cobra.Command) ([]admin.PolicyCommand, error) {
	var out []admin.PolicyCommand
	raw, err := l.call(cmd.Context(), "command.list", nil, false)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	return out, err
}

func (l *policyLine) list(cmd *cobra.Command) error {
	if len(l.values) > 0 {
		return usage("the name of the command is missing; usage: %s", policyUse)
	}
	return show(cmd, &l.options, "command.list", nil, false, func(w io.Writer, all []admin.PolicyCommand) {
		if len(all) == 0 {
			fmt.Fprintln(w, "no policy in force has a command")
		}
		for _, c := range all {
			hidden := ""
			if !isPolicyCommand(cmd.Root(), []string{c.Name}) {
				hidden = "type `carteiro policy " + c.Name + "`; `carteiro " + c.Name + "` is a command of the server"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, c.Handler, hidden)
		}
	})
}

// suggestWord names commands, ours and those of policies, that are written
// much like a word.
func suggestWord(root *cobra.Command, word string, policies []admin.PolicyCommand) string {
	var known []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	for _, c := range policies {
		known = append(known, c.Name)
	}
	return cmp.Or(hooks.Suggestion(word, known), suggest(root, word))
}
