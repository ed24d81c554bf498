package rules

// level is a group of packages that may import only packages of the levels
// below it.
type level struct {
	name     string
	packages map[string][]string // each with the packages of the module that it imports
}

// What nearly every package uses.
const (
	envelope = "core/message/envelope"
	mime     = "core/message/mime"
	clock    = "core/ops/clock"
	store    = "core/store"
)

// levels lists every package of the module but cmd, which may import all of
// them and which nobody imports. Arrows run downward only: policies' contract
// (hooks) lies below the pipeline that asks the policies, and above the words of
// core/message that it speaks in. A permission that no file uses is an error.
var levels = []level{
	{"words", map[string][]string{
		envelope:              {},
		clock:                 {},
		"core/message/qrcode": {},
		"core/service/dns":    {},
		"core/ops/telemetry":  {},
	}},
	{"formats", map[string][]string{
		mime:                    {envelope},
		store:                   {envelope},
		"core/ops/config":       {envelope},
		"core/protocol/netline": {envelope},
		"core/protocol/milter":  {envelope},
	}},
	{"services", map[string][]string{
		"core/message/crypt":   {envelope, clock, mime, store},
		"core/service/audit":   {envelope, store},
		"core/service/auth":    {envelope, clock, store},
		"core/service/dmarc":   {envelope, mime, store},
		"core/service/forward": {envelope, mime},
		"core/service/lists":   {envelope, store},
		"core/service/spam":    {envelope, clock, mime, store},
		"core/service/srs":     {envelope, store},
		"core/service/verify":  {envelope, mime, "core/service/dns"},
	}},
	{"contract of policies", map[string][]string{
		"hooks":   {envelope, mime, "core/service/forward"},
		"scripts": {},
	}},
	{"types of the Lua API", map[string][]string{
		"hooks/lua/signature": {"hooks"},
	}},
	{"patterns of Lua", map[string][]string{
		"hooks/lua/pattern": {},
	}},
	{"the text of policies: what is read and compiled, never run", map[string][]string{
		"hooks/lua/source": {"hooks/lua/pattern"},
	}},
	{"protocols, backends, engines; never each other", map[string][]string{
		"core/protocol/smtpin":   {envelope, "core/protocol/netline"},
		"core/protocol/smtpout":  {envelope, "core/protocol/netline", "core/service/dns"},
		"core/protocol/pop3":     {envelope, "core/protocol/netline", store},
		"core/store/badgerstore": {envelope, clock, store},
		"core/ops/generations":   {clock, store, "core/ops/telemetry", "hooks"},
		"plugins":                {"core/ops/config", "hooks"},
		"hooks/lua": {envelope, clock, mime, store, "core/message/crypt", "core/message/qrcode", "core/protocol/milter", "core/service/audit",
			"core/service/dns", "core/service/lists", "core/service/spam", "core/service/srs", "hooks", "hooks/lua/pattern", "hooks/lua/signature",
			"hooks/lua/source"},
	}},
	{"the pipeline: no protocol, no Lua, no Badger", map[string][]string{
		"core": {envelope, clock, mime, store, "core/message/crypt", "core/ops/telemetry", "core/service/auth", "core/service/dmarc",
			"core/service/dns", "core/service/lists", "core/service/spam", "core/service/srs", "core/service/verify", "hooks"},
	}},
	{"what operators use", map[string][]string{
		"core/ops/admin": {envelope, clock, store, "core", "core/message/crypt", "core/ops/config", "core/ops/generations", "core/ops/telemetry",
			"core/service/audit", "core/service/auth", "core/service/spam", "core/service/srs", "hooks"},
		"core/ops/policytest": {envelope, clock, mime, store, "core", "core/message/crypt", "core/ops/policytest/keys", "core/ops/config",
			"core/ops/telemetry", "core/protocol/milter", "core/service/auth", "core/service/dns", "core/service/spam", "core/service/srs",
			"core/store/badgerstore", "hooks", "hooks/lua"},
	}},
}

// aside are packages that serve tests, the demo and .ci, beside the levels.
var aside = map[string][]string{
	"core/service/dns/dnsserver": {},
	"core/ops/policytest/keys":   {envelope, "core/message/crypt"},
	"core/store/storetest":       {envelope, clock, store},
	"hooks/hookstest": {envelope, clock, mime, store, "core/protocol/milter", "core/service/dns", "core/service/spam", "core/service/srs", "hooks",
		"hooks/lua"},
	"core/internal/rules":      {},
	"core/internal/dialogtest": {},
	"core/internal/changelog":  {},
	"core/internal/compare":    {},
	"core/internal/shape":      {},
}

// permissions are what one package may import; known is false for a package
// that has no line above.
func permissions(pkg string) (allowed []string, known bool) {
	for _, l := range levels {
		if allowed, known = l.packages[pkg]; known {
			return allowed, true
		}
	}
	allowed, known = aside[pkg]
	return allowed, known
}

// home is where a dependency may be imported; "PACKAGE tests" allows it to
// that package's tests, tests to all of them.
type home struct {
	module   string
	packages []string
	tests    bool
}

// homes lists all dependencies; core/README.md says why each is there. The
// first that fits counts.
var homes = []home{
	{module: "aead.dev/minisign", packages: []string{"plugins"}},
	{module: "github.com/Masterminds/semver/v3", packages: []string{"plugins"}},
	{module: "github.com/ProtonMail/go-crypto", packages: []string{"core/message/crypt", "core/ops/policytest/keys"}},
	{module: "github.com/klauspost/compress", packages: []string{"plugins"}},
	{module: "github.com/dgraph-io/badger/v4", packages: []string{"core/store/badgerstore", "cmd/carteiro tests"}},
	{module: "github.com/emersion/go-message", packages: []string{"core/message/mime"}},
	{module: "github.com/emersion/go-milter", packages: []string{"core/protocol/milter"}},
	{module: "github.com/emersion/go-msgauth", packages: []string{"core/service/verify tests"}},
	{module: "github.com/emersion/go-smtp", packages: []string{"core/protocol/smtpin tests", "core/protocol/smtpout tests"}},
	{module: "github.com/emersion/go-sasl", packages: []string{"core/protocol/smtpout", "core/protocol/smtpin tests"}},
	{module: "github.com/makiuchi-d/gozxing", packages: []string{"core/message/qrcode"}},
	{module: "github.com/miekg/dns", packages: []string{"core/service/dns", "core/service/dns/dnsserver"}},
	{module: "github.com/pelletier/go-toml/v2", packages: []string{"core/ops/config", "plugins", "hooks/lua"}},
	{module: "github.com/prometheus/client_golang", packages: []string{"core/ops/telemetry", "core/ops/admin"}},
	{module: "github.com/spf13/cobra", packages: []string{"cmd/carteiro"}},
	{module: "github.com/smallstep/pkcs7", packages: []string{"core/message/crypt", "core/ops/policytest/keys"}},
	{module: "github.com/xdg-go/scram", packages: []string{"core/service/auth", "core/protocol/smtpin tests", "core/protocol/pop3 tests"}},
	{module: "github.com/yuin/gopher-lua", packages: []string{"hooks/lua", "hooks/lua/source"}},
	{module: "github.com/ulikunitz/xz", packages: []string{"cmd/carteiro"}},
	{module: "golang.org/x/crypto", packages: []string{"core/service/auth"}},
	{module: "golang.org/x/net/html", packages: []string{"core/service/spam", "hooks/lua"}},
	{module: "golang.org/x/net/idna", packages: []string{"core/service/dns", "core/protocol/smtpout"}},
	{module: "golang.org/x/net/publicsuffix", packages: []string{"hooks/lua"}},
	{module: "golang.org/x/sys", packages: []string{"core/protocol/netline", "core/store/badgerstore"}},
	{module: "golang.org/x/sync", packages: []string{"all"}},

	{module: "github.com/rogpeppe/go-internal/diff", packages: []string{"core/ops/generations"}},
	{module: "github.com/rogpeppe/go-internal", tests: true},
	{module: "go.uber.org/goleak", tests: true},
}
