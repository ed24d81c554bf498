// Package config reads the server's settings from one TOML file into types.
// It is strict: a key that it does not know, a value of the wrong form and a
// setting that makes no sense are errors that name file, line and column and
// show the place. It opens no sockets and no store; Check looks whether the
// files that the settings name can be read.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/pelletier/go-toml/v2"

	"carteiro/core/message/envelope"
)

// ErrConfig wraps every error of this package; commands exit with 2 on it.
var ErrConfig = errors.New("configuration")

// Config is the whole file. Field names are documented in the manual topic
// "config".
type Config struct {
	Hostname   string             `toml:"hostname"`
	Postmaster string             `toml:"postmaster"`
	Domains    []string           `toml:"domains"`
	Storage    Storage            `toml:"storage"`
	TLS        TLS                `toml:"tls"`
	Listeners  []Listener         `toml:"listener"`
	Web        Web                `toml:"web"`
	Scripts    Scripts            `toml:"scripts"`
	Bundles    []Bundle           `toml:"bundle"`
	Queue      Queue              `toml:"queue"`
	Relay      *Relay             `toml:"relay"`
	Milters    map[string]Milter  `toml:"milter"`
	Delivery   Delivery           `toml:"delivery"`
	NextHops   map[string]NextHop `toml:"nexthop"`
	DKIM       map[string]DKIM    `toml:"dkim"`
	DMARC      DMARC              `toml:"dmarc"`
	DNS        DNS                `toml:"dns"`
	Shaping    map[string]Shaping `toml:"shaping"`
	Limits     Limits             `toml:"limits"`
	Log        Log                `toml:"log"`
	Trust      map[string]string  `toml:"trust"`

	Path        string `toml:"-"` // of the file, absolute
	LimitsGiven bool   `toml:"-"` // the file has a [limits]
}

// Storage says where the mail is.
type Storage struct {
	Kind    string   `toml:"kind"`
	Dir     string   `toml:"dir"`
	Reserve Size     `toml:"reserve"`
	KeyFile string   `toml:"key_file"`
	Trail   Duration `toml:"trail"`
}

// TLS names the certificate.
type TLS struct {
	Cert string         `toml:"cert"`
	Key  string         `toml:"key"`
	ACME map[string]any `toml:"acme"` // refused: see validate
}

// Listener is one address that the server answers at.
type Listener struct {
	Name           string         `toml:"name"`
	Protocol       string         `toml:"protocol"`
	Addr           string         `toml:"addr"`
	MaxSize        Size           `toml:"max_size"`
	MaxConnections int            `toml:"max_connections"`
	TLS            string         `toml:"tls"`
	RelayFrom      []netip.Prefix `toml:"relay_from"`
	ProxyFrom      []netip.Prefix `toml:"proxy_from"`
	XclientFrom    []netip.Prefix `toml:"xclient_from"`
	InsecureAuth   bool           `toml:"insecure_auth"`
	APOP           bool           `toml:"apop"`
	GreetDelay     Duration       `toml:"greet_delay"`
	LoginDelay     Duration       `toml:"login_delay"`
}

// Web says how the world reaches the http listener.
type Web struct {
	URL    string `toml:"url"`
	Token  any    `toml:"token"` // of operators: text, { file = } or { env = }
	Secret string `toml:"-"`     // the value of Token; empty: there is no API
}

// Scripts is where the admin's policies are.
type Scripts struct {
	Dir   string   `toml:"dir"`
	Watch bool     `toml:"watch"`
	HTTP  []string `toml:"http"` // "host:port" that scripts may reach
}

// Bundle enables one bundle.
type Bundle struct {
	Name        string                    `toml:"name"`
	Path        string                    `toml:"path"`
	Domains     []string                  `toml:"domains"` // nil: all; [] none, but for what `bundle enable` says
	Config      map[string]any            `toml:"config"`
	Domain      map[string]map[string]any `toml:"domain"` // settings of domains
	Secrets     map[string]Secret         `toml:"secrets"`
	HTTP        []string                  `toml:"http"` // host:port that it may connect to in addition to its manifest
	GrantLimits bool                      `toml:"grant_limits"`
	AllowWeb    string                    `toml:"allow_web"` // "plain": pages without the sandbox, if the bundle asks for it
}

// Secret says where a secret's text is: one of the two is set.
type Secret struct {
	File string `toml:"file"`
	Env  string `toml:"env"`
}

// Queue is the schedule of retries.
type Queue struct {
	Retry  []Duration `toml:"retry"`
	Expire Duration   `toml:"expire"`
	Warn   *Duration  `toml:"warn"`
}

// Relay is the smarthost.
type Relay struct {
	Host     string `toml:"host"`
	User     string `toml:"user"`
	Password any    `toml:"password"` // text, { file = } or { env = }
	Secret   string `toml:"-"`        // the value of Password
}

// DMARC says who sends aggregate reports (RFC 9990).
type DMARC struct {
	Reports      string `toml:"reports"` // the address that they come from; empty: none are sent
	Organization string `toml:"organization"`
}

// Milter is a mail filter that policies may ask.
type Milter struct {
	Addr    string   `toml:"addr"` // host:port, or the absolute path of a socket
	Timeout Duration `toml:"timeout"`
}

// Network is "tcp" or "unix".
func (m Milter) Network() string {
	if filepath.IsAbs(m.Addr) {
		return "unix"
	}
	return "tcp"
}

// Delivery is how other servers are spoken to.
type Delivery struct {
	Port         int      `toml:"port"`
	AllowPrivate bool     `toml:"allow_private"`
	Source       []string `toml:"source"`
}

// NextHop replaces the MX look-up of a domain.
type NextHop struct {
	Host     string `toml:"host"`
	Protocol string `toml:"protocol"`
	TLS      string `toml:"tls"`
	User     string `toml:"user"`
	Password any    `toml:"password"` // text, { file = } or { env = }
	Secret   string `toml:"-"`        // the value of Password
}

// DKIM names the signing keys of a domain.
type DKIM struct {
	Selectors []string `toml:"selectors"`
}

// DNS is the resolver.
type DNS struct {
	Resolver string `toml:"resolver"`
}

// Shaping limits what goes to one destination.
type Shaping struct {
	Connections int  `toml:"connections"`
	Rate        Rate `toml:"rate"`
}

// Limits are per client address (IPv6: per /64); 0 lifts one. Where the file
// has no [limits], the defaults hold for all but loopback clients: webmail
// and other programs on the same machine are many users at one address.
type Limits struct {
	Connections  int  `toml:"connections"`
	Messages     Rate `toml:"messages"`
	Recipients   Rate `toml:"recipients"`
	AuthFailures Rate `toml:"auth_failures"`
	Errors       int  `toml:"errors"`
}

// Log sets what is logged, and in which form.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// defaults returns the configuration of an empty file.
func defaults() Config {
	warn := Duration(4 * time.Hour)
	return Config{
		Storage: Storage{Kind: "badger", Reserve: 1 << 30, Trail: Duration(30 * 24 * time.Hour)},
		Queue: Queue{
			Retry:  []Duration{Duration(5 * time.Minute), Duration(15 * time.Minute), Duration(time.Hour), Duration(4 * time.Hour)},
			Expire: Duration(5 * 24 * time.Hour),
			Warn:   &warn,
		},
		Delivery: Delivery{
			Port: 25,
		},
		Limits: Limits{
			Connections:  50,
			Messages:     Rate{600, time.Minute},
			Recipients:   Rate{3000, time.Minute},
			AuthFailures: Rate{10, 5 * time.Minute},
			Errors:       10,
		},
		Log: Log{Level: "info", Format: "json"},
	}
}

// Load reads and checks a file. Relative paths in it are taken from the
// file's folder. All errors wrap ErrConfig and name the place.
func Load(path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	raw, err := os.ReadFile(abs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c, err := Parse(abs, raw)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Parse is Load for a text that was read already; path is used in errors and
// for relative paths.
func Parse(path string, raw []byte) (*Config, error) {
	c := defaults()
	c.Path = path
	d := toml.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, parseError(path, err)
	}
	var given struct {
		Limits map[string]any `toml:"limits"`
	}
	if err := toml.Unmarshal(raw, &given); err == nil {
		c.LimitsGiven = given.Limits != nil
	}
	if err := c.complete(); err != nil {
		return nil, locate(path, raw, err)
	}
	return &c, nil
}

// complete fills in what depends on other settings and checks the rest.
func (c *Config) complete() error {
	if c.Hostname == "" {
		return bad("hostname", "is not set")
	}
	if err := envelope.CheckDomain(c.Hostname); err != nil {
		return bad("hostname", "%v", err)
	}
	for i, d := range c.Domains {
		if err := envelope.CheckDomain(d); err != nil {
			return bad("domains", "%q: %v", d, err)
		}
		c.Domains[i] = strings.ToLower(d)
	}
	if c.Postmaster == "" && len(c.Domains) > 0 {
		c.Postmaster = "postmaster@" + c.Domains[0]
	}
	if c.Postmaster != "" {
		a, err := envelope.ParseAddress(c.Postmaster)
		if err != nil {
			return bad("postmaster", "%v", err)
		}
		c.Postmaster = string(a)
	}
	if c.DMARC.Reports != "" {
		a, err := envelope.ParseAddress(c.DMARC.Reports)
		if err != nil {
			return bad("dmarc.reports", "%v", err)
		}
		c.DMARC.Reports = string(a)
	}
	if strings.ContainsFunc(c.DMARC.Organization, unicode.IsControl) {
		return bad("dmarc.organization", "holds control characters")
	}
	base := filepath.Dir(c.Path)
	for _, p := range []*string{&c.Storage.Dir, &c.Storage.KeyFile, &c.TLS.Cert, &c.TLS.Key, &c.Scripts.Dir} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	for i := range c.Bundles {
		b := &c.Bundles[i]
		if b.Path != "" && !filepath.IsAbs(b.Path) {
			b.Path = filepath.Join(base, b.Path)
		}
		for name, s := range b.Secrets {
			if s.File != "" && !filepath.IsAbs(s.File) {
				s.File = filepath.Join(base, s.File)
				b.Secrets[name] = s
			}
		}
	}
	if c.Web.URL == "" {
		c.Web.URL = "https://" + c.Hostname
	}
	return c.validate()
}
