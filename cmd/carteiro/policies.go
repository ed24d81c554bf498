package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"carteiro/core/admin"
	"carteiro/core/config"
	"carteiro/core/store"
	"carteiro/hooks"
)

// The record under which the last good generation's sources are kept.
const (
	kindGeneration = "generation"
	lastGood       = "last-good"
)

// maxScript bounds one file of the scripts' folder; maps may be larger than
// scripts, which the engine limits itself.
const maxScript = 16 << 20

// readSources reads what the configuration names: the admin's scripts, the
// domains' own and the bundles. It changes nothing.
func readSources(cfg *config.Config) ([]hooks.Source, error) {
	var out []hooks.Source
	var errs []error
	if dir := cfg.Scripts.Dir; dir != "" {
		src, err := readScripts(dir, "scripts", hooks.Admin)
		errs = append(errs, err)
		out = append(out, src)
		domains, err := filepath.Glob(filepath.Join(dir, "domains", "*"))
		errs = append(errs, err)
		for _, d := range domains {
			name := filepath.Base(d)
			src, err := readScripts(d, "scripts/domains/"+name, hooks.Domain)
			src.Domains = []string{strings.ToLower(name)}
			errs = append(errs, err)
			out = append(out, src)
		}
	}
	bundles, err := readBundles(cfg)
	return append(out, bundles...), errors.Join(append(errs, err)...)
}

// readScripts reads a folder of scripts: its *.lua files run in the order of
// their names, everything else is for require and map.open.
func readScripts(dir, name string, tier hooks.Tier) (hooks.Source, error) {
	src := hooks.Source{Name: name, Tier: tier, Files: map[string][]byte{}}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || tier == hooks.Admin && (rel == "domains" || rel == "examples" || rel == "tests")) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), "~") {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() > maxScript {
			return fmt.Errorf("%s: larger than %d octets", path, maxScript)
		}
		rel = filepath.ToSlash(rel)
		src.Files[rel], err = os.ReadFile(path)
		if filepath.Dir(rel) == "." && strings.HasSuffix(rel, ".lua") && rel != "carteiro.lua" {
			src.Main = append(src.Main, rel)
		}
		return err
	})
	slices.Sort(src.Main)
	return src, err
}

// build makes a generation of what is on disk now.
func (s *server) build(ctx context.Context, cfg *config.Config) (*hooks.Generation, error) {
	sources, err := readSources(cfg)
	if err != nil {
		return nil, err
	}
	return s.engine.Load(ctx, sources)
}

// firstGeneration loads the policies at the start. When the files are broken,
// the last generation that was good is used, and that is said loudly; without
// one the server does not start.
func (s *server) firstGeneration(ctx context.Context) error {
	gen, broken := s.build(ctx, s.cfg)
	if broken == nil {
		return s.enforce(ctx, gen)
	}
	raw, err := s.store.Record(ctx, kindGeneration, lastGood)
	if errors.Is(err, store.ErrNotFound) {
		return usageError{fmt.Errorf("policies: %w", broken)}
	}
	if err != nil {
		return err
	}
	var sources []hooks.Source
	if err := json.Unmarshal(raw, &sources); err != nil {
		return fmt.Errorf("last good generation: %w", err)
	}
	if gen, err = s.engine.Load(ctx, sources); err != nil {
		return usageError{fmt.Errorf("policies: %w (and the last good ones fail too: %w)", broken, err)}
	}
	s.journal.ErrorContext(ctx, "POLICIES ON DISK ARE BROKEN, the last good generation is in force", "generation", gen.ID, "err", broken)
	s.fallback.Store(true)
	s.policies.Swap(gen)
	return nil
}

// enforce puts a generation in force, and on disk first: after a crash
// between the two a restart loads the files, which are just as good.
func (s *server) enforce(ctx context.Context, gen *hooks.Generation) error {
	raw, err := json.Marshal(gen.Sources)
	if err != nil {
		return err
	}
	if err := s.store.PutRecords(ctx, store.Record{Kind: kindGeneration, Name: lastGood, Value: raw}); err != nil {
		return fmt.Errorf("last good generation: %w", err)
	}
	s.policies.Swap(gen)
	s.fallback.Store(false)
	return nil
}

// reload exchanges policies, certificates and the configuration's list of
// domains and bundles, or on any error nothing. All other settings wait for a
// restart.
func (s *server) reload(ctx context.Context) (admin.Generation, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	var gen *hooks.Generation
	cfg, err := config.Load(s.cfg.Path)
	if err == nil {
		gen, err = s.build(ctx, cfg)
	}
	if err == nil && s.certs != nil {
		err = s.certs.load()
	}
	if err == nil {
		err = s.directory.SetDomains(ctx, cfg.Domains)
	}
	if err == nil {
		err = s.enforce(ctx, gen)
	}
	if err != nil {
		s.journal.Metrics.Reloads.WithLabelValues("failed").Inc()
		s.journal.ErrorContext(ctx, "reload failed, nothing changed", "generation", s.policies.Get().ID, "err", err)
		return admin.Generation{}, err
	}
	s.journal.Metrics.Reloads.WithLabelValues("ok").Inc()
	s.journal.InfoContext(ctx, "reloaded", "generation", gen.ID)
	return s.generation(), nil
}

func (s *server) generation() admin.Generation {
	g := s.policies.Get()
	n := 0
	for _, spec := range hooks.Specs() {
		n += len(g.Chain.Handlers(spec.Point))
	}
	return admin.Generation{ID: g.ID, Loaded: g.Loaded, Handlers: n, Fallback: s.fallback.Load()}
}
