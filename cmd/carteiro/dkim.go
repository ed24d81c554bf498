package main

import (
	"carteiro/cmd/carteiro/internal/site"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carteiro/core/ops/config"
	"carteiro/core/service/verify"
)

// keyring are the DKIM keys of a configuration.
func keyring(cfg *config.Config) *verify.Keyring {
	named := map[string][]string{}
	for domain, d := range cfg.DKIM {
		named[strings.ToLower(domain)] = d.Selectors
	}
	return verify.NewKeyring(cfg.Hostname, filepath.Join(cfg.Storage.Dir, "dkim"), named)
}

func dkimCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dkim",
		Short: "DKIM keys: generate, rotate, list",
	}
	cmd.AddCommand(dkimMakeCommand("generate DOMAIN", "Make a key; it signs the domain's mail from now on", false),
		dkimMakeCommand("rotate DOMAIN", "Make a key that signs instead of those that do now; they stay for mail under way", true),
		dkimListCommand())
	return cmd
}

// dkimMakeCommand makes a key. While a domain has one, generate adds another
// that signs beside it: two kinds of key, say.
func dkimMakeCommand(use, short string, instead bool) *cobra.Command {
	var o options
	var selector, kind string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			if selector == "" {
				selector = "c" + time.Now().UTC().Format("20060102")
				if kind != "rsa" {
					selector += "-" + kind
				}
			}
			key, err := keyring(cfg).Generate(args[0], selector, kind, !instead)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), key)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The key signs from now on. Publish it:\n\n%s. IN TXT %s\n", key.Name, site.QuoteTXT(key.Record))
			if d, ok := cfg.DKIM[key.Domain]; ok && d.Selectors != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "\nThe configuration names the selectors of %s: the key signs when %s is among them.\n", key.Domain,
					key.Selector)
			}
			return nil
		},
	}
	o.flags(cmd, true)
	cmd.Flags().StringVar(&selector, "selector", "", "name of the key, by default made of the date")
	cmd.Flags().StringVar(&kind, "type", "rsa", "rsa or ed25519")
	return cmd
}

func dkimListCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			keys, err := keyring(cfg).List()
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), keys)
			}
			for _, k := range keys {
				word := "kept"
				if k.Active {
					word = "signs"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s %s\n", k.Domain, k.Selector, k.Kind, word)
			}
			return nil
		},
	}
	o.flags(cmd, true)
	return cmd
}
