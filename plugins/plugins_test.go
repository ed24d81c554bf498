package plugins

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

func TestShippedBundlesLoad(t *testing.T) {
	var enabled []Enabled
	for _, name := range Shipped() {
		enabled = append(enabled, Enabled{Name: name})
	}
	sources, err := Load(Options{Enabled: enabled})
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
	dir := bundle(t, map[string]string{
		"bundle.toml": manifest,
		"init.lua":    initLua,
		"lib/x.lua":   "return 1",
		"tests/t.lua": "x",
		".hidden":     "x",
	})
	sources, err := Load(Options{Enabled: []Enabled{{Path: dir, Domains: []string{"a.example"}, Config: map[string]any{"name": "n"}}}})
	if err != nil {
		t.Fatal(err)
	}
	s := sources[0]
	if s.Name != "acme/hello" || s.Version != "1.0.0" || s.Tier != hooks.Bundle || len(s.Files) != 3 || s.Config["days"] != int64(7) ||
		s.Config["name"] != "n" ||
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
		"unknown key":   {strings.Replace(manifest, "wall =", "wal =", 1), nil, "bundle.toml:10:1: unknown key limits.wal"},
		"syntax":        {"[bundle\n", nil, "bundle.toml:1:"},
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
		_, err := Load(Options{Enabled: []Enabled{{Path: dir, Config: tt.config}}})
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
	if _, err := Load(Options{Enabled: []Enabled{{Name: "carteiro/nothing"}}}); !errors.Is(err, ErrBundle) {
		t.Errorf("unknown bundle: %v", err)
	}
	if _, err := Load(Options{Enabled: []Enabled{{Path: "/does/not/exist"}}}); !errors.Is(err, ErrBundle) {
		t.Errorf("missing folder: %v", err)
	}
}

// TestManifestFaults: each error names its file and line.
func TestManifestFaults(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(manifest, old, new, 1) }
	for name, tt := range map[string]struct{ manifest, want string }{
		"version":    {change(`"1.0.0"`, `"1.0"`), `:3:1: version "1.0" is not like 1.4.2`},
		"no version": {change("version = \"1.0.0\"\n", ""), `:1:2: version "" is not like`},
		"publisher":  {change(`"acme/hello"`, `"-acme/hello"`), `:2:1: name "-acme/hello"`},
		"hook":       {change("receive.mail", "recieve.mail"), `:5:10: there is no hook "recieve.mail"; did you mean receive.mail?`},
		"hook twice": {change(`["receive.mail"]`, `["receive.mail", "receive.mail"]`), `:5:26: "receive.mail" stands twice`},
		"module":     {change(`["kv"]`, `["kv", "fs"]`), `:7:18: there is no module "fs"`},
		"right": {change("recipients = 5", `message = ["header:read"]`),
			`:8:12: there is no right "header:read"; there are headers:read, body:read, headers:write, body:write, recipients:add`},
		"rate":         {change("recipients = 5", `submit = "10 per minute"`), `:8:1: submit: "10 per minute" is not a rate`},
		"rate of none": {change("recipients = 5", `submit = "0/min"`), `submit: "0/min" is not a rate`},
		"host": {change("recipients = 5", `http = ["https://api.acme.example"]`),
			`:8:9: http: "https://api.acme.example" is not host:port`},
		"port":               {change("recipients = 5", `http = ["api.acme.example:https"]`), `is not host:port`},
		"secret":             {change("recipients = 5", `secrets = ["a/b"]`), `:8:12: secrets: "a/b" is not a name`},
		"recipients":         {change("recipients = 5", "recipients = -1"), ":8:1: recipients: -1 is not from"},
		"wall":               {change(`"1s"`, `"1"`), `:10:1: limits.wall: "1" is not a time`},
		"alloc without unit": {change("instructions = 1000", `alloc = "1000"`), `:11:1: limits.alloc: "1000" is not a size with its unit`},
		"instructions":       {change("instructions = 1000", "instructions = -5"), ":11:1: limits.instructions: -5"},
		"number for a text":  {change(`"1s"`, "1"), ":10:8: "},
		"range":              {change("api = 1", "api = 1\nrequires = { \"acme/util\" = \"^q\" }"), `:5:14: requires: "^q" is not a range`},
		"requires what":      {change("api = 1", "api = 1\nrequires = { util = \"^1\" }"), `:5:14: requires: "util" is neither`},
		"requires itself":    {change("api = 1", "api = 1\nrequires = { \"acme/hello\" = \"^1\" }"), `requires: "acme/hello" is neither`},
		"after":              {change("api = 1", "api = 1\nafter = [\"DKIM\"]"), `:5:10: after: "DKIM"`},
		"type": {change(`type = "string"`, `type = "text"`),
			`:14:10: config.name has the unknown type "text"; there are string, integer`},
		"no type":           {change(`type = "string"`, `domain = true`), `:14:1: config.name has the unknown type ""`},
		"default's type":    {change("default = 7", `default = "x"`), ":13:28: config.days: default is x, not of type integer"},
		"default's bound":   {change("default = 7", `default = 31`), ":13:28: config.days: default is 31, above 30"},
		"bounds":            {change("max = 30", "max = 0"), ":13:41: config.days: min is above max"},
		"bound's type":      {change("max = 30", `max = "x"`), ":13:50: config.days: max is not a number"},
		"bounds of a table": {change(`type = "string"`, `type = "table", min = 1`), "config.name: a table has no bounds"},
		"characters": {change(`type = "string"`, `type = "string", max = 2, default = "abc"`),
			"config.name: default has 3 characters, above 2"},
		"setting's name":     {change("name = { type", `"a b" = { type`), `config: "a b" is not a name`},
		"smoke":              {manifest + "[tests]\nsmoke = [\"../x\"]\n", `:16:10: smoke: "../x"`},
		"a test that is not": {manifest + "[tests]\nsmoke = [\"basic\"]\n", `smoke test "basic": there is no tests/basic.lua`},
	} {
		dir := bundle(t, map[string]string{"bundle.toml": tt.manifest, "init.lua": initLua})
		_, err := ReadDir(os.DirFS(dir), "acme/x")
		if !errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %q", name, err, tt.want)
		}
	}
	// All of them in one go, with the line and a caret.
	all := strings.NewReplacer("acme/hello", "Hello", "api = 1", "api = 2\nlicence = \"MIT\"", "kv", "kw", `"1s"`, `"soon"`).Replace(manifest)
	_, err := parseManifest([]byte(all), "acme/x")
	for _, want := range []string{"2:1: name", "4:1: api", "5:1: unknown key bundle.licence", "8:12: there is no module \"kw\"",
		"11:1: limits.wall"} {
		if err == nil || !strings.Contains(err.Error(), "acme/x/bundle.toml:"+want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if f, ok := errors.AsType[*Fault](err); !ok || f.Snippet != "licence = \"MIT\"\n^" {
		t.Errorf("%+v", f)
	}
}

// TestDomainSettings: a domain gets its own values if the schema allows that.
func TestDomainSettings(t *testing.T) {
	dir := bundle(t, map[string]string{"bundle.toml": manifest, "init.lua": initLua})
	load := func(own map[string]any) (hooks.Source, error) {
		list, err := Load(Options{Enabled: []Enabled{{
			Path:         dir,
			Config:       map[string]any{"name": "n"},
			DomainConfig: map[string]map[string]any{"a.example": own},
		}}})
		if err != nil {
			return hooks.Source{}, err
		}
		return list[0], nil
	}
	s, err := load(map[string]any{"days": int64(3)})
	if err != nil || s.Config["days"] != int64(7) || s.DomainConfig["a.example"]["days"] != int64(3) ||
		s.DomainConfig["a.example"]["name"] != "n" {
		t.Errorf("%v %+v", err, s)
	}
	for want, own := range map[string]map[string]any{
		"config.name cannot be set for a.example": {"name": "x"},
		"config.days for a.example is 0, below 1": {"days": int64(0)},
		`has no setting "day" for a.example`:      {"day": int64(1)},
	} {
		if _, err := load(own); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestSecretsOfTheConfiguration: a bundle gets only the secrets that it declares.
func TestSecretsOfTheConfiguration(t *testing.T) {
	dir := bundle(t, map[string]string{"bundle.toml": strings.Replace(manifest, "recipients = 5", `secrets = ["token"]`, 1),
		"init.lua": initLua})
	t.Setenv("PLUGINS_TOKEN", "x")
	for _, tt := range []struct {
		secrets map[string]hooks.Secret
		want    string
	}{
		{nil, `it needs the secret "token"`},
		{map[string]hooks.Secret{"token": {Env: "PLUGINS_NOT_SET"}}, `secret "token": the environment has no PLUGINS_NOT_SET`},
		{map[string]hooks.Secret{"token": {Env: "PLUGINS_TOKEN"}, "other": {Env: "PLUGINS_TOKEN"}}, `declares no secret "other"`},
		{map[string]hooks.Secret{"token": {Env: "PLUGINS_TOKEN"}}, ""},
	} {
		_, err := Load(Options{Enabled: []Enabled{{Path: dir, Secrets: tt.secrets}}})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

func TestPriorityBundle(t *testing.T) {
	sources, err := Load(Options{Enabled: []Enabled{{Name: "carteiro/priority", Config: map[string]any{"high": int64(4)}}}})
	if err != nil {
		t.Fatal(err)
	}
	w := hookstest.New(t).Load(sources...)
	const letter = "From: a@a.example\nSubject: x\n\nhello\n"
	declared := envelope.Priority(2)
	tests := []struct {
		name   string
		fields string
		user   bool
		asked  *envelope.Priority
		want   envelope.Priority
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
