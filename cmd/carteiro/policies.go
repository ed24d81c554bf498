package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/core/ops/generations"
	"carteiro/core/ops/policytest"
	"carteiro/hooks"
	"carteiro/hooks/lua/source"
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
		sources, err := scriptSources(dir)
		errs = append(errs, err)
		for i := range sources {
			sources[i].HTTP = cfg.Scripts.HTTP
		}
		out = append(out, sources...)
	}
	bundles, err := readBundles(cfg)
	err = hooks.AtStep("verify", err)
	return append(out, bundles...), errors.Join(append(errs, err)...)
}

// scriptSources reads the admin's scripts and those of the domains below them.
func scriptSources(dir string) (out []hooks.Source, err error) {
	src, err := readScripts(dir, "scripts", hooks.Admin)
	errs := []error{err}
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
	return out, errors.Join(errs...)
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
		if !utf8.ValidString(rel) || strings.ContainsFunc(rel, unicode.IsControl) {
			return fmt.Errorf("%q is not the name of a file that a generation can keep: it is not UTF-8, or holds control characters", path)
		}
		if rel == "carteiro.lua" {
			return nil // what `scripts meta` writes, for editors
		}
		src.Files[rel], err = os.ReadFile(path)
		if filepath.Dir(rel) == "." && strings.HasSuffix(rel, ".lua") {
			src.Main = append(src.Main, rel)
		}
		return err
	})
	slices.Sort(src.Main)
	return src, err
}

// keeper makes what holds the policies in force.
func (s *server) keeper() *generations.Manager {
	var cfg atomic.Pointer[config.Config] // what the last Read found
	cfg.Store(s.cfg)
	var found atomic.Pointer[[]hooks.Source] // and with it
	read := func(context.Context) ([]hooks.Source, error) {
		anew, err := config.Load(s.cfg.Path)
		if err != nil {
			return nil, err
		}
		cfg.Store(anew)
		sources, err := readSources(anew)
		found.Store(&sources)
		return sources, err
	}
	return generations.New(generations.Options{Store: s.store, Engine: s.engine, Clock: s.clock, Journal: s.journal, Read: read,
		Smoke: func(ctx context.Context, sources []hooks.Source) error {
			return runSmokeTests(ctx, cfg.Load(), sources)
		},
		// Certificates and domains change with the policies, or not at all.
		Prepare: func(ctx context.Context) (func(), error) { return s.prepare(ctx, cfg.Load(), *found.Load()) },
		Changed: func(e generations.Entry) {
			s.pipeline.Notice("reload", map[string]any{"generation": e.ID, "by": e.By})
		},
		Stamp: func() string { return treeStamp(cfg.Load()) }})
}

// prepare readies certificates and domains for a reload. Hosts that lead to
// private networks stop it, where the configuration names them.
func (s *server) prepare(ctx context.Context, cfg *config.Config, sources []hooks.Source) (commit func(), err error) {
	hosts, err := checkHosts(ctx, cfg, sources)
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		s.journal.WarnContext(ctx, h.note(), "host", h.host)
	}
	show := func() {}
	if s.certs != nil {
		if show, err = s.certs.prepare(); err != nil {
			return nil, err
		}
	}
	serve, err := s.directory.PrepareDomains(ctx, cfg.Domains)
	return func() { show(); serve(); s.refused.set(hosts) }, err
}

// smokeGCPercent is how much more than what is in use the heap may hold while
// smoke tests run.
const smokeGCPercent = 40

// runSmokeTests runs the cases tagged smoke of the scripts' folder, and the smoke
// tests that bundles name.
func runSmokeTests(ctx context.Context, cfg *config.Config, sources []hooks.Source) error {
	// Worlds of tests are large for a moment. The collector runs more often
	// meanwhile, and what they took goes back to the system: the server may have
	// no more than it needs. One reload comes at a time.
	defer debug.FreeOSMemory()
	defer debug.SetGCPercent(debug.SetGCPercent(smokeGCPercent))
	runtime.GC()
	if err := runBundleSmokeTests(ctx, cfg); err != nil {
		return err
	}
	if cfg.Scripts.Dir == "" {
		return nil
	}
	t := &tree{tests: map[string][]byte{}}
	if err := t.addTests(cfg.Scripts.Dir); err != nil {
		return err
	}
	report, err := policytest.Test(ctx, policytest.Options{
		Sources: sources,
		Tests:   t.tests,
		Domains: cfg.Domains,
		Only:    []string{"smoke"},
		Small:   true,
	})
	if err != nil {
		return err
	}
	return firstFailure(report, "")
}

// firstFailure is the first case that failed, as an error, or nil; of is the
// bundle it belongs to.
func firstFailure(r *policytest.Report, of string) error {
	for _, c := range r.Cases {
		if c.Fault == nil {
			continue
		}
		if at, ok := errors.AsType[*source.Error](c.Fault); ok {
			told := *at
			told.Text = fmt.Sprintf("%sthe test %q failed: %s", of, c.Name, at.Text)
			return &told
		}
		return fmt.Errorf("%sthe test %q failed: %w", of, c.Name, c.Fault)
	}
	return nil
}

// treeStamp changes when a file does that a reload of policies reads: the
// configuration, scripts with their tests, bundles. What cannot be read is
// part of it, so that a reload says what is wrong, once.
func treeStamp(cfg *config.Config) string {
	h := fnv.New64a()
	add := func(root string) {
		filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && path != root && (strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), "~")) {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil // of editors; readScripts leaves them out, too
			}
			var info os.FileInfo
			if err == nil {
				info, err = os.Stat(path) // what a link leads to
			}
			switch {
			case errors.Is(err, os.ErrNotExist):
				fmt.Fprintf(h, "%q is not there\n", path)
			case err != nil:
				fmt.Fprintf(h, "%q: %v\n", path, err)
			case !info.IsDir():
				fmt.Fprintf(h, "%q %d %d\n", path, info.Size(), info.ModTime().UnixNano())
			}
			return nil
		})
	}
	add(cfg.Path)
	if cfg.Scripts.Dir != "" {
		add(cfg.Scripts.Dir)
	}
	for _, b := range cfg.Bundles {
		if b.Path != "" {
			add(b.Path)
		}
	}
	add(bundleDir(cfg))
	return strconv.FormatUint(h.Sum64(), 16)
}

// startPolicies puts the first generation in force. Without any that loads
// the server does not start.
func (s *server) startPolicies(ctx context.Context) error {
	err := s.policies.Start(ctx)
	if errors.Is(err, generations.ErrBroken) {
		return usageError{withSource(err)}
	}
	return err
}

// reload exchanges policies, certificates and the configuration's list of
// domains and bundles, or on any error nothing. All other settings wait for a
// restart.
func (s *server) reload(ctx context.Context, by string) (admin.Generation, error) {
	if _, err := s.policies.Reload(ctx, by); err != nil {
		return admin.Generation{}, withSource(err)
	}
	return s.generation(), nil
}

func (s *server) generation() admin.Generation {
	g := s.policies.Get()
	return admin.Generation{
		ID:        g.ID,
		Loaded:    g.Loaded,
		Handlers:  countHandlers(g),
		Fallback:  s.policies.Fallback(),
		Pinned:    s.policies.Pinned(),
		Probation: s.policies.OnProbation(),
	}
}
