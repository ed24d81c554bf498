package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/core/service/auth"
	"carteiro/hooks/lua"
	"carteiro/plugins"
)

// installation are the flags of install and upgrade.
type installation struct {
	options
	capabilities, unsigned, downgrade bool
}

func (i *installation) flags(cmd *cobra.Command) {
	i.options.flags(cmd, false)
	cmd.Flags().BoolVar(&i.capabilities, "accept-capabilities", false,
		"grant more than the installed version had, and limits above those of all bundles")
	cmd.Flags().BoolVar(&i.unsigned, "unsigned", false, "accept an archive without a signature")
	cmd.Flags().BoolVar(&i.downgrade, "downgrade", false, "accept a lower version than the installed one")
}

func bundleInstallCommand() *cobra.Command {
	var i installation
	cmd := &cobra.Command{
		Use:   "install FILE|DIR",
		Short: "Verify, test and install a bundle; it is not enabled yet",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return i.run(cmd, args[0], false) },
	}
	i.flags(cmd)
	return cmd
}

func bundleUpgradeCommand() *cobra.Command {
	var i installation
	cmd := &cobra.Command{
		Use:   "upgrade FILE|DIR",
		Short: "Install another version beside the current one, run its tests, then make it current",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return i.run(cmd, args[0], true) },
	}
	i.flags(cmd)
	return cmd
}

func (i *installation) run(cmd *cobra.Command, path string, upgrade bool) error {
	var t *plugins.Tree
	signed := false
	err := i.change(cmd, func(cfg *config.Config, d *plugins.BundleStore) (err error) {
		if t, signed, err = i.open(cfg, path); err != nil {
			return err
		}
		if err := lintBundle(cmd.Context(), cmd.ErrOrStderr(), cfg, t, false); err != nil {
			return withBundleSource(err)
		}
		if err := testBundle(cmd.Context(), cmd.ErrOrStderr(), cfg, t); err != nil {
			return err
		}
		return d.Install(t, plugins.Consent{
			Capabilities: i.capabilities,
			Downgrade:    i.downgrade,
			Signed:       signed,
			Upgrade:      upgrade,
			Server:       release,
		})
	})
	if err != nil {
		return err
	}
	by := "not signed"
	if signed {
		by = "signed by " + t.Manifest.Publisher()
	}
	fmt.Fprintf(cmd.OutOrStdout(), "installed %s, %s\n", t.Title(), by)
	for _, g := range t.GrantList() {
		if means := plugins.DescribeCapability(g); means != "" {
			g += " (" + means + ")"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "granted: %s\n", g)
	}
	if !upgrade {
		fmt.Fprintf(cmd.OutOrStdout(), "next: carteiro bundle enable %s --domain DOMAIN\n", t.Manifest.Name())
	}
	return nil
}

// open reads what is to be installed. An archive needs a pinned publisher's
// signature; a folder is the admin's own and has none.
func (i *installation) open(cfg *config.Config, path string) (t *plugins.Tree, signed bool, err error) {
	if !plugins.IsArchive(path) {
		t, err = readFolder(path)
		return t, false, err
	}
	archive, signature, err := plugins.ReadArchive(path)
	if err != nil {
		return nil, false, err
	}
	t, err = plugins.Open(archive, signature, path, cfg.Trust, i.unsigned)
	if errors.Is(err, plugins.ErrUnsigned) {
		err = fmt.Errorf("%w (no %s); --unsigned accepts it", err, path+plugins.SignatureSuffix)
	}
	return t, len(signature) > 0, err
}

// change lets f change what is installed or enabled. The policies with it are
// loaded before it counts; then a running server takes it over, and if that
// refuses, nothing has changed.
//
// Crash: the lock file is exchanged by one rename. Before it nothing has
// changed; after it the change counts when the server reloads or starts.
func (o *options) change(cmd *cobra.Command, f func(*config.Config, *plugins.BundleStore) error) error {
	cfg, err := config.Load(o.config)
	if err != nil {
		return err
	}
	letGo, err := plugins.LockStore(bundleDir(cfg))
	if err != nil {
		return err
	}
	defer letGo()
	before, err := plugins.OpenStore(bundleDir(cfg))
	if err != nil {
		return err
	}
	after := before.Clone()
	if err = f(cfg, after); err == nil {
		err = tryBundles(cmd, cfg, after)
	}
	if err != nil {
		return errors.Join(err, before.Sweep())
	}
	if err := after.Commit(); err != nil {
		return err
	}
	if err := reloadServer(cmd.Context(), cmd.OutOrStdout(), cfg); err != nil {
		return errors.Join(fmt.Errorf("nothing has changed: the server refused: %w", err), before.Commit(), before.Sweep())
	}
	return after.Sweep()
}

// tryBundles loads the bundles as they will be.
func tryBundles(cmd *cobra.Command, cfg *config.Config, d *plugins.BundleStore) error {
	sources, err := bundlesWith(cfg, d)
	if err != nil {
		return err
	}
	if _, err := lua.New(lua.Options{Hostname: cfg.Hostname}).Load(cmd.Context(), sources); err != nil {
		return withSource(err)
	}
	return nil
}

// reloadServer makes the running server take over what is on disk, but not
// where a rollback is in force: who installs a bundle does not bring the
// policies back that were rolled back.
func reloadServer(ctx context.Context, w io.Writer, cfg *config.Config) error {
	client, err := admin.Dial(ctx, socketPath(cfg))
	if errors.Is(err, admin.ErrNoServer) {
		fmt.Fprintln(w, "no server is running; it counts when one starts")
		return nil
	}
	if err != nil {
		return err
	}
	raw, err := client.Call(ctx, "status", struct{}{})
	if err != nil {
		return err
	}
	var status admin.StatusReport
	if err := json.Unmarshal(raw, &status); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if why := status.Generation.Pinned; why != "" {
		fmt.Fprintf(w, "a rollback is in force (%s); it counts from the next `carteiro reload` on\n", why)
		return nil
	}
	if _, err = client.Call(ctx, "reload", admin.ReloadArgs{By: "cli"}); err != nil {
		return err
	}
	fmt.Fprintln(w, "the running server uses it now")
	return nil
}

func bundleEnableCommand() *cobra.Command {
	return switchCommand("enable", "Switch a bundle on, for all domains or one", (*plugins.BundleStore).Enable)
}

func bundleDisableCommand() *cobra.Command {
	return switchCommand("disable", "Switch a bundle off, everywhere or for one domain", (*plugins.BundleStore).Disable)
}

func switchCommand(verb, short string, turn func(d *plugins.BundleStore, name, domain string)) *cobra.Command {
	var o options
	var domains []string
	cmd := &cobra.Command{
		Use:   verb + " NAME [--domain D]",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("domain") && len(domains) == 0 {
				return usage("--domain names no domain")
			}
			for n, d := range domains {
				if err := envelope.CheckDomain(d); err != nil {
					return usage("--domain %q: %w", d, err)
				}
				domains[n] = strings.ToLower(d)
			}
			err := o.change(cmd, func(cfg *config.Config, d *plugins.BundleStore) error {
				known := plugins.List(bundleOptions(cfg, d))
				if !slices.ContainsFunc(known, func(i plugins.Info) bool { return i.Name == args[0] }) {
					_, err := plugins.ShippedTree(args[0])
					return err
				}
				for _, domain := range domains {
					turn(d, args[0], domain)
				}
				if len(domains) == 0 {
					turn(d, args[0], "")
				}
				return nil
			})
			if err != nil {
				return err
			}
			where := "all domains"
			if len(domains) > 0 {
				where = strings.Join(domains, ", ")
			}
			o.noteForeign(cmd, domains)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %sd for %s\n", args[0], verb, where)
			return err
		},
	}
	o.flags(cmd, false)
	cmd.Flags().StringSliceVar(&domains, "domain", nil, "a `domain`; again for more; default all")
	return cmd
}

// noteForeign reports domains that are not local: a typing mistake, or
// one that is added later.
func (o *options) noteForeign(cmd *cobra.Command, domains []string) {
	raw, err := o.call(cmd.Context(), "domain.list", struct{}{}, false)
	var all []auth.Domain
	if err != nil || json.Unmarshal(raw, &all) != nil {
		return // no server to ask
	}
	for _, d := range domains {
		if !slices.ContainsFunc(all, func(l auth.Domain) bool { return l.Name == d }) {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: %s is not a local domain (yet)\n", d)
		}
	}
}

func bundleRollbackCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Go back to the version before the last upgrade; again: undo that",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			version := ""
			err := o.change(cmd, func(_ *config.Config, d *plugins.BundleStore) (err error) {
				version, err = d.Rollback(args[0])
				return err
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is at %s\n", args[0], version)
			return err
		},
	}
	o.flags(cmd, false)
	return cmd
}

func bundleRemoveCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove an installed bundle; what it stored stays",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.change(cmd, func(cfg *config.Config, d *plugins.BundleStore) error {
				if err := d.Remove(args[0]); err != nil {
					return err
				}
				named := func(b config.Bundle) bool { return b.Name == args[0] }
				if slices.ContainsFunc(cfg.Bundles, named) && !slices.Contains(plugins.Shipped(), args[0]) {
					return fmt.Errorf("%s names %s under [[bundle]]; remove it there first; nothing was removed", cfg.Path, args[0])
				}
				return nil
			})
		},
	}
	o.flags(cmd, false)
	return cmd
}
