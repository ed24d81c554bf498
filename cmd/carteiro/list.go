package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/importer"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/hooks"
)

// listCommand are the words of `carteiro list`. What they mean is for the
// policy that has the command "list", a bundle such as carteiro/mailinglist.
func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Mailing lists: create, rm, list, show, set, members, subscribe, unsubscribe, held, approve, reject, import, export",
	}
	cmd.AddCommand(
		listVerb("create LIST --owner ADDRESS [KEY=VALUE...]", "Make a list", cobra.MinimumNArgs(1), "owner", "owners, separated by commas"),
		listVerb("rm LIST", "Take a list away; its archive stays on disk", cobra.ExactArgs(1)),
		listVerb("list [DOMAIN]", "Names of all lists", cobra.MaximumNArgs(1)),
		listVerb("show LIST", "Settings and numbers of a list", cobra.ExactArgs(1)),
		listVerb("set LIST KEY=VALUE...", "Change settings; `carteiro help lists` has them", cobra.MinimumNArgs(2)),
		listVerb("members LIST", "Addresses of the members, a line each", cobra.ExactArgs(1), "mode", "only those of this mode"),
		listVerb("subscribe LIST ADDRESS...", "Make members, without asking them", cobra.MinimumNArgs(2),
			"mode", "regular, digest, mime-digest or none", "name", "of the member", "language", "en or pt"),
		listVerb("unsubscribe LIST ADDRESS...", "Take members out", cobra.MinimumNArgs(2)),
		listVerb("member LIST ADDRESS [KEY=VALUE...]", "Show a member, or change what is kept of it", cobra.MinimumNArgs(2)),
		listVerb("held LIST", "Messages that wait for a moderator", cobra.ExactArgs(1)),
		listVerb("approve LIST ID", "Let a held message go to the list", cobra.ExactArgs(2)),
		listVerb("reject LIST ID", "Refuse a held message", cobra.ExactArgs(2), "reason", "what the author is told; without one nobody is"),
		listImport(), listExport())
	return cmd
}

// listVerb is one word; options are names and descriptions in turn.
func listVerb(use, short string, args cobra.PositionalArgs, options ...string) *cobra.Command {
	var o commandOptions
	verb, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "list", verb, args)
		},
	}
	o.flags(cmd, options...)
	return cmd
}

// commandOptions are the options of a command that policies carry out.
type commandOptions struct {
	options
	values map[string]*string
}

func (o *commandOptions) flags(cmd *cobra.Command, named ...string) {
	o.options.flags(cmd, true)
	o.values = map[string]*string{}
	for i := 0; i+1 < len(named); i += 2 {
		o.values[named[i]] = cmd.Flags().String(named[i], "", named[i+1])
	}
}

// run has the server's policies carry out a command and prints what they
// answer: JSON as such, or their text.
func (o *commandOptions) run(cmd *cobra.Command, name, verb string, args []string) error {
	answer, err := o.ask(cmd.Context(), name, verb, args)
	if err != nil {
		return err
	}
	return o.printAnswer(cmd.OutOrStdout(), answer)
}

func (o *commandOptions) ask(ctx context.Context, name, verb string, args []string) (answer admin.CommandAnswer, err error) {
	in := hooks.Command{
		Name:    name,
		Verb:    verb,
		Args:    args,
		Options: map[string]string{},
		JSON:    o.json,
	}
	for k, v := range o.values {
		if *v != "" {
			in.Options[k] = *v
		}
	}
	raw, err := o.call(ctx, "command", in, false)
	if errors.Is(err, admin.ErrNoCommand) {
		return answer, fmt.Errorf("list: %w; bundles such as carteiro/mailinglist bring commands ([[bundle]] in the configuration, or "+
			"`carteiro bundle enable`)", err)
	}
	if err != nil {
		return answer, err
	}
	return answer, json.Unmarshal(raw, &answer)
}

// atOnce is how many members one call brings; policies have a budget.
const atOnce = 250

func listImport() *cobra.Command {
	var o commandOptions
	var source string
	cmd := &cobra.Command{
		Use:   "import LIST FILE|DIR|-",
		Short: "Import the members of a Mailman 3 or mlmmj list, or of a source that changes",
		Long: "Import members; they get no mail about it. FILE is a list of addresses, a line each (`mailman members`), or the JSON of " +
			"Mailman's REST API\n(/lists/ID/roster/member); DIR is the folder of an mlmmj list; - is standard input. With --source NAME the " +
			"list follows a source, such as a\ndirectory or a database: who is new there is added, who came from there and is gone is taken " +
			"out, all others stay. Run it by a timer.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			roster, err := importer.ReadMembers(args[1], cmd.InOrStdin())
			if err != nil {
				return usageError{err}
			}
			if source != "" {
				if err := o.removeGone(cmd, args[0], source, roster); err != nil {
					return err
				}
				o.values = map[string]*string{"source": &source}
			}
			for len(roster) > 0 {
				n := min(len(roster), atOnce)
				words := []string{args[0]}
				for _, m := range roster[:n] {
					words = append(words, m.Mode+" "+m.Address+" "+m.Name)
				}
				if err := o.run(cmd, "list", "import", words); err != nil {
					return err
				}
				roster = roster[n:]
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&source, "source", "", "`name` of the source that these members come from")
	return cmd
}

// removeGone takes out who came from a source and is not in it any more.
func (o *commandOptions) removeGone(cmd *cobra.Command, list, source string, roster []importer.Member) error {
	asked := commandOptions{options: options{config: o.config, json: true}}
	answer, err := asked.ask(cmd.Context(), "list", "members", []string{list})
	if err != nil {
		return err
	}
	var members []struct{ Address, Source string }
	if err := json.Unmarshal([]byte(answer.Body), &members); err != nil {
		return err
	}
	stay := map[string]bool{}
	for _, m := range roster {
		stay[strings.ToLower(m.Address)] = true
	}
	var gone []string
	for _, m := range members {
		if m.Source == source && !stay[m.Address] {
			gone = append(gone, m.Address)
		}
	}
	for len(gone) > 0 {
		n := min(len(gone), atOnce)
		if _, err := o.ask(cmd.Context(), "list", "unsubscribe", append([]string{list}, gone[:n]...)); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d members removed\n", n)
		gone = gone[n:]
	}
	return nil
}

func listExport() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "export LIST",
		Short: "Write the archive of a list to standard output, as mbox",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			client, err := admin.Dial(cmd.Context(), socketPath(cfg))
			if err != nil {
				return fmt.Errorf("%w (is `carteiro serve -c %s` running?)", err, o.config)
			}
			return client.Mbox(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
	o.flags(cmd, false)
	return cmd
}
