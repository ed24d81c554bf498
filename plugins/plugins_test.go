package plugins

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carteiro/core/mail"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

func TestShippedBundlesLoad(t *testing.T) {
	var enabled []Enabled
	for _, name := range Shipped() {
		enabled = append(enabled, Enabled{Name: name})
	}
	sources, err := Load(enabled)
	if err != nil {
		t.Fatal(err)
	}
	hookstest.New(t).Load(sources...)
}

// bundle writes a folder.
func bundle(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const manifest = `[bundle]
name = "acme/hello"
version = "1.0.0"
api = 1
hooks = ["receive.mail"]
[capabilities]
modules = ["kv"]
recipients = 5
[limits]
wall = "1s"
instructions = 1000
[config]
days = { type = "integer", default = 7, min = 1, max = 30, domain = true }
name = { type = "string" }
`

const initLua = "on(\"receive.mail\", function(session, tx) end)\n"

func TestLoadFolder(t *testing.T) {
	dir := bundle(t, map[string]string{"bundle.toml": manifest, "init.lua": initLua, "lib/x.lua": "return 1", "tests/t.lua": "x", ".hidden": "x"})
	sources, err := Load([]Enabled{{Path: dir, Domains: []string{"a.example"}, Config: map[string]any{"name": "n"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := sources[0]
	if s.Name != "acme/hello" || s.Version != "1.0.0" || s.Tier != hooks.Bundle || len(s.Files) != 3 || s.Config["days"] != int64(7) || s.Config["name"] != "n" ||
		s.Limits.Instructions != 1000 || s.Limits.Recipients != 5 || s.Domains[0] != "a.example" || s.Grants.Hooks[0] != hooks.ReceiveMail {
		t.Errorf("source %+v", s)
	}
	hookstest.New(t).Load(sources...)
}

func TestErrorsNameThePlace(t *testing.T) {
	tests := map[string]struct {
		manifest string
		config   map[string]any
		want     string
	}{
		"unknown key":   {strings.Replace(manifest, "wall =", "wal =", 1), nil, "bundle.toml: 10:1: unknown key limits.wal"},
		"syntax":        {"[bundle\n", nil, "bundle.toml: 1:"},
		"name":          {strings.Replace(manifest, "acme/hello", "Hello", 1), nil, `name "Hello" is not publisher/name`},
		"api":           {strings.Replace(manifest, "api = 1", "api = 2", 1), nil, "api is 2; this server speaks 1"},
		"hook":          {strings.Replace(manifest, "receive.mail", "receive.male", 1), nil, `there is no hook "receive.male"`},
		"too small":     {manifest, map[string]any{"days": int64(0)}, "config.days is 0, below 1"},
		"too large":     {manifest, map[string]any{"days": int64(31)}, "config.days is 31, above 30"},
		"wrong type":    {manifest, map[string]any{"days": "many"}, "config.days is many, not of type integer"},
		"no such":       {manifest, map[string]any{"day": int64(1)}, `has no setting "day"; it has days, name`},
		"wall":          {strings.Replace(manifest, `"1s"`, `"soon"`, 1), nil, "limits.wall"},
		"without a lua": {manifest, nil, ""},
	}
	for name, tt := range tests {
		dir := bundle(t, map[string]string{"bundle.toml": tt.manifest, "init.lua": initLua})
		_, err := Load([]Enabled{{Path: dir, Config: tt.config}})
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v\nwant %q", name, err, tt.want)
		}
	}
	if _, err := Load([]Enabled{{Name: "carteiro/nothing"}}); !errors.Is(err, ErrBundle) {
		t.Errorf("unknown bundle: %v", err)
	}
	if _, err := Load([]Enabled{{Path: "/does/not/exist"}}); !errors.Is(err, ErrBundle) {
		t.Errorf("missing folder: %v", err)
	}
}

func TestPriorityBundle(t *testing.T) {
	sources, err := Load([]Enabled{{Name: "carteiro/priority", Config: map[string]any{"high": int64(4)}}})
	if err != nil {
		t.Fatal(err)
	}
	w := hookstest.New(t).Load(sources...)
	const letter = "From: a@a.example\nSubject: x\n\nhello\n"
	declared := mail.Priority(2)
	tests := []struct {
		name   string
		fields string
		user   bool
		asked  *mail.Priority
		want   mail.Priority
	}{
		{"plain", "", true, nil, 0},
		{"list", "List-Id: <l>\n", false, nil, -6},
		{"bulk of a user", "Precedence: Bulk\nImportance: high\n", true, nil, -6},
		{"important", "Importance: High\n", true, nil, 4},
		{"x-priority", "X-Priority: 1 (Highest)\n", true, nil, 4},
		{"low", "X-Priority: 5\n", true, nil, -4},
		{"a stranger's", "Importance: high\n", false, nil, 0},
		{"mt-priority wins", "Importance: high\n", true, &declared, 2},
	}
	for _, tt := range tests {
		s := hookstest.Session("192.0.2.7")
		if tt.user {
			s.Identity = hookstest.Identity("bob@our.example")
		}
		tx := hookstest.Tx("a@a.example", "bob@our.example")
		msg := hookstest.Message("a@a.example", tt.fields+letter)
		if tt.asked != nil {
			tx.Params.Priority, msg.Priority = tt.asked, *tt.asked
		}
		a := w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: s, Tx: tx, Msg: msg})
		if a.Err() != "" || a.Event.Msg.Priority != tt.want {
			t.Errorf("%s: priority %d, want %d (%s)", tt.name, a.Event.Msg.Priority, tt.want, a.Err())
		}
	}
}
