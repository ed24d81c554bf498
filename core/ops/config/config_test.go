package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const minimal = `hostname = "mx.example.com"
domains = ["example.com"]
[storage]
dir = "data"
`

func TestDefaults(t *testing.T) {
	c, err := Parse("/etc/carteiro/carteiro.toml", []byte(minimal+"[[listener]]\nprotocol = \"smtp\"\naddr = \"127.0.0.1:0\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Storage.Dir != "/etc/carteiro/data" || c.Postmaster != "postmaster@example.com" {
		t.Errorf("dir %q, postmaster %q", c.Storage.Dir, c.Postmaster)
	}
	l := c.Listeners[0]
	if l.MaxSize != 50<<20 || l.MaxConnections != 2000 || l.TLS != "none" || l.Name != "smtp0" {
		t.Errorf("listener %+v", l)
	}
	if c.Queue.Expire.Std() != 5*24*time.Hour || c.Web.URL != "https://mx.example.com" {
		t.Errorf("queue %+v web %+v", c.Queue, c.Web)
	}
}

// The sample of the manual, every setting used once.
const full = `hostname   = "mx.example.com"
postmaster = "postmaster@example.com"
domains    = ["example.com"]
[storage]
kind = "badger"
dir  = "/var/lib/carteiro"
reserve  = "1GiB"
key_file = "/etc/carteiro/store.key"
trail    = "30d"
[tls]
cert = "cert.pem"
key  = "key.pem"
[[listener]]
name = "mx"
protocol = "smtp"
addr = ":25"
max_size = "50MiB"
max_connections = 2000
tls = "starttls"
relay_from = ["10.0.0.0/8"]
proxy_from = []
xclient_from = []
[[listener]]
name = "submission"
protocol = "submission"
addr = ":465"
tls = "implicit"
insecure_auth = false
[[listener]]
name = "pop3"
protocol = "pop3"
addr = ":110"
apop = true
[web]
url = "https://mail.example.com"
[scripts]
dir = "scripts"
[[bundle]]
name = "carteiro/autoreply"
domains = ["example.com"]
config = { days = 7 }
[queue]
retry  = ["5m", "15m", "1h", "4h"]
expire = "5d"
warn   = "4h"
[relay]
host = "relay.example.net:587"
user = "us"
password = { env = "CARTEIRO_TEST_PASSWORD" }
[delivery]
port = 25
allow_private = false
source = []
[nexthop."legacy.example.com"]
host = "127.0.0.1:2424"
protocol = "lmtp"
[dkim."example.com"]
selectors = ["2026a"]
[dns]
resolver = "127.0.0.1:5353"
[dmarc]
reports = "dmarc@example.com"
organization = "Example & Co"
[shaping."gmail.com"]
connections = 20
rate = "600/min"
[limits]
connections   = 50
messages      = "600/1m"
recipients    = "3000/1m"
auth_failures = "10/5m"
errors        = 10
[log]
level  = "info"
format = "json"
`

func TestFull(t *testing.T) {
	t.Setenv("CARTEIRO_TEST_PASSWORD", "s3cret")
	c, err := Parse("/etc/carteiro/carteiro.toml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if c.Relay.Secret != "s3cret" || c.Shaping["gmail.com"].Rate.N != 600 || c.NextHops["legacy.example.com"].Protocol != "lmtp" {
		t.Errorf("%+v", c)
	}
	if c.Listeners[2].TLS != "starttls" || len(c.Listeners[0].RelayFrom) != 1 {
		t.Errorf("listeners %+v", c.Listeners)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"unknown key":  {"hostnam = \"x\"\n", "c.toml:1:1: unknown key hostnam"},
		"nested":       {minimal + "dirr = \"x\"\n", "c.toml:5:1: unknown key storage.dirr"},
		"syntax":       {"hostname = \n", "c.toml:1:"},
		"wrong type":   {minimal + "key_file = true\n", "c.toml:5:"},
		"bad size":     {minimal + "reserve = \"many\"\n", "c.toml:5:"},
		"bad duration": {minimal + "[queue]\nexpire = \"soon\"\n", "c.toml:6:"},
		"no hostname":  {"domains = []\n", "hostname is not set"},
		"bad domain":   {"hostname = \"a\"\ndomains = [\"-x\"]\n", "c.toml:2: domains"},
		"protocol":     {minimal + "[[listener]]\naddr = \":25\"\nprotocol = \"imap\"\n", "c.toml:7: listener.protocol \"imap\" is none of"},
		"second addr": {minimal + "[[listener]]\nprotocol=\"smtp\"\naddr = \":25\"\n[[listener]]\nprotocol=\"smtp\"\naddr = \"25\"\n",
			"c.toml:10: listener.addr \"25\" is not host:port"},
		"tls without": {minimal + "[[listener]]\nprotocol=\"smtp\"\naddr = \":25\"\ntls = \"implicit\"\n",
			"c.toml:8: listener.tls needs a certificate"},
		"half a pair":   {minimal + "[tls]\ncert = \"x\"\n", "c.toml:6: tls.cert"},
		"acme":          {minimal + "[tls]\nacme = { email = \"a@b.example\" }\n", "c.toml:6: tls.acme is not supported"},
		"token":         {minimal + "[web]\ntoken = \"short\"\n", "c.toml:6: web.token has 5 characters"},
		"token's file":  {minimal + "[web]\ntoken = { file = \"not-there\" }\n", "c.toml:6: web.token open "},
		"unset secret":  {minimal + "[relay]\nhost = \"a:1\"\npassword = { env = \"CARTEIRO_NOT_SET\" }\n", "c.toml:7: relay.password"},
		"two bundles":   {minimal + "[[bundle]]\nname = \"a\"\npath = \"b\"\n", "c.toml:6: bundle.name"},
		"no address":    {minimal + "[dmarc]\nreports = \"us\"\n", "c.toml:6: dmarc.reports"},
		"two lines":     {minimal + "[dmarc]\norganization = \"a\\nb\"\n", "c.toml:6: dmarc.organization holds control characters"},
		"unknown store": {"hostname = \"a\"\n[storage]\nkind = \"sql\"\n", "c.toml:3: storage.kind"},
	}
	for name, tt := range tests {
		_, err := Parse("/x/c.toml", []byte(tt.text))
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v\nwant %q in it", name, err, tt.want)
		}
	}
}

func TestErrorsShowThePicture(t *testing.T) {
	_, err := Parse("/x/c.toml", []byte(minimal+"dirr = \"x\"\n"))
	if !strings.Contains(err.Error(), "dirr = \"x\"") || !strings.Contains(err.Error(), "~~~~") {
		t.Errorf("no picture in %v", err)
	}
	_, err = Parse("/x/c.toml", []byte(minimal+"[log]\nlevel = \"loud\"\n"))
	if !strings.Contains(err.Error(), "level = \"loud\"") || !strings.Contains(err.Error(), "~~~~") {
		t.Errorf("no picture in %v", err)
	}
}

func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.toml")
	os.WriteFile(path, []byte(minimal+"[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n"), 0o600)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckFiles(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "tls.") {
		t.Errorf("missing certificate: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none.toml")); !errors.Is(err, ErrConfig) {
		t.Errorf("missing file: %v", err)
	}
}

func TestValues(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1024": 1024, "50MiB": 50 << 20, "10kB": 10_000, "2 GiB": 2 << 30} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v", text, got, err)
		}
	}
	for text, want := range map[string]time.Duration{"5d": 120 * time.Hour, "1h30m": 90 * time.Minute, "2w": 336 * time.Hour} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "x", "9223372036854775807GiB"} {
		if _, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) accepted", text)
		}
	}
	var r Rate
	for text, want := range map[string]Rate{"600/min": {600, time.Minute}, "10/5m": {10, 5 * time.Minute}, "0": {}} {
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("Rate %q = %v, %v", text, r, err)
		}
	}
}

func TestLimitsGiven(t *testing.T) {
	for text, want := range map[string]bool{minimal: false, minimal + "[limits]\nconnections = 5\n": true} {
		c, err := Parse("/x/c.toml", []byte(text))
		if err != nil || c.LimitsGiven != want {
			t.Errorf("%v, %v; want %v", c.LimitsGiven, err, want)
		}
	}
}

// Settings of listeners act where their protocol knows them, and only there.
func TestProxiesOfListeners(t *testing.T) {
	for _, tt := range []struct{ protocol, idle string }{
		{"smtp", ""}, {"submission", ""}, {"lmtp", ""}, {"pop3", "listener.l.xclient_from"},
		{"http", "listener.l.proxy_from listener.l.xclient_from"},
	} {
		c, err := Parse("/x.toml", []byte(minimal+"[[listener]]\nname = \"l\"\nprotocol = \""+tt.protocol+"\"\naddr = \"127.0.0.1:0\"\n"+
			"proxy_from = [\"10.0.0.0/8\"]\nxclient_from = [\"10.0.0.0/8\"]\ngreet_delay = \"2s\"\nlogin_delay = \"1m\"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.IgnoredSettings(), " "); got != tt.idle {
			t.Errorf("%s: idle %q, want %q", tt.protocol, got, tt.idle)
		}
		if l := c.Listeners[0]; len(l.ProxyFrom) != 1 || l.GreetDelay.Std() != 2*time.Second || l.LoginDelay.Std() != time.Minute {
			t.Errorf("%s: %+v", tt.protocol, l)
		}
	}
}

// TestBundles: settings of domains, secrets and pinned keys.
func TestBundles(t *testing.T) {
	const head = "hostname = \"mx.example.com\"\n[storage]\ndir = \"d\"\n"
	c, err := Parse("/etc/c.toml", []byte(head+`[[bundle]]
name = "a/b"
domains = []
http = ["club.example:443"]
secrets = { one = { file = "x" }, two = { env = "Y" } }
[bundle.domain."A.example"]
days = 3
[[bundle]]
path = "p"
[trust]
acme = "RWQdz0UHQ0HfrjJlShtCssg74ExbsyjbbRb5puvLOTzfeZVNJXOiJGKu"
`))
	if err != nil || c.Bundles[0].Domains == nil || c.Bundles[1].Domains != nil || c.Bundles[0].Domain["a.example"]["days"] != int64(3) ||
		c.Bundles[0].Secrets["one"].File != "/etc/x" || c.Bundles[0].Secrets["two"].Env != "Y" || c.Bundles[1].Path != "/etc/p" ||
		c.Bundles[0].HTTP[0] != "club.example:443" {
		t.Errorf("%v %+v", err, c)
	}
	for text, want := range map[string]string{
		"[[bundle]]\nname = \"a/b\"\nhttp = [\"club.example\"]\n":                         `bundle.http "club.example" is not host:port`,
		"[[bundle]]\nname = \"a/b\"\nsecrets = { one = { } }\n":                           "c.toml:6: bundle.secrets one is not { file",
		"[[bundle]]\nname = \"a/b\"\nsecrets = { one = { file = \"a\", env = \"b\" } }\n": "bundle.secrets one is not",
		"[[bundle]]\nname = \"a/b\"\ndomains = [\"a b\"]\n":                               "c.toml:6: bundle.domains",
		"[[bundle]]\nname = \"a/b\"\n[bundle.domain.\"a b\"]\nx = 1\n":                    "bundle.domain",
		"[trust]\nacme = \" \"\n":                                                         "c.toml:5: trust.acme names no key",
		"[trust]\nacme = \"RWQdz0UHQ0HfrjJlShtCssg74ExbsyjbbRb5puvLOTzfeZVNJXOiJGKu RWQ\"\n": "c.toml:5: trust.acme \"RWQ\" is not a minisign " +
			"public key",
		"[trust]\nacme = \"RWQ\"\n": "c.toml:5: trust.acme \"RWQ\" is not a minisign public key",
		"[trust]\n\"acme/x\" = \"RWQdz0UHQ0HfrjJlShtCssg74ExbsyjbbRb5puvLOTzfeZVNJXOiJGKu\"\n": "is not the name of a publisher",
	} {
		if _, err := Parse("/etc/c.toml", []byte(head+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestBundleBoundaries: hosts of private networks are named with a word more,
// pages without the sandbox are allowed in one word, and a host that leads
// nowhere else is refused at its place.
func TestBundleBoundaries(t *testing.T) {
	const head = "hostname = \"mx.example.com\"\n[storage]\ndir = \"d\"\n"
	for text, want := range map[string]string{
		"[scripts]\nhttp = [\"a.example:80\", \"rspamd.lan:11334 private\", \"[::1]:80\"]\n": "",
		"[scripts]\nhttp = [\"a.example:80 public\"]\n": `5: scripts.http "a.example:80 public" is not host:port, or ` +
			`"host:port private"`,
		"[scripts]\nhttp = [\"a.example private\"]\n":                                   "is not host:port",
		"[[bundle]]\nname = \"a/b\"\nhttp = [\"x:1 private\"]\nallow_web = \"plain\"\n": "",
		"[[bundle]]\nname = \"a/b\"\nhttp = [\"x private\"]\n":                          `6: bundle.http "x private" is not host:port`,
		"[[bundle]]\nname = \"a/b\"\nallow_web = \"all\"\n":                             `6: bundle.allow_web "all" is not "plain"`,
		"[[bundle]]\nname = \"a/b\"\nallow_web = true\n":                                "6:13",
	} {
		_, err := Parse("/etc/c.toml", []byte(head+text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	path := filepath.Join(t.TempDir(), "c.toml")
	text := head + "[scripts]\nhttp = [\"a.lan:80\"]\n[[bundle]]\nname = \"a/b\"\n[[bundle]]\nname = \"a/c\"\nhttp = [\"b.lan:80\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for bundle, want := range map[int]string{-1: path + `:5: scripts.http "a.lan:80" leads to`, 1: path +
		`:10: bundle.http "a.lan:80" leads to`} {
		if err := c.PrivateHost(bundle, "a.lan:80"); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), `write "a.lan:80 private"`) {
			t.Errorf("%v", err)
		}
	}
}

// TestInBundle: an error about a [[bundle]] names the line with the error.
func TestInBundle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	text := "hostname = \"mx.example.com\"\n[storage]\ndir = \"d\"\n[[bundle]]\nname = \"a/b\"\n[[bundle]]\nname = \"a/c\"\n" +
		"config = { n = 1 }\n" +
		"[bundle.domain.\"x.example\"]\nn = 2\n[bundle.domain.\"y.example\"]\nn = 3\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("wrong")
	for _, tt := range []struct {
		nth     int
		setting string
		line    int
	}{{0, "", 4}, {0, "config", 4}, {1, "", 6}, {1, "config", 8}, {1, "domain.x.example", 9}, {1, "domain.y.example", 11},
		{1, "domain.z.example", 6}} {
		err := c.InBundle(tt.nth, tt.setting, wrong)
		if want := fmt.Sprintf("%s:%d: wrong\n", path, tt.line); !errors.Is(err, wrong) || !errors.Is(err, ErrConfig) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%d %s: %v, want %s", tt.nth, tt.setting, err, want)
		}
	}
}
