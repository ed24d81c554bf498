package hooks

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// Right is one thing that a bundle may do with messages.
type Right string

// The rights of a manifest's `message`.
const (
	HeadersRead   Right = "headers:read"   // header, subject, from, auth and the like
	BodyRead      Right = "body:read"      // text, parts, urls, find
	HeadersWrite  Right = "headers:write"  // fields other than the bundle's own, see OwnPrefix
	BodyWrite     Right = "body:write"     // part:replace and others; signatures.txt of the engine has who needs what
	RecipientsAdd Right = "recipients:add" // replace, copy_to, fork and others
)

// Rights returns all rights in the order of the documentation.
func Rights() []Right {
	return []Right{HeadersRead, BodyRead, HeadersWrite, BodyWrite, RecipientsAdd}
}

// modules are those of the contract; true: a bundle needs a grant for it. What
// only computes, and the log, is open to every bundle.
var modules = map[string]bool{
	"account": true, "addr": false, "base64": false, "cache": true, "crypt": true, "dns": true, "hash": false, "hex": false, "http": true,
	"json": false, "kv": true, "list": true, "log": false, "mail": true, "map": true, "math": false, "metrics": false, "milter": true,
	"rate": true, "re": false, "secrets": true, "server": false, "spam": true, "string": false, "table": false, "time": false, "toml": false,
	"uuid": false,
}

// Module reports whether the contract has a module of that name, and whether a
// bundle needs a grant for it. An engine may have fewer.
func Module(name string) (known, granted bool) {
	granted, known = modules[name]
	return known, granted
}

// Modules returns the names of the contract's modules, sorted.
func Modules() []string {
	return slices.Sorted(maps.Keys(modules))
}

// Rate is so many in a time; the zero Rate allows none.
type Rate struct {
	N   int
	Per time.Duration
}

// String returns the rate as manifests write it, "10/1m".
func (r Rate) String() string {
	per := r.Per.String()
	for _, unit := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(per, unit) {
			per = per[:len(per)-2]
		}
	}
	return fmt.Sprintf("%d/%s", r.N, per)
}

// Secret says where the text of a secret is: one of these is set.
type Secret struct {
	File string `json:",omitempty"`
	Env  string `json:",omitempty"`
	Text string `json:",omitempty"` // itself, in tests of bundles
}

// maxSecret bounds a secret's file, in octets.
const maxSecret = 64 << 10

// Read returns the secret without its line ends. It blocks on the file.
func (s Secret) Read() (string, error) {
	if s.Text != "" {
		return s.Text, nil
	}
	if s.Env != "" {
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("the environment has no %s", s.Env)
		}
		return v, nil
	}
	st, err := os.Stat(s.File)
	if err != nil {
		return "", err
	}
	if st.Size() > maxSecret || st.IsDir() {
		return "", fmt.Errorf("%s is not a file of at most %d octets", s.File, maxSecret)
	}
	b, err := os.ReadFile(s.File)
	return strings.TrimRight(string(b), "\r\n"), err
}

// Grants are what a bundle may do beyond computing. A source without them
// may do everything.
type Grants struct {
	Modules []string
	Hooks   []Point // that it may register at
	Message []Right
	Submit  Rate              // messages sent, for each domain
	Secrets map[string]Secret // by the name that it uses
	// Rights reach further than messages. nil: those of a generation that an
	// earlier version kept, when bundles had all of them.
	Rights []BundleRight `json:",omitzero"`
}

// BundleRight is a thing that bundles may do only where their manifest says so
// under `rights`: it reaches further than the messages that they are asked about.
type BundleRight string

// The rights of a bundle.
const (
	RightGrants      BundleRight = "grants"      // account.grant, account.revoke
	RightPasswords   BundleRight = "passwords"   // cred.password, cred.token
	RightCredentials BundleRight = "credentials" // Cookie and Authorization in req.headers
)

// BundleRights returns all of them in the order of the documentation.
func BundleRights() []BundleRight {
	return []BundleRight{RightGrants, RightPasswords, RightCredentials}
}

// HasRight reports whether the right is granted.
func (g *Grants) HasRight(r BundleRight) bool {
	return g == nil || g.Rights == nil || slices.Contains(g.Rights, r)
}

// HasModule reports whether the module may be used.
func (g *Grants) HasModule(name string) bool {
	if g == nil {
		return true
	}
	if _, needs := Module(name); !needs {
		return true
	}
	return slices.Contains(g.Modules, name)
}

// HasHook reports whether handlers may be registered at p.
func (g *Grants) HasHook(p Point) bool { return g == nil || slices.Contains(g.Hooks, p) }

// Has reports whether the right is granted.
func (g *Grants) Has(r Right) bool { return g == nil || slices.Contains(g.Message, r) }

// MaySubmit reports whether mail may be sent at all.
func (g *Grants) MaySubmit() bool { return g == nil || g.Submit.N > 0 }

// OwnPrefix returns what the names of a bundle's own header fields begin with:
// "X-Acme-Vacation-" for acme/vacation. It may write those without a grant.
func OwnPrefix(bundle string) string {
	var b strings.Builder
	b.WriteString("X-")
	up := true
	for _, c := range strings.ReplaceAll(bundle, "/", "-") + "-" {
		if up && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		b.WriteRune(c)
		up = c == '-'
	}
	return b.String()
}
