package plugins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const asking = "hooks = [\"receive.auth\", \"web.request\"]\n[capabilities]\nmodules = [\"account\"]\n"

// handing is a bundle of before there were rights, with Lua that uses them.
func handing(t *testing.T, version, more, lua string) *Tree {
	t.Helper()
	return tree(t, map[string]string{"bundle.toml": "[bundle]\nname = \"acme/keys\"\nversion = \"" + version + "\"\napi = 1\n" + asking +
		more, "init.lua": lua})
}

// TestUsedRights: what a text uses is found, what it only speaks of is not.
func TestUsedRights(t *testing.T) {
	for lua, want := range map[string]string{
		`account.grant("a@x.example", "b@x.example", "read")`:                      "grants",
		`local give = account.grant give("a@x.example")`:                           "grants",
		`local how = "re" .. x account[how]("a@x.example")`:                        "grants",
		`account["revoke"]("a@x.example")`:                                         "grants",
		`on("receive.auth", function(s, c) log.info(c.password) end)`:              "passwords",
		`on("receive.auth", function(s, cred) return cred["token"] end)`:           "passwords",
		`local function f(cred, key) return cred[key] end`:                         "passwords",
		`on("web.request", { path = "/" }, function(r) r.headers.cookie() end)`:    "credentials",
		`local h = req.headers["Authorization"]`:                                   "credentials",
		`for k, v in pairs(req.headers) do log.info(k, { value = v }) end`:         "credentials",
		`log.info(json.encode(req.headers))`:                                       "credentials",
		`return req.headers`:                                                       "credentials",
		`return req.headers[name]`:                                                 "credentials",
		`x = req.headers.cookie, account.revoke(1), cred.password`:                 "credentials, grants, passwords",
		"-- account.grant is for others\n--[[ cred.password\nreq.headers ]]":       "",
		"--[==[ ]] cred.token ]==] local a = 1":                                    "",
		"local s = \"it's -- no comment\" account.grant(s)":                        "grants",
		"local s = [==[ ]] -- ]==] account.grant(s)":                               "grants",
		`account.exists("a@x.example") local granted = req.headers.accept`:         "",
		`response { headers = { ["X-A"] = "1" } } local l = req.headers["accept"]`: "",
	} {
		if got := text(handing(t, "1.0.0", "", lua).usedRights()); got != want {
			t.Errorf("%s: %q, not %q", lua, got, want)
		}
	}
	declared := handing(t, "1.0.0", "rights = [\"grants\"]\n", `account.grant() x = cred.password`)
	if got := text(declared.usedRights()); got != "passwords" {
		t.Errorf("beside what is declared: %q", got)
	}
	none := version(t, "acme/other", "1.0.0", "")
	none.Files["init.lua"] = []byte(`account.grant() x = cred.password, req.headers`)
	if got := text(none.usedRights()); got != "" {
		t.Errorf("without module and hooks: %q", got)
	}
}

// earlier is a lock file as the version before wrote it.
func earlier(digest string) string {
	return fmt.Sprintf(lockHead+`[bundle]
[bundle.'acme/keys']
version = '1.0.0'

[bundle.'acme/keys'.versions]
[bundle.'acme/keys'.versions.'1.0.0']
digest = '%s'
signed = true

[bundle.'acme/keys'.versions.'1.0.0'.granted]
hooks = ['receive.auth', 'web.request']
modules = ['account']
message = []
http = []
secrets = []

[enabled]
[enabled.'acme/keys']
[enabled.'acme/keys'.domains]
'one.example' = true
`, digest)
}

// TestKeptRights: a bundle that an earlier version installed has what its code
// uses; the lock file is completed by the next commit. Installed once more it
// keeps that, an upgrade has to ask, and one that asks for nothing has nothing.
func TestKeptRights(t *testing.T) {
	old := handing(t, "1.0.0", "", `account.grant("a@x.example", "b@x.example", "read") local p = req.headers.cookie`)
	dir := filepath.Join(t.TempDir(), "bundles")
	if err := writeTree(filepath.Join(dir, "acme", "keys", "1.0.0"), old.Files, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockName), []byte(earlier(old.Digest)), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	rights := func(d *BundleStore) string {
		t.Helper()
		sources, err := Load(Options{Store: d})
		if err != nil || len(sources) != 1 {
			t.Fatal(sources, err)
		}
		if sources[0].Grants.Rights == nil {
			t.Error("no rights are said, which means all")
		}
		return fmt.Sprint(sources[0].Grants.Rights)
	}
	if got := rights(d); got != "[grants credentials]" || !d.Stale() || text(d.Kept()["acme/keys 1.0.0"]) != "credentials, grants" {
		t.Fatalf("%s, stale %v, kept %v", got, d.Stale(), d.Kept())
	}
	if i := List(Options{Store: d})[0]; text(i.Kept) != "credentials, grants" || slices.Contains(i.Capabilities, "right grants") {
		t.Errorf("listed as %+v", i)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if raw, _ := os.ReadFile(filepath.Join(dir, lockName)); !strings.Contains(string(raw), "kept = ['credentials', 'grants']") ||
		!strings.Contains(string(raw), "format = 1") {
		t.Errorf("the lock file is\n%s", raw)
	}
	d = reopen(t, d)
	if got := rights(d); got != "[grants credentials]" || d.Stale() {
		t.Errorf("after the commit %s, stale %v", got, d.Stale())
	}
	put(t, d, old, Consent{})
	if got := rights(d); got != "[grants credentials]" {
		t.Errorf("installed once more it has %s", got)
	}
	wanting := handing(t, "1.1.0", "rights = [\"grants\"]\n", `account.grant("a@x.example", "b@x.example", "read")`)
	if err := d.Clone().Install(wanting, Consent{Upgrade: true}); !errors.Is(err, ErrGreedy) ||
		!strings.Contains(err.Error(), "right grants") {
		t.Errorf("an upgrade that wants a right: %v", err)
	}
	put(t, d, wanting, Consent{Upgrade: true, Capabilities: true})
	if got := rights(d); got != "[grants]" || len(d.Kept()) != 0 {
		t.Errorf("after the upgrade %s, kept %v", got, d.Kept())
	}
	if v, err := d.Rollback("acme/keys"); err != nil || v != "1.0.0" || rights(d) != "[grants credentials]" {
		t.Errorf("rolled back to %s with %s: %v", v, rights(d), err)
	}
	modest := handing(t, "1.2.0", "", `account.exists("a@x.example")`)
	put(t, d, modest, Consent{Upgrade: true})
	if got := rights(d); got != "[]" {
		t.Errorf("an upgrade that asks for nothing has %s", got)
	}
}

// TestDamagedKeepsNothing: of files that are not those of the lock nothing is
// read; once they are back, the entry is completed.
func TestDamagedKeepsNothing(t *testing.T) {
	old := handing(t, "1.0.0", "", `account.grant("a@x.example", "b@x.example", "read")`)
	dir := filepath.Join(t.TempDir(), "bundles")
	other := handing(t, "1.0.0", "", `account.grant("a@x.example", "b@x.example", "full")`)
	if err := writeTree(filepath.Join(dir, "acme", "keys", "1.0.0"), other.Files, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockName), []byte(earlier(old.Digest)), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenStore(dir)
	if err != nil || d.Stale() || len(d.Kept()) != 0 {
		t.Fatalf("%v, stale %v, kept %v", err, d.Stale(), d.Kept())
	}
	if err := d.Commit(); err != nil { // as an installation of another bundle does
		t.Fatal(err)
	}
	if err := writeTree(filepath.Join(dir, "acme", "keys", "1.0.0"), old.Files, dir); err != nil {
		t.Fatal(err)
	}
	if d = reopen(t, d); text(d.Kept()["acme/keys 1.0.0"]) != "grants" {
		t.Errorf("kept %v", d.Kept())
	}
}

// TestManifestRights: what a manifest says about rights and pages is checked,
// granted, and told in words.
func TestManifestRights(t *testing.T) {
	head := "[bundle]\nname = \"acme/keys\"\nversion = \"1.0.0\"\napi = 1\n" + asking
	for more, want := range map[string]string{
		"rights = [\"grant\"]\n":              `8:11: there is no right "grant"; did you mean grants?; there are grants, passwords, credentials`,
		"rights = [\"grants\", \"grants\"]\n": `"grants" stands twice`,
		"web = \"open\"\n":                    `8:1: web: "open" is not "plain"`,
		"rights = \"grants\"\n":               "8:10: cannot decode",
	} {
		if _, err := parseManifest([]byte(head+more), "acme/keys"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	m := handing(t, "1.0.0", "rights = [\"passwords\", \"grants\"]\nweb = \"plain\"\n", "")
	if got := text(m.GrantList()); !strings.Contains(got, "right grants, right passwords") || !strings.Contains(got, "web plain") {
		t.Errorf("granted %s", got)
	}
	for _, g := range []string{"right grants", "right passwords", "right credentials", "module account", "module list", "hook receive.auth",
		"web plain"} {
		if DescribeCapability(g) == "" {
			t.Errorf("%s is not said in words", g)
		}
	}
	for allow, want := range map[string]bool{"": false, "plain": true} {
		src, err := Load(Options{Enabled: []Enabled{{Tree: m, AllowWeb: allow}}})
		if err != nil || src[0].PlainWeb != want {
			t.Errorf("allow_web %q: %v %v", allow, src, err)
		}
	}
	src, err := Load(Options{Enabled: []Enabled{{Tree: handing(t, "1.0.0", "", ""), AllowWeb: "plain"}}})
	if err != nil || src[0].PlainWeb {
		t.Errorf("pages are plain without being asked for: %v", err)
	}
}
