package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/core/ops/config"
	"carteiro/hooks"
	"carteiro/hooks/lua"
	"carteiro/hooks/lua/source"
	"carteiro/plugins"
)

func scriptsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scripts",
		Short: "Policies: check, test, run, order, generations, diff, rollback, meta",
	}
	cmd.AddCommand(scriptsCheckCommand(), scriptsTestCommand(), scriptsRunCommand(), scriptsOrderCommand(), scriptsMetaCommand(),
		generationsCommand(), diffCommand(), rollbackCommand())
	return cmd
}

// tree is what the commands about policies work on: sources, and the files of
// their tests.
type tree struct {
	sources []hooks.Source
	tests   map[string][]byte
	domains []string
}

// readTree reads the policies that a command names, or those of the
// configuration when it names none: a folder of scripts, a bundle's folder
// (with bundle.toml), or single scripts, which see the files beside them.
func (o *options) readTree(args []string) (*tree, error) {
	if len(args) == 0 {
		return o.configuredTree()
	}
	t := &tree{tests: map[string][]byte{}}
	for _, name := range args {
		if err := t.add(name); err != nil {
			return nil, usageError{err}
		}
	}
	return t, nil
}

func (o *options) configuredTree() (*tree, error) {
	cfg, err := config.Load(o.config)
	if err != nil {
		return nil, err
	}
	t := &tree{tests: map[string][]byte{}, domains: cfg.Domains}
	if t.sources, err = readSources(cfg); err != nil {
		return nil, usageError{err}
	}
	if cfg.Scripts.Dir != "" {
		err = t.addTests(cfg.Scripts.Dir)
	}
	return t, err
}

func (t *tree) add(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		src := hooks.Source{Name: "scripts", Tier: hooks.Admin, Files: map[string][]byte{}, Main: []string{filepath.Base(name)}}
		t.sources = append(t.sources, src)
		if err := readNamed(src.Files, filepath.Dir(name), filepath.Base(name)); err != nil {
			return err
		}
		return t.addTestOf(name, src.Files)
	}
	if _, err := os.Stat(filepath.Join(name, "bundle.toml")); err == nil {
		sources, err := plugins.Load(plugins.Options{Enabled: []plugins.Enabled{{Path: name}}, Server: release, Trial: true})
		if err != nil {
			return err
		}
		t.sources = append(t.sources, sources...)
	} else {
		sources, err := scriptSources(name)
		if err != nil {
			return err
		}
		t.sources = append(t.sources, sources...)
	}
	return t.addTests(name)
}

var quoted = regexp.MustCompile(`["\']([A-Za-z0-9_./-]+)["\']`)

// readNamed reads a script and the files below its folder that it names, as
// require and map.open do, and those that they name.
func readNamed(files map[string][]byte, dir, name string) error {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	files[name] = text
	for _, m := range quoted.FindAllSubmatch(text, -1) {
		word := string(m[1])
		for _, rel := range []string{word, strings.ReplaceAll(word, ".", "/") + ".lua"} {
			rel = path.Clean(rel)
			info, err := os.Stat(filepath.Join(dir, rel))
			if files[rel] != nil || !filepath.IsLocal(rel) || err != nil || !info.Mode().IsRegular() || info.Size() > maxScript {
				continue
			}
			if strings.HasSuffix(rel, ".lua") {
				err = readNamed(files, dir, rel)
			} else {
				files[rel], err = os.ReadFile(filepath.Join(dir, rel))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// addTestOf reads the test of a single script, tests/NAME.lua beside it, with
// the data in that folder and what the script itself names.
func (t *tree) addTestOf(script string, named map[string][]byte) error {
	own := path.Join("tests", filepath.Base(script))
	dir := filepath.Dir(script)
	if _, err := os.Stat(filepath.Join(dir, own)); err != nil {
		return nil // a script need not have one
	}
	entries, err := os.ReadDir(filepath.Join(dir, "tests"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		rel := path.Join("tests", e.Name())
		if info, err := e.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > maxScript ||
			strings.HasSuffix(rel, ".lua") && rel != own {
			continue
		}
		if t.tests[rel], err = os.ReadFile(filepath.Join(dir, rel)); err != nil {
			return err
		}
	}
	for rel, text := range named {
		if !strings.HasSuffix(rel, ".lua") {
			t.tests[rel] = text
		}
	}
	return nil
}

// addTests reads the folder tests, and the data files beside the scripts.
func (t *tree) addTests(dir string) error {
	return filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && strings.HasPrefix(d.Name(), ".") || rel == "domains" || rel == "examples" {
				return filepath.SkipDir
			}
			return nil
		}
		rel = filepath.ToSlash(rel)
		if strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(rel, ".lua") && !strings.HasPrefix(rel, "tests/") {
			return nil
		}
		info, err := d.Info()
		if err == nil && info.Size() <= maxScript {
			t.tests[rel], err = os.ReadFile(name)
		}
		return err
	})
}

func scriptsOrderCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "order",
		Short: "Print the handlers of each hook in the order in which they run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			gen, err := check(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			lines := []orderLine{}
			for _, spec := range hooks.Specs() {
				for i, h := range gen.Chain.Handlers(spec.Point) {
					info := h.Info()
					lines = append(lines, orderLine{
						Hook:     string(spec.Point),
						Place:    i + 1,
						Tier:     info.Tier.String(),
						Order:    info.Order,
						Handler:  info.Name(),
						Command:  info.Command,
						Path:     info.Path,
						Every:    intervalText(info),
						Events:   info.Events,
						Listener: info.Listener,
						Login:    info.Login,
					})
				}
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), lines)
			}
			for _, l := range lines {
				fmt.Fprintf(cmd.OutOrStdout(), "%-16s %2d  %-6s order %3d  %s%s\n", l.Hook, l.Place, l.Tier, l.Order, l.Handler, l.options())
			}
			return nil
		},
	}
	o.flags(cmd, true)
	return cmd
}

// orderLine is one handler in its place.
type orderLine struct {
	Hook    string `json:"hook"`
	Place   int    `json:"place"`
	Tier    string `json:"tier"`
	Order   int    `json:"order"`
	Handler string `json:"handler"`

	Command  string   `json:"command,omitempty"`
	Path     string   `json:"path,omitempty"`
	Every    string   `json:"every,omitempty"`
	Events   []string `json:"events,omitempty"`
	Listener string   `json:"listener,omitempty"`
	Login    bool     `json:"login,omitempty"`
}

// intervalText is the time between two calls of a timer.
func intervalText(info hooks.Info) string {
	switch {
	case info.Every == 0:
		return ""
	case info.EachDomain:
		return info.Every.String() + ", each domain"
	}
	return info.Every.String()
}

// options are what decides when the handler is asked, beside its place.
func (l *orderLine) options() (out string) {
	for _, o := range []struct{ name, value string }{{"command", l.Command}, {"path", l.Path}, {"every", l.Every},
		{"events", strings.Join(l.Events, ", ")},
		{"listener", l.Listener}} {
		if o.value != "" {
			out += "  " + o.name + " " + o.value
		}
	}
	if l.Login {
		out += "  login"
	}
	return out
}

func scriptsCheckCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "check [DIR|FILE...]",
		Short: "Check policies: syntax, names, verdicts, changes, globals, capabilities; all faults at once",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := o.readTree(args)
			if err != nil {
				return err
			}
			gen, err := lua.New(lua.Options{Hostname: "localhost", Strict: true}).Load(cmd.Context(), t.sources)
			faults, rest := source.Faults(err)
			if rest != nil {
				return rest
			}
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), faultList(faults)); err != nil {
					return err
				}
			} else {
				for _, f := range faults {
					fmt.Fprint(cmd.ErrOrStderr(), f.Diagnostic())
				}
			}
			if len(faults) > 0 {
				return errFaults
			}
			if !o.json {
				fmt.Fprintf(cmd.OutOrStdout(), "%s, %s, no faults\n", count(len(gen.Sources), "source"), count(countHandlers(gen), "handler"))
			}
			return nil
		},
	}
	o.flags(cmd, true)
	return cmd
}

var errFaults = errors.New("policies have faults, listed above")

// faultReport is a fault as --json prints it.
type faultReport struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column,omitempty"`
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"`
}

func faultList(faults []*source.Error) []faultReport {
	out := []faultReport{}
	for _, f := range faults {
		out = append(out, faultReport{f.File, f.Line, f.Column, f.Text, f.Hint})
	}
	return out
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
