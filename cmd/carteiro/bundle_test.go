package main

import (
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/core/ops/telemetry"
	"carteiro/hooks/lua"
	"carteiro/plugins"
)

// TestBundleREADME runs the commands of plugins/README.md, one after the other, in one
// folder.
func TestBundleREADME(t *testing.T) {
	text, err := os.ReadFile("../../plugins/README.md")
	if err != nil {
		t.Fatal(err)
	}
	r := &readme{t: t, dir: t.TempDir(), output: map[string]string{}}
	defer r.stop()
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		for line := range strings.SplitSeq(strings.TrimSpace(block[2]), "\n") {
			r.run(line)
		}
	}
	for command, want := range map[string]string{
		"carteiro bundle test":     "2 cases, 0 failed",
		"carteiro bundle install":  "granted: message headers:read",
		"carteiro bundle enable":   "the running server uses it now",
		"carteiro bundle list":     "example.com",
		"carteiro bundle upgrade":  "installed acme/hello 0.2.0, signed by acme",
		"carteiro bundle rollback": "acme/hello is at 0.1.0",
	} {
		found := false
		for line, out := range r.output {
			found = found || strings.HasPrefix(line, command) && strings.Contains(out, want)
		}
		if !found {
			t.Errorf("plugins/README.md shows no %q that prints %q", command, want)
		}
	}
}

// TestShippedBundles runs the tests in Lua of the bundles that we ship.
func TestShippedBundles(t *testing.T) {
	for _, name := range plugins.Shipped() {
		dir := filepath.Join("../../plugins", strings.TrimPrefix(name, "carteiro/"))
		if _, err := os.Stat(filepath.Join(dir, "tests")); err != nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), testserver.Binary(), "bundle", "test", dir)
			cmd.Env = append(os.Environ(), testserver.RunAsCommand+"=1")
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), " cases, 0 failed") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

var tomlFence = regexp.MustCompile("(?s)```toml\n(.*?)```")

// TestBundleManual: the manifest that the manual shows is one, and so is the
// configuration.
func TestBundleManual(t *testing.T) {
	text, err := manual.ReadFile("manual/bundles.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := tomlFence.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of TOML", len(blocks))
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"bundle.toml":     blocks[0][1],
		"init.lua":        `on("deliver.local", function() return redirect("a@a.example") end)`,
		"tests/basic.lua": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := plugins.ReadDir(os.DirFS(dir), "manual")
	if err != nil || tree.Title() != "acme/vacation 1.4.2" {
		t.Fatalf("%v", err)
	}
	if got := strings.Join(tree.GrantList(), "; "); !strings.Contains(got, "submit 10/1m") || !strings.Contains(got, "secret token") ||
		strings.Contains(got, "limit") {
		t.Errorf("grants are %s", got)
	}
	cfg, err := config.Parse("/etc/carteiro/carteiro.toml", []byte("hostname = \"mx.example.com\"\n[storage]\ndir = \"d\"\n"+blocks[1][1]))
	if err != nil || cfg.Bundles[0].Domain["example.com"]["days"] != int64(3) ||
		cfg.Bundles[0].Secrets["token"].File != "/etc/carteiro/acme.token" {
		t.Errorf("%v %+v", err, cfg)
	}
}

// TestMeaningsInManual: the manual says of capabilities what an install says.
func TestMeaningsInManual(t *testing.T) {
	raw, err := manual.ReadFile("manual/bundles.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(raw)), " ")
	for _, c := range []string{"right grants", "right passwords", "right credentials", "module account", "module list", "hook receive.auth"} {
		said := strings.TrimPrefix(plugins.DescribeCapability(c), "it ")
		if plugins.DescribeCapability(c) == "" || !strings.Contains(text, said) {
			t.Errorf("the manual does not say of %s: %s", c, said)
		}
	}
}

// TestBundleMetrics: what bundles cost is counted by bundle and domain.
func TestBundleMetrics(t *testing.T) {
	s := &server{journal: telemetry.New(io.Discard, "json", "info")}
	for range 2 {
		s.countUsage(lua.Usage{Bundle: "acme/x", Domain: "a.example", Instructions: 10, Submits: 1})
	}
	s.countUsage(lua.Usage{Bundle: "acme/x", Instructions: 5, Failed: true})
	w := httptest.NewRecorder()
	admin.Metrics(s.journal).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`carteiro_bundle_calls_total{bundle="acme/x",domain="a.example"} 2`,
		`carteiro_bundle_instructions_total{bundle="acme/x",domain="a.example"} 20`,
		`carteiro_bundle_submits_total{bundle="acme/x",domain="a.example"} 2`, `carteiro_bundle_errors_total{bundle="acme/x",domain=""} 1`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
	if rows := s.usage.list(); len(rows) != 2 || rows[0].Domain != "" || rows[0].Errors != 1 || rows[1].Submits != 2 {
		t.Errorf("%+v", rows)
	}
}

// TestBundleUpgradeKilled: a process killed at any moment of an upgrade leaves
// the version before or the one after, whole.
func TestBundleUpgradeKilled(t *testing.T) {
	r := &readme{t: t, dir: t.TempDir(), output: map[string]string{}}
	for _, line := range []string{"carteiro init you@example.com --dir mail", "carteiro bundle new acme/hello one",
		"carteiro bundle new acme/hello two",
		`sed -i s/^version.*/version=\"0.2.0\"/ two/bundle.toml`, "carteiro bundle install one -c mail/carteiro.toml"} {
		r.run(line)
	}
	cfg, err := config.Load(filepath.Join(r.dir, "mail/carteiro.toml"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for n := range 12 {
		upgrade := r.command("carteiro bundle upgrade --downgrade " + []string{"two", "one"}[n%2] + " -c mail/carteiro.toml")
		if err := upgrade.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(n)*30*time.Millisecond, func() { upgrade.Process.Kill() })
		upgrade.Wait() // killed, or done before
		installed, err := plugins.OpenStore(bundleDir(cfg))
		if err != nil {
			t.Fatal(err)
		}
		now, err := installed.Current("acme/hello")
		if err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		seen[now.Manifest.Bundle.Version]++
	}
	t.Logf("versions after the kills: %v", seen)
	r.run("carteiro bundle upgrade --downgrade one -c mail/carteiro.toml")
}
