package plugins

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// version is a small bundle's tree.
func version(t *testing.T, name, version, extra string) *Tree {
	t.Helper()
	return tree(t, map[string]string{"bundle.toml": "[bundle]\nname = \"" + name + "\"\nversion = \"" + version + "\"\napi = 1\n" + extra,
		"init.lua": "return { v = \"" + version + "\" }\n"})
}

func newStore(t *testing.T) *BundleStore {
	t.Helper()
	d, err := OpenStore(filepath.Join(t.TempDir(), "bundles"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, d *BundleStore, tr *Tree, c Consent) {
	t.Helper()
	if err := d.Install(tr, c); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
}

func reopen(t *testing.T, d *BundleStore) *BundleStore {
	t.Helper()
	again, err := OpenStore(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestLifeOfABundle: install, upgrade, roll back, remove; each is there when
// the lock is read again.
func TestLifeOfABundle(t *testing.T) {
	d := newStore(t)
	put(t, d, version(t, "acme/hello", "1.0.0", ""), Consent{Signed: true})
	put(t, d, version(t, "acme/hello", "1.1.0", ""), Consent{Upgrade: true})
	d = reopen(t, d)
	now := func(want string) {
		t.Helper()
		tr, err := d.Current("acme/hello")
		if err != nil || tr.Manifest.Bundle.Version != want {
			t.Errorf("%v %+v, want %s", err, tr, want)
		}
	}
	now("1.1.0")
	if v, err := d.Rollback("acme/hello"); err != nil || v != "1.0.0" {
		t.Error(v, err)
	}
	now("1.0.0")
	if p, _ := reopen(t, d).Pinned("acme/hello"); p.Version != "1.1.0" || !p.Versions["1.0.0"].Signed || p.Versions["1.1.0"].Signed {
		t.Errorf("before the commit others see %+v", p)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	d = reopen(t, d)
	now("1.0.0")
	// The third version leaves two on disk.
	put(t, d, version(t, "acme/hello", "2.0.0", ""), Consent{Upgrade: true})
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(d.dir, "acme/hello/*"))
	if len(left) != 2 || filepath.Base(left[0]) != "1.0.0" || filepath.Base(left[1]) != "2.0.0" {
		t.Errorf("%v", left)
	}
	if err := d.Remove("acme/hello"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Commit(), d.Sweep()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "acme")); !errors.Is(err, os.ErrNotExist) || len(reopen(t, d).Names()) != 0 {
		t.Errorf("something is left: %v", err)
	}
	if _, err := d.Rollback("acme/hello"); err == nil || !strings.Contains(err.Error(), "is not installed") {
		t.Error(err)
	}
}

// TestRefusedInstallations: each with its reason, and nothing changed.
func TestRefusedInstallations(t *testing.T) {
	const kv = "[capabilities]\nmodules = [\"kv\"]\nsubmit = \"10/min\"\n"
	const greedy = "hooks = [\"receive.mail\"]\n[limits]\nwall = \"30s\"\n"
	d := newStore(t)
	put(t, d, version(t, "acme/hello", "1.1.0", kv), Consent{})
	put(t, d, version(t, "acme/util", "1.0.0", ""), Consent{})
	for name, tt := range map[string]struct {
		tree    *Tree
		consent Consent
		want    error
		text    string
	}{
		"the same again": {version(t, "acme/hello", "1.1.0", kv), Consent{}, nil, ""},
		"the same, changed": {version(t, "acme/hello", "1.1.0", kv+"http = [\"a.example:1\"]\n"), Consent{Upgrade: true}, ErrInstalled,
			"version 1.1.0 with another content"},
		"a new one by install":    {version(t, "acme/hello", "1.2.0", kv), Consent{}, ErrInstalled, "run `carteiro bundle upgrade`"},
		"older":                   {version(t, "acme/hello", "1.0.9", kv), Consent{Upgrade: true}, ErrDowngrade, "(1.1.0); --downgrade"},
		"older, before a release": {version(t, "acme/hello", "1.1.0-rc.1", kv), Consent{Upgrade: true}, ErrDowngrade, ""},
		"older, wanted":           {version(t, "acme/hello", "1.0.9", kv), Consent{Upgrade: true, Downgrade: true}, nil, ""},
		"wants another module": {version(t, "acme/hello", "1.2.0", strings.Replace(kv, `"kv"`, `"kv", "dns"`, 1)), Consent{Upgrade: true},
			ErrGreedy, "module dns; --accept-capabilities grants it"},
		"wants to send more": {version(t, "acme/hello", "1.2.0", strings.Replace(kv, "10/min", "11/min", 1)), Consent{Upgrade: true},
			ErrGreedy, "submit 11/1m"},
		"wants more at once": {version(t, "acme/hello", "1.2.0", strings.Replace(kv, "10/min", "100/h", 1)), Consent{Upgrade: true},
			ErrGreedy, "submit 100/1h"},
		"sends less": {version(t, "acme/hello", "1.2.0", strings.Replace(kv, "10/min", "10/h", 1)), Consent{Upgrade: true}, nil,
			""},
		"wants a right and a hook": {version(t, "acme/hello", "1.2.0", "hooks = [\"receive.data\"]\n"+kv+"message = [\"body:read\"]\n"),
			Consent{Upgrade: true}, ErrGreedy, "hook receive.data, message body:read"},
		"consent": {version(t, "acme/hello", "1.2.0", "hooks = [\"receive.data\"]\n"+kv),
			Consent{Upgrade: true, Capabilities: true}, nil, ""},
		"limits above the hook's": {version(t, "acme/big", "1.0.0", greedy), Consent{}, ErrGreedy,
			"limit wall 30s; --accept-capabilities grants it"},
		"limits, with consent": {version(t, "acme/big", "1.0.0", greedy), Consent{Capabilities: true}, nil, ""},
		"upgrade of nothing":   {version(t, "acme/other", "1.0.0", ""), Consent{Upgrade: true}, nil, "it is not installed"},
		"requires what is not": {version(t, "acme/other", "1.0.0", "requires = { \"acme/nothing\" = \"^1\" }\n"), Consent{}, ErrBundle,
			"acme/nothing"},
		"requires another version": {version(t, "acme/other", "1.0.0", "requires = { \"acme/util\" = \"^2\" }\n"), Consent{}, ErrBundle,
			"requires acme/util ^2, but 1.0.0 is there"},
		"requires what is there": {version(t, "acme/other", "1.0.0", "requires = { \"acme/util\" = \">=0.9, <2\" }\n"), Consent{}, nil, ""},
		"requires a later server": {version(t, "acme/other", "1.0.0", "requires = { carteiro = \">=2\" }\n"), Consent{Server: "0.1.0-dev"},
			ErrBundle, "requires carteiro >=2, but this is 0.1.0-dev"},
		"requires this server": {version(t, "acme/other", "1.0.0", "requires = { carteiro = \">=0.1, <2\" }\n"), Consent{Server: "0.1.0-dev"},
			nil, ""},
	} {
		before, err := os.ReadFile(filepath.Join(d.dir, lockName))
		if err != nil {
			t.Fatal(err)
		}
		err = d.Clone().Install(tt.tree, tt.consent)
		good := tt.want == nil && tt.text == ""
		if (err == nil) != good || err != nil && (!errors.Is(err, ErrBundle) || tt.want != nil && !errors.Is(err, tt.want) ||
			!strings.Contains(err.Error(), tt.text)) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadFile(filepath.Join(d.dir, lockName)); err != nil || string(after) != string(before) {
			t.Errorf("%s: the lock changed", name)
		}
	}
	if _, err := reopen(t, d).Current("acme/hello"); err != nil {
		t.Errorf("%v", err)
	}
}

// TestRequiredBundles: what others require cannot go, nor change to what they
// do not accept, and circles are found.
func TestRequiredBundles(t *testing.T) {
	d := newStore(t)
	put(t, d, version(t, "acme/util", "1.0.0", ""), Consent{})
	put(t, d, version(t, "acme/hello", "1.0.0", "requires = { \"acme/util\" = \"^1\" }\n"), Consent{})
	if err := d.Clone().Remove("acme/util"); err == nil || !strings.Contains(err.Error(), "acme/util is required by acme/hello") {
		t.Error(err)
	}
	if err := d.Clone().Install(version(t, "acme/util", "2.0.0", ""), Consent{Upgrade: true}); err == nil ||
		!strings.Contains(err.Error(), "acme/hello requires acme/util ^1, but 2.0.0 is there") {
		t.Error(err)
	}
	if err := d.Clone().Install(version(t, "acme/util", "1.1.0", "requires = { \"acme/hello\" = \"*\" }\n"),
		Consent{Upgrade: true}); err == nil || !strings.Contains(err.Error(), "in a loop: acme/util requires acme/hello requires acme/util") {
		t.Error(err)
	}
	d.Enable("acme/hello", "")
	sources, err := Load(Options{Store: d})
	if err != nil || len(sources) != 2 || sources[1].Name != "acme/util" || sources[1].Main != nil || sources[0].Main == nil ||
		sources[0].Requires[0] != "acme/util" {
		t.Fatalf("%v %+v", err, sources)
	}
	hookstest.New(t).Load(sources...)
}

// TestRequiresOfTheConfiguration: the same for folders that the configuration
// names.
func TestRequiresOfTheConfiguration(t *testing.T) {
	folder := func(name, requires string) Enabled {
		return Enabled{Path: bundle(t,
			map[string]string{"bundle.toml": "[bundle]\nname = \"" + name + "\"\nversion = \"1.0.0\"\napi = 1\nrequires = { " + requires +
				" }\n", "init.lua": "return {}"})}
	}
	for _, tt := range []struct {
		list []Enabled
		want string
	}{
		{[]Enabled{folder("a/a", `"b/b" = "^1"`), folder("b/b", "")}, ""},
		{[]Enabled{folder("a/a", `"b/b" = "^1"`), folder("b/b", `"a/a" = "1.x"`)}, "in a loop: a/a requires b/b requires a/a"},
		{[]Enabled{folder("a/a", `"b/b" = "^2"`), folder("b/b", "")}, "requires b/b ^2, but 1.0.0 is there"},
		{[]Enabled{folder("a/a", `"b/b" = "^1"`)}, `requires b/b ^1: bundle "b/b" is neither installed nor shipped`},
		{[]Enabled{folder("a/a", `carteiro = ">=9"`)}, "requires carteiro >=9, but this is 0.1.0"},
		{[]Enabled{folder("a/a", ""), folder("a/a", "")}, "a/a is configured twice"},
	} {
		_, err := Load(Options{Enabled: tt.list, Server: "0.1.0"})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// TestTampering: what does not have the pinned content is not loaded.
func TestTampering(t *testing.T) {
	d := newStore(t)
	put(t, d, version(t, "acme/hello", "1.0.0", ""), Consent{})
	d.Enable("acme/hello", "")
	file := filepath.Join(d.folder("acme/hello", "1.0.0"), "init.lua")
	if err := os.WriteFile(file, []byte("return 2"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Options{Store: d})
	if err == nil || !strings.Contains(err.Error(), "was changed after it was installed") ||
		!strings.Contains(err.Error(), "install it again") {
		t.Error(err)
	}
	// As it says: installed again, it is whole.
	put(t, d, version(t, "acme/hello", "1.0.0", ""), Consent{})
	if _, err := Load(Options{Store: d}); err != nil {
		t.Error(err)
	}
	// A lock that grants less than the manifest wants.
	put(t, d, version(t, "acme/hello", "1.1.0", "[capabilities]\nmodules = [\"kv\"]\n"), Consent{Upgrade: true, Capabilities: true})
	lock := filepath.Join(d.dir, lockName)
	raw, _ := os.ReadFile(lock)
	if err := os.WriteFile(lock, []byte(strings.Replace(string(raw), "modules = ['kv']", "modules = []", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Options{Store: reopen(t, d)}); err == nil ||
		!strings.Contains(err.Error(), "wants more than bundles.lock grants: module kv; run `carteiro bundle install --accept-capabilities`") {
		t.Error(err)
	}
	if err := os.WriteFile(lock, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(d.dir); !errors.Is(err, ErrBundle) {
		t.Error(err)
	}
}

// TestInterrupted: what a crash leaves beside the lock changes nothing, and
// goes with the next command.
func TestInterrupted(t *testing.T) {
	d := newStore(t)
	put(t, d, version(t, "acme/hello", "1.0.0", ""), Consent{})
	if err := d.Clone().Install(version(t, "acme/hello", "1.1.0", ""), Consent{Upgrade: true}); err != nil { // and the process dies here
		t.Fatal(err)
	}
	half := d.folder("acme/hello", "1.2.0") + ".new"
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	d = reopen(t, d)
	if tr, err := d.Current("acme/hello"); err != nil || tr.Manifest.Bundle.Version != "1.0.0" {
		t.Errorf("%v", err)
	}
	put(t, d, version(t, "acme/hello", "1.2.0", ""), Consent{Upgrade: true})
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(d.dir, "acme/hello/*"))
	if len(left) != 2 {
		t.Errorf("%v", left)
	}
}

// TestHold: one command at a time.
func TestHold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bundles")
	release, err := LockStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockStore(dir); err == nil || !strings.Contains(err.Error(), "another command changes") {
		t.Error(err)
	}
	release()
	if release, err = LockStore(dir); err != nil {
		t.Error(err)
	} else {
		release()
	}
}

// TestSwitches: enable and disable go before the configuration.
func TestSwitches(t *testing.T) {
	const name = "carteiro/priority"
	a, b := "a.example", "b.example"
	load := func(configured []string, named bool, turns ...func(*BundleStore)) (domains, except []string, on bool) {
		t.Helper()
		d := newStore(t)
		for _, turn := range turns {
			turn(d)
		}
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		o := Options{Store: reopen(t, d)}
		if named {
			o.Enabled = []Enabled{{Name: name, Domains: configured}}
		}
		sources, err := Load(o)
		if err != nil {
			t.Fatal(err)
		}
		if len(sources) == 0 || sources[0].Main == nil {
			return nil, nil, false
		}
		return sources[0].Domains, sources[0].Except, true
	}
	enable := func(domain string) func(*BundleStore) { return func(d *BundleStore) { d.Enable(name, domain) } }
	disable := func(domain string) func(*BundleStore) { return func(d *BundleStore) { d.Disable(name, domain) } }
	for i, tt := range []struct {
		configured      []string
		named           bool
		turns           []func(*BundleStore)
		domains, except []string
		on              bool
	}{
		{nil, false, nil, nil, nil, false},
		{nil, true, nil, nil, nil, true},
		{[]string{}, true, nil, nil, nil, false},
		{[]string{a}, true, nil, []string{a}, nil, true},
		{nil, false, []func(*BundleStore){enable(a)}, []string{a}, nil, true},
		{nil, false, []func(*BundleStore){enable("")}, nil, nil, true},
		{nil, false, []func(*BundleStore){enable(a), enable(b), disable(a)}, []string{b}, nil, true},
		{nil, false, []func(*BundleStore){enable(a), disable(a)}, nil, nil, false},
		{nil, true, []func(*BundleStore){disable(a)}, nil, []string{a}, true},
		{[]string{a}, true, []func(*BundleStore){enable(b)}, []string{a, b}, nil, true},
		{[]string{a, b}, true, []func(*BundleStore){disable(a)}, []string{b}, nil, true},
		{[]string{a, b}, true, []func(*BundleStore){disable("")}, nil, nil, false},
		{[]string{}, true, []func(*BundleStore){enable(a)}, []string{a}, nil, true},
		{[]string{a}, true, []func(*BundleStore){disable(""), enable(b)}, []string{b}, nil, true},
	} {
		domains, except, on := load(tt.configured, tt.named, tt.turns...)
		if on != tt.on || !slices.Equal(domains, tt.domains) || !slices.Equal(except, tt.except) {
			t.Errorf("%d: %v %v %v", i, domains, except, on)
		}
	}
	d := newStore(t)
	d.Enable("acme/nothing", a)
	if _, err := Load(Options{Store: d}); err == nil || !strings.Contains(err.Error(), "neither installed nor shipped") {
		t.Error(err)
	}
}

// TestSignatures: only bundles that their publisher signed are accepted.
func TestSignatures(t *testing.T) {
	secret, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	tr := version(t, "acme/hello", "1.0.0", "")
	archive, err := Pack(tr)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := Sign(archive, secret, "", tr.Title())
	if err != nil || !strings.Contains(string(sig), "trusted comment: acme/hello 1.0.0") {
		t.Fatalf("%v\n%s", err, sig)
	}
	tampered := slices.Clone(archive)
	tampered[len(tampered)/2] ^= 1
	forged := []byte(strings.Replace(string(sig), "hello 1.0.0", "hello 9.0.0", 1))
	for name, tt := range map[string]struct {
		archive, sig []byte
		trust        map[string]string
		unsigned     bool
		want         error
		text         string
	}{
		"good":                {archive, sig, map[string]string{"acme": public, "other": other}, false, nil, ""},
		"unsigned":            {archive, nil, map[string]string{"acme": public}, false, ErrUnsigned, ""},
		"unsigned, allowed":   {archive, nil, nil, true, nil, ""},
		"tampered":            {tampered, sig, map[string]string{"acme": public}, false, ErrSignature, ""},
		"tampered, unsigned":  {tampered, sig, map[string]string{"acme": public}, true, ErrSignature, ""},
		"changed comment":     {archive, forged, map[string]string{"acme": public}, false, ErrSignature, ""},
		"no signature at all": {archive, []byte("hello"), map[string]string{"acme": public}, false, ErrSignature, ""},
		"nobody's key":        {archive, sig, nil, false, ErrUntrusted, ""},
		"another key":         {archive, sig, map[string]string{"acme": other}, false, ErrUntrusted, ""},
		"another publisher's": {archive, sig, map[string]string{"evil": public}, false, ErrBundle,
			"signed with the key of evil, which is not its publisher"},
		"a new key beside":   {archive, sig, map[string]string{"acme": other + " " + public}, false, nil, ""},
		"an old key beside":  {archive, sig, map[string]string{"acme": public + "\n" + other}, false, nil, ""},
		"tampered, two keys": {tampered, sig, map[string]string{"acme": other + " " + public}, false, ErrSignature, ""},
		"a key of two":       {archive, sig, map[string]string{"aaa": public, "acme": public}, false, nil, ""},
		"a key of two others": {archive, sig, map[string]string{"aaa": public, "zzz": public}, false, ErrBundle,
			"signed with the key of aaa and zzz, which is not its publisher"},
		"a bad pin": {archive, sig, map[string]string{"acme": "x"}, false, ErrBundle, "trust.acme"},
	} {
		got, err := Open(tt.archive, tt.sig, "hello.tar.zst", tt.trust, tt.unsigned)
		good := tt.want == nil
		if (err == nil) != good || good && got.Digest != tr.Digest ||
			!good && (!errors.Is(err, tt.want) || !errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), tt.text)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// From the configuration, by path: signed or not at all.
	file := filepath.Join(t.TempDir(), "hello.tar.zst")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Enabled: []Enabled{{Path: file}}, Trust: map[string]string{"acme": public}}
	if _, err := Load(o); !errors.Is(err, ErrUnsigned) {
		t.Error(err)
	}
	if err := os.WriteFile(file+SignatureSuffix, sig, 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := Load(o); err != nil || list[0].Name != "acme/hello" {
		t.Error(err)
	}
	if key, err := PublicKey(public); err != nil || key != public {
		t.Error(err)
	}
	if _, err := PublicKey("/does/not/exist"); err == nil {
		t.Error("no key, no error")
	}
}

// TestNew: the new bundle is one.
func TestNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hello")
	if err := New("acme/hello", dir); err != nil {
		t.Fatal(err)
	}
	sources, err := Load(Options{Enabled: []Enabled{{Path: dir}}, Server: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	w := hookstest.New(t).Load(sources...)
	a := w.Ask(&hooks.Event{
		Point:   hooks.ReceiveData,
		Session: hookstest.Session("192.0.2.7"),
		Tx:      hookstest.Tx("a@a.example", "bob@our.example"),
		Msg:     hookstest.Message("a@a.example", "Subject: hello\n\nx\n"),
	})
	if v, _ := a.Event.Msg.Header.Get("X-Acme-Hello-Seen"); a.Err() != "" || v != "yes" {
		t.Errorf("%q %s", v, a.Err())
	}
	if err := New("acme/hello", dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Error(err)
	}
	if err := New("hello", dir+"2"); err == nil {
		t.Error("a name without a publisher")
	}
}

// TestOwner: what root installs belongs to who owns the server's folder.
func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	storage := t.TempDir()
	if err := os.Chown(storage, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(storage, "bundles")
	release, err := LockStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	d, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, version(t, "acme/hello", "1.0.0", ""), Consent{})
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
		info, err := os.Lstat(path)
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 12345 {
			t.Errorf("%s is not the owner's", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
