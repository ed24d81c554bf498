package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"carteiro/core/message/envelope"
)

// badSetting is an error about one key; locate finds its line.
type badSetting struct {
	key  string // as it is written, "addr"
	nth  int    // which [[table]] of the kind, from 0; -1: not in one
	in   string // "listener", "bundle" or a table's name
	text string
}

func (b *badSetting) Error() string {
	if b.in != "" {
		return fmt.Sprintf("%s.%s %s", b.in, b.key, b.text)
	}
	return b.key + " " + b.text
}

func bad(key, format string, args ...any) error {
	in := ""
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		in, key = key[:i], key[i+1:]
	}
	return &badSetting{key: key, in: in, nth: -1, text: fmt.Sprintf(format, args...)}
}

func badIn(in string, nth int, key, format string, args ...any) error {
	return &badSetting{key: key, in: in, nth: nth, text: fmt.Sprintf(format, args...)}
}

// minToken is how many characters an operator's token has at least.
const minToken = 32

func (c *Config) validate() error {
	if c.Storage.Kind != "badger" {
		return bad("storage.kind", `%q is not known; "badger" is`, c.Storage.Kind)
	}
	if c.Storage.Dir == "" {
		return bad("storage.dir", "is not set")
	}
	if c.TLS.ACME != nil {
		return bad("tls.acme", "is not supported by this version; set cert and key")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return bad("tls.cert", "and tls.key belong together: set both or neither")
	}
	if len(c.Queue.Retry) == 0 {
		return bad("queue.retry", "needs at least one interval")
	}
	for _, d := range c.Queue.Retry {
		if d <= 0 {
			return bad("queue.retry", "holds an interval that is not positive")
		}
	}
	if c.Queue.Expire <= 0 {
		return bad("queue.expire", "is not positive")
	}
	if c.Delivery.Port < 1 || c.Delivery.Port > 65535 {
		return bad("delivery.port", "%d is not a port", c.Delivery.Port)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		return bad("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		return bad("log.format", "%q is neither json nor text", c.Log.Format)
	}
	if err := c.validateHops(); err != nil {
		return err
	}
	var err error
	if c.Web.Secret, err = c.secret(c.Web.Token); err != nil {
		return bad("web.token", "%v", err)
	}
	if n := len(c.Web.Secret); c.Web.Token != nil && n < minToken {
		return bad("web.token", "has %d characters, of at least %d: whoever guesses it rules the server", n, minToken)
	}
	return c.validateListeners()
}

func (c *Config) validateHops() error {
	if c.Relay != nil {
		if _, _, err := net.SplitHostPort(c.Relay.Host); err != nil {
			return bad("relay.host", "%q is not host:port", c.Relay.Host)
		}
		var err error
		if c.Relay.Secret, err = c.secret(c.Relay.Password); err != nil {
			return bad("relay.password", "%v", err)
		}
	}
	for name, h := range c.NextHops {
		if _, _, err := net.SplitHostPort(h.Host); err != nil {
			return bad("nexthop."+name+".host", "%q is not host:port", h.Host)
		}
		if !slices.Contains([]string{"", "smtp", "lmtp"}, h.Protocol) {
			return bad("nexthop."+name+".protocol", "%q is neither smtp nor lmtp", h.Protocol)
		}
		if !slices.Contains([]string{"", "may", "verify", "none"}, h.TLS) {
			return bad("nexthop."+name+".tls", "%q is none of may, verify, none", h.TLS)
		}
		var err error
		if h.Secret, err = c.secret(h.Password); err != nil {
			return bad("nexthop."+name+".password", "%v", err)
		}
		c.NextHops[name] = h
	}
	for name, m := range c.Milters {
		if _, _, err := net.SplitHostPort(m.Addr); err != nil && m.Network() == "tcp" {
			return bad("milter."+name+".addr", "%q is neither host:port nor the absolute path of a socket", m.Addr)
		}
		if m.Timeout < 0 {
			return bad("milter."+name+".timeout", "is negative")
		}
	}
	if h := notHostPort(c.Scripts.HTTP); h != "" {
		return bad("scripts.http", notHost, h)
	}
	return c.validateBundles()
}

const notHost = `%q is not host:port, or "host:port private"`

// notHostPort returns the first element that is not host:port, or host:port and
// " private",
// or "".
func notHostPort(list []string) string {
	for _, h := range list {
		at, word, said := strings.Cut(strings.TrimSpace(h), " ")
		host, port, err := net.SplitHostPort(at)
		if err != nil || host == "" || port == "" || said && strings.TrimSpace(word) != "private" {
			return h
		}
	}
	return ""
}

func (c *Config) validateBundles() error {
	for i := range c.Bundles {
		b := &c.Bundles[i]
		if h := notHostPort(b.HTTP); h != "" {
			return badIn("bundle", i, "http", notHost, h)
		}
		if b.AllowWeb != "" && b.AllowWeb != "plain" {
			return badIn("bundle", i, "allow_web", `%q is not "plain"`, b.AllowWeb)
		}
		if (b.Name == "") == (b.Path == "") {
			return badIn("bundle", i, "name", "or path must be set, and not both")
		}
		for n, d := range b.Domains {
			if err := envelope.CheckDomain(d); err != nil {
				return badIn("bundle", i, "domains", "%q: %v", d, err)
			}
			b.Domains[n] = strings.ToLower(d)
		}
		domains := make(map[string]map[string]any, len(b.Domain))
		for d, settings := range b.Domain {
			if err := envelope.CheckDomain(d); err != nil {
				return badIn("bundle", i, "domain", "%q: %v", d, err)
			}
			if _, twice := domains[strings.ToLower(d)]; twice {
				return badIn("bundle", i, "domain", "%q stands twice", d)
			}
			domains[strings.ToLower(d)] = settings
		}
		b.Domain = domains
		for name, s := range b.Secrets {
			if (s.File == "") == (s.Env == "") {
				return badIn("bundle", i, "secrets", `%s is not { file = "..." } or { env = "..." }`, name)
			}
		}
	}
	for publisher, keys := range c.Trust {
		if strings.TrimSpace(keys) == "" {
			return bad("trust."+publisher, "names no key")
		}
		for key := range strings.FieldsSeq(keys) {
			// A minisign public key: its algorithm, 8 octets of id, 32 of Ed25519.
			raw, err := base64.StdEncoding.DecodeString(key)
			if err != nil || len(raw) != 42 || string(raw[:2]) != "Ed" {
				return bad("trust."+publisher, "%q is not a minisign public key, which begins with RW", key)
			}
		}
		if strings.Trim(publisher, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || publisher == "" {
			return bad("trust."+publisher, "is not the name of a publisher: the first part of its bundles' names")
		}
	}
	return nil
}

var protocols = []string{"smtp", "submission", "lmtp", "pop3", "http"}

func (c *Config) validateListeners() error {
	names := map[string]bool{}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if !slices.Contains(protocols, l.Protocol) {
			return badIn("listener", i, "protocol", "%q is none of %s", l.Protocol, strings.Join(protocols, ", "))
		}
		if l.Name == "" {
			l.Name = l.Protocol + strconv.Itoa(i)
		}
		if names[l.Name] {
			return badIn("listener", i, "name", "%q is used twice", l.Name)
		}
		names[l.Name] = true
		if _, port, err := net.SplitHostPort(l.Addr); err != nil {
			return badIn("listener", i, "addr", "%q is not host:port", l.Addr)
		} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return badIn("listener", i, "addr", "%q is not a port", port)
		}
		if l.MaxSize == 0 {
			l.MaxSize = 50 << 20
		}
		if l.MaxConnections == 0 {
			l.MaxConnections = 2000
		}
		if err := c.validateTLS(i, l); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validateTLS(i int, l *Listener) error {
	if l.TLS == "" {
		l.TLS = "none"
		if c.TLS.Cert != "" && l.Protocol != "http" {
			l.TLS = "starttls"
		}
	}
	switch l.TLS {
	case "none":
		return nil
	case "starttls", "implicit":
	default:
		return badIn("listener", i, "tls", "%q is none of implicit, starttls, none", l.TLS)
	}
	if c.TLS.Cert == "" {
		return badIn("listener", i, "tls", "needs a certificate: set tls.cert and tls.key")
	}
	if l.Protocol == "http" && l.TLS == "starttls" {
		return badIn("listener", i, "tls", `"starttls" is not for http; use "implicit"`)
	}
	return nil
}

// IgnoredSettings names the settings of the file that this version takes but does not
// act on.
func (c *Config) IgnoredSettings() []string {
	var out []string
	add := func(set bool, name string) {
		if set {
			out = append(out, name)
		}
	}
	for _, l := range c.Listeners {
		add(len(l.ProxyFrom) > 0 && l.Protocol == "http", "listener."+l.Name+".proxy_from")
		add(len(l.XclientFrom) > 0 && (l.Protocol == "http" || l.Protocol == "pop3"), "listener."+l.Name+".xclient_from")
	}
	return out
}

// PrivateHost is the error for a name under http of [scripts], or of the nth
// [[bundle]] where that is not negative, that leads to a private network.
func (c *Config) PrivateHost(bundle int, host string) error {
	const text = "%q leads to addresses of private networks alone, and policies connect to public ones; where that is meant, write %q"
	err := bad("scripts.http", text, host, host+" private")
	if bundle >= 0 {
		err = badIn("bundle", bundle, "http", text, host, host+" private")
	}
	raw, _ := os.ReadFile(c.Path)
	return locate(c.Path, raw, err)
}

// CheckFiles looks whether the files that the settings name can be read. It
// changes nothing; errors wrap ErrConfig.
func (c *Config) CheckFiles() error {
	for key, path := range map[string]string{"tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key, "storage.key_file": c.Storage.KeyFile} {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			raw, _ := os.ReadFile(c.Path)
			return locate(c.Path, raw, bad(key, "cannot be read: %v", err))
		}
		f.Close()
	}
	return nil
}

// CheckScripts looks whether the folder of scripts can be read. A server starts
// without it, on the policies that it kept. Errors wrap ErrConfig.
func (c *Config) CheckScripts() error {
	if d := c.Scripts.Dir; d != "" {
		if st, err := os.Stat(d); err != nil || !st.IsDir() {
			raw, _ := os.ReadFile(c.Path)
			return locate(c.Path, raw, bad("scripts.dir", "%q is not a folder that can be read", d))
		}
	}
	return nil
}
