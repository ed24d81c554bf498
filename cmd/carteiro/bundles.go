package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"carteiro/core/ops/config"
	"carteiro/hooks"
	"carteiro/plugins"
)

// bundleDir is the folder of the installed bundles.
func bundleDir(cfg *config.Config) string { return filepath.Join(cfg.Storage.Dir, "bundles") }

// readBundles reads the bundles that the configuration or `bundle enable`
// enabled. It changes nothing.
func readBundles(cfg *config.Config) ([]hooks.Source, error) {
	installed, err := plugins.OpenStore(bundleDir(cfg))
	if err != nil {
		return nil, err
	}
	return bundlesWith(cfg, installed)
}

// completeLock writes what this version adds to entries of the lock file that an
// earlier version wrote, and logs which bundles have rights for that reason. The
// policies load without it, too: where another command holds the folder, the
// next start writes it.
func completeLock(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	installed, err := plugins.OpenStore(bundleDir(cfg))
	if err != nil {
		return nil // reported when the policies load
	}
	for title, rights := range installed.Kept() {
		log.WarnContext(ctx, "an installed bundle "+keptText(rights), "bundle", title)
	}
	if !installed.Stale() {
		return nil
	}
	letGo, err := plugins.LockStore(bundleDir(cfg))
	if err != nil {
		log.WarnContext(ctx, "the lock file of the bundles is completed at the next start", "err", err)
		return nil
	}
	defer letGo()
	if installed, err = plugins.OpenStore(bundleDir(cfg)); err != nil || !installed.Stale() {
		return nil
	}
	return installed.Commit()
}

// bundlesWith is readBundles with a store that may not be committed yet.
func bundlesWith(cfg *config.Config, installed *plugins.BundleStore) ([]hooks.Source, error) {
	return plugins.Load(bundleOptions(cfg, installed))
}

func bundleOptions(cfg *config.Config, installed *plugins.BundleStore) plugins.Options {
	o := plugins.Options{Store: installed, Trust: cfg.Trust, Server: release}
	for i, b := range cfg.Bundles {
		e := plugins.Enabled{At: func(setting string, err error) error { return cfg.InBundle(i, setting, err) },
			Name: b.Name, Path: b.Path, Domains: b.Domains, Config: b.Config, DomainConfig: b.Domain, HTTP: b.HTTP,
			GrantLimits: b.GrantLimits,
			AllowWeb:    b.AllowWeb}
		for name, s := range b.Secrets {
			if e.Secrets == nil {
				e.Secrets = map[string]hooks.Secret{}
			}
			e.Secrets[name] = hooks.Secret{File: s.File, Env: s.Env}
		}
		o.Enabled = append(o.Enabled, e)
	}
	return o
}
