// Command carteiro is the mail server and everything that its operators type.
// main.go knows the subcommands, one file each; serve.go says what of the
// server is connected to what.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // for machines without: settings name zones

	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/importer"
	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core/ops/config"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // configuration or usage error: nothing was changed
)

// defaultConfig is where a configuration is looked for.
const defaultConfig = "/etc/carteiro/carteiro.toml"

// usageError marks what the caller has to put right before trying again.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	tree := root()
	if words := os.Args[1:]; isPolicyCommand(tree, words) {
		tree.SetArgs(append([]string{"policy"}, words...))
	}
	err := tree.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "carteiro:", err)
	_, usage := errors.AsType[usageError](err)
	_, site := errors.AsType[site.Error](err)
	_, file := errors.AsType[importer.OpenError](err)
	if usage || site || file || errors.Is(err, config.ErrConfig) {
		return exitUsage
	}
	return exitFailed
}

// root is the tree of commands.
func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "carteiro",
		Short:         "A mail server that its admins program in Lua",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.AddCommand(demoCommand(), devCommand(), initCommand(), serveCommand(), checkCommand(),
		reloadCommand(), statusCommand(), versionCommand(), queueCommand(), accountCommand(), aliasCommand(), domainCommand(), keyCommand(),
		explainCommand(), traceCommand(), dkimCommand(), srsCommand(), listCommand(), clockCommand(), sendmailCommand(), scriptsCommand(),
		bundleCommand(), spamCommand(),
		policyCommand())
	cmd.SetHelpCommand(helpCommand(cmd))
	strictUsage(cmd)
	return cmd
}

// strictUsage makes errors about arguments and unknown commands usage errors.
func strictUsage(cmd *cobra.Command) {
	if !cmd.Runnable() { // cobra would help, and succeed, before it looks at the arguments
		cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	check := cmd.Args
	cmd.Args = func(c *cobra.Command, args []string) error {
		if c.HasSubCommands() && len(args) > 0 {
			return usage("%s: unknown command %q%s", c.CommandPath(), args[0], suggest(c, args[0]))
		}
		if check != nil {
			if err := check(c, args); err != nil {
				return usage("%s: %w; usage: %s", c.CommandPath(), err, c.UseLine())
			}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		strictUsage(sub)
	}
}

func suggest(c *cobra.Command, word string) string {
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(word); len(s) > 0 {
		return "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return ""
}
