package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/ops/config"
	"carteiro/hooks"
	"carteiro/hooks/lua"
	"carteiro/plugins"
)

func bundleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Bundles of policies: make, test, pack, sign, install, enable (help bundles)",
	}
	cmd.AddCommand(bundleNewCommand(), bundleLintCommand(), bundleTestCommand(), bundlePackCommand(), bundleKeyCommand(),
		bundleSignCommand(), bundleVerifyCommand(),
		bundleInstallCommand(), bundleUpgradeCommand(), bundleEnableCommand(), bundleDisableCommand(), bundleRollbackCommand(),
		bundleRemoveCommand(), bundleListCommand())
	return cmd
}

func bundleNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new PUBLISHER/NAME [DIR]",
		Short: "Write a small bundle that works, into ./NAME by default",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, dir, _ := strings.Cut(args[0], "/")
			if len(args) == 2 {
				dir = args[1]
			}
			if err := plugins.New(args[0], dir); err != nil {
				return usageError{err}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is in %s; next: carteiro bundle test %s\n", args[0], dir, dir)
			return err
		},
	}
}

func bundleLintCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "lint DIR|FILE",
		Short: "Check manifest and Lua of a bundle; no handler runs",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, t, err := o.lintAnd(cmd, cmd.OutOrStdout(), args[0], readBundle)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is good\n", t.Title())
			return err
		},
	}
	o.flags(cmd, false)
	return cmd
}

func bundlePackCommand() *cobra.Command {
	var o options
	var out string
	cmd := &cobra.Command{
		Use:   "pack DIR",
		Short: "Write NAME-VERSION.tar.zst; the same files give the same octets",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, t, err := o.lintAnd(cmd, cmd.ErrOrStderr(), args[0], readFolder)
			if err != nil {
				return err
			}
			archive, err := plugins.Pack(t)
			if err != nil {
				return err
			}
			if out == "" {
				out = t.ArchiveName()
			}
			if !plugins.IsArchive(out) {
				return usage("-o %s: the name of an archive ends in %s", out, plugins.Suffix)
			}
			if err := os.WriteFile(out, archive, 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, %d octets\n", out, t.Title(), t.Digest, len(archive))
			return err
		},
	}
	o.flags(cmd, false)
	cmd.Flags().StringVarP(&out, "output", "o", "", "archive to write, default NAME-VERSION.tar.zst here")
	return cmd
}

func bundleKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "Make a publisher's key pair: FILE is the secret key, FILE.pub the public one",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, public, err := plugins.NewKey()
			if err != nil {
				return err
			}
			f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return usageError{err}
			}
			_, err = f.Write(secret)
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
			if err := os.WriteFile(args[0]+".pub", []byte("untrusted comment: minisign public key\n"+public+"\n"), 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), public)
			return err
		},
	}
}

func bundleSignCommand() *cobra.Command {
	var key string
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEYFILE",
		Short: "Sign an archive with a minisign secret key; writes FILE.minisig",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			archive, _, err := plugins.ReadArchive(args[0])
			if err != nil {
				return err
			}
			t, err := plugins.Unpack(archive, args[0])
			if err != nil {
				return err
			}
			secret, err := os.ReadFile(key)
			if err != nil {
				return usageError{err}
			}
			password := ""
			if plugins.KeyNeedsPassword(secret) {
				if !fromStdin {
					return usage("--key %s has a password: give it with --password-stdin", key)
				}
				if password, err = secretFrom(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			signature, err := plugins.Sign(archive, secret, password, t.Title())
			if err != nil {
				return err
			}
			if err := os.WriteFile(args[0]+plugins.SignatureSuffix, signature, 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0]+plugins.SignatureSuffix, t.Title())
			return err
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "minisign secret key `file`")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the key's password from standard input")
	cmd.MarkFlagRequired("key")
	return cmd
}

func bundleVerifyCommand() *cobra.Command {
	var o options
	var key string
	cmd := &cobra.Command{
		Use:   "verify FILE [--key PUBLICKEY]",
		Short: "Check an archive and its signature, against a key or those under [trust]",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			archive, signature, err := plugins.ReadArchive(args[0])
			if err != nil {
				return err
			}
			t, err := o.verify(archive, signature, args[0], key)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, signed by %s, %s\n", args[0], t.Title(), t.Manifest.Publisher(), t.Digest)
			return err
		},
	}
	o.flags(cmd, false)
	cmd.Flags().StringVar(&key, "key", "", "minisign public key, as text or a file, instead of the configuration's")
	return cmd
}

func (o *options) verify(archive, signature []byte, label, key string) (*plugins.Tree, error) {
	if key == "" {
		cfg, err := config.Load(o.config)
		if err != nil {
			return nil, err
		}
		return plugins.Open(archive, signature, label, cfg.Trust, false)
	}
	public, err := plugins.PublicKey(key)
	if err != nil {
		return nil, usageError{err}
	}
	if _, err := plugins.Verify(archive, signature, map[string]string{"--key": public}); err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	return plugins.Unpack(archive, label)
}

// configIfThere is the configuration where -c was given, for the bundles that are
// installed there; else nil.
func (o *options) configIfThere(cmd *cobra.Command) (*config.Config, error) {
	if !cmd.Flags().Changed("config") {
		return nil, nil
	}
	return config.Load(o.config)
}

// lintAnd reads a bundle and checks it; what it declares and does not use is
// noted.
func (o *options) lintAnd(cmd *cobra.Command, notes io.Writer, path string,
	read func(string) (*plugins.Tree, error)) (*config.Config, *plugins.Tree, error) {
	cfg, err := o.configIfThere(cmd)
	if err != nil {
		return nil, nil, err
	}
	t, err := read(path)
	if err == nil {
		err = lintBundle(cmd.Context(), notes, cfg, t, true)
	}
	if err != nil {
		return nil, nil, withBundleSource(err)
	}
	return cfg, t, nil
}

// readBundle reads a folder, or an archive without asking who signed it.
func readBundle(path string) (*plugins.Tree, error) {
	if !plugins.IsArchive(path) {
		return readFolder(path)
	}
	archive, _, err := plugins.ReadArchive(path)
	if err != nil {
		return nil, err
	}
	return plugins.Unpack(archive, path)
}

func readFolder(path string) (*plugins.Tree, error) {
	if st, err := os.Stat(path); err != nil {
		return nil, usageError{err}
	} else if !st.IsDir() {
		return nil, usage("%s is neither a folder nor an archive, whose name ends in %s", path, plugins.Suffix)
	}
	return plugins.ReadDir(os.DirFS(path), filepath.Clean(path))
}

// trialSources are the sources of a bundle and of what it requires, without settings
// and secrets.
func trialSources(cfg *config.Config, t *plugins.Tree) ([]hooks.Source, error) {
	o := plugins.Options{Enabled: []plugins.Enabled{{Tree: t}}, Server: release, Trial: true}
	if cfg != nil {
		installed, err := plugins.OpenStore(bundleDir(cfg))
		if err != nil {
			return nil, err
		}
		o.Store = installed.Without(t.Manifest.Name())
		// Those of the configuration, too; what is wrong with them is told
		// where they are loaded.
		o.Beside, _ = plugins.Trees(bundleOptions(cfg, installed))
	}
	return plugins.Load(o)
}

// lintBundle loads a bundle as a server would, or as one that is strict (see
// lua.Options), and notes what it declares and does not use.
func lintBundle(ctx context.Context, notes io.Writer, cfg *config.Config, t *plugins.Tree, strict bool) error {
	sources, err := trialSources(cfg, t)
	if err != nil {
		return err
	}
	gen, err := lua.New(lua.Options{Strict: strict}).Load(ctx, sources)
	if err != nil {
		return err
	}
	for _, name := range t.Manifest.Bundle.Hooks {
		own := func(h hooks.Handler) bool { return h.Info().Bundle == t.Manifest.Name() }
		if !slices.ContainsFunc(gen.Chain.Handlers(hooks.Point(name)), own) {
			fmt.Fprintf(notes, "note: %s is declared, but there is no handler at it\n", name)
		}
	}
	return nil
}

// withBundleSource is an error with its faults as a compiler shows them, those
// of manifests and those of Lua.
func withBundleSource(err error) error {
	faults := manifestFaults(err)
	if len(faults) == 0 {
		return withSource(err)
	}
	var b strings.Builder
	for _, f := range faults {
		b.WriteString("\n" + strings.TrimPrefix(f.Error(), plugins.ErrBundle.Error()+" "))
		for line := range strings.SplitSeq(f.Snippet, "\n") {
			if f.Snippet != "" {
				b.WriteString("\n    " + line)
			}
		}
	}
	return fmt.Errorf("the manifest has %s%s", count(len(faults), "fault"), b.String())
}

func manifestFaults(err error) (out []*plugins.Fault) {
	switch e := err.(type) {
	case *plugins.Fault:
		return []*plugins.Fault{e}
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			out = append(out, manifestFaults(one)...)
		}
	}
	return out
}
