package rules

// level is a group of packages that may import only packages of the levels
// below it.
type level struct {
	name     string
	packages map[string][]string // each with the packages of the module that it imports
}

// What nearly every package uses.
const (
	clock     = "core/ops/clock"
	dsn       = "core/message/dsn"
	envelope  = "core/message/envelope"
	log       = "core/ops/telemetry"
	mime      = "core/message/mime"
	panics    = "core/internal/panics"
	printable = "core/message/printable"
	sasl      = "core/protocol/sasl"
	store     = "core/store"
)

// levels lists every package of the module but those of cmd, which may import
// all of them: a command and its internal packages. Nobody else imports them. Arrows run downward only: policies' contract
// (hooks) lies below the pipeline that asks the policies, and above the words of
// core/message that it speaks in. A permission that no file uses is an error.
var levels = []level{
	{"words", map[string][]string{
		envelope:              {},
		printable:             {},
		"core/message/qrcode": {},
		clock:                 {},
		panics:                {},
		"core/service/dns":    {},
		"hooks/lua/pattern":   {},
	}},
	{"formats", map[string][]string{
		mime:                    {envelope, printable},
		store:                   {envelope},
		"core/ops/config":       {envelope},
		log:                     {printable},
		"core/protocol/netline": {envelope, printable},
		"core/protocol/milter":  {envelope},
		sasl:                    {envelope, printable},
	}},
	{"services", map[string][]string{
		"core/service/forward": {envelope, mime},
		dsn:                    {envelope, mime, printable},
		"core/message/crypt":   {envelope, mime, clock, store},
		"core/service/audit":   {envelope, store},
		"core/service/auth":    {envelope, clock, sasl, store},
		"core/service/lists":   {envelope, store},
		"core/service/spam":    {envelope, mime, clock, store},
		"core/service/srs":     {envelope, store},
		"core/service/verify":  {envelope, mime, "core/service/dns"},
	}},
	{"services on services", map[string][]string{
		"core/service/dmarc": {panics, envelope, mime, clock, log, store, "core/service/verify"},
	}},
	{"contract of policies", map[string][]string{
		"hooks":   {envelope, mime, "core/service/forward"},
		"scripts": {},
	}},
	{"parts of the engine", map[string][]string{
		"hooks/lua/source":    {"hooks/lua/pattern"},
		"hooks/lua/signature": {"hooks"},
	}},
	{"protocols, backends, engines; never each other", map[string][]string{
		"core/protocol/smtpin":   {envelope, printable, sasl, "core/protocol/netline"},
		"core/protocol/smtpout":  {envelope, printable, "core/service/dns"},
		"core/protocol/pop3":     {envelope, printable, sasl, store, "core/protocol/netline"},
		"core/protocol/httpin":   {"hooks"},
		"core/store/badgerstore": {envelope, mime, clock, store},
		"core/ops/generations":   {clock, log, store, "hooks"},
		"plugins":                {"core/ops/config", "hooks"},
		"hooks/lua": {
			dsn, envelope, mime, clock, store, "core/message/crypt", "core/message/qrcode", "core/protocol/milter", "core/service/audit",
			"core/service/dns", "core/service/lists", "core/service/spam", "core/service/srs", "hooks", "hooks/lua/pattern",
			"hooks/lua/signature", "hooks/lua/source",
		},
	}},
	// The pipeline: no protocol but the logins of SASL, no Lua, no Badger.
	{"stages that call no other", map[string][]string{
		"core/pipeline/queue": {envelope, clock, log, store},
		"core/pipeline/trail": {envelope, printable, log},
	}},
	{"events and policies beside the mail", map[string][]string{
		"core/pipeline/events":    {panics, envelope, clock, log, store, "core/pipeline/trail", "core/service/spam", "hooks"},
		"core/pipeline/policyrun": {panics, envelope, clock, log, store, "core/pipeline/trail", "core/service/auth", "hooks"},
	}},
	{"the unit of work", map[string][]string{
		"core/pipeline/commit": {envelope, store, "core/pipeline/events", "core/service/lists", "hooks"},
	}},
	{"into the queue", map[string][]string{
		"core/pipeline/intake": {
			panics, dsn, envelope, mime, clock, log, store, "core/message/crypt", "core/pipeline/commit", "core/pipeline/events",
			"core/pipeline/trail", "core/service/auth", "core/service/srs", "core/service/verify", "hooks",
		},
	}},
	{"from clients, and to mailboxes and next hops", map[string][]string{
		"core/pipeline/receive": {
			panics, envelope, mime, clock, log, sasl, store, "core/pipeline/commit", "core/pipeline/events", "core/pipeline/intake",
			"core/pipeline/trail", "core/service/auth", "core/service/dmarc", "core/service/verify", "hooks",
		},
		"core/pipeline/deliver": {
			panics, envelope, mime, printable, clock, log, store, "core/pipeline/commit", "core/pipeline/events", "core/pipeline/intake",
			"core/pipeline/trail", "core/service/auth", "core/service/dns", "hooks",
		},
	}},
	{"operators", map[string][]string{
		"core/pipeline/operate": {
			panics, envelope, clock, log, store, "core/pipeline/commit", "core/pipeline/deliver", "core/pipeline/intake",
			"core/pipeline/queue", "core/service/lists",
		},
	}},
	{"the wiring of the pipeline", map[string][]string{
		"core": {
			envelope, clock, log, store, "core/pipeline/commit", "core/pipeline/deliver", "core/pipeline/events", "core/pipeline/intake",
			"core/pipeline/operate", "core/pipeline/policyrun", "core/pipeline/queue", "core/pipeline/receive", "core/service/auth",
			"core/service/dmarc", "core/service/srs", "core/service/verify", "hooks",
		},
		"core/pipeline": {},
	}},
	{"what operators use", map[string][]string{
		"core/ops/admin": {
			envelope, clock, log, store, "core", "core/message/crypt", "core/ops/config", "core/ops/generations", "core/pipeline/events",
			"core/pipeline/operate", "core/pipeline/policyrun", "core/protocol/httpin", "core/service/audit", "core/service/auth",
			"core/service/spam", "core/service/srs", "hooks",
		},
		"core/ops/policytest": {
			envelope, mime, clock, log, store, "core", "core/message/crypt", "core/ops/config", "core/ops/policytest/keys",
			"core/protocol/milter", "core/service/auth", "core/service/dns", "core/service/spam", "core/service/srs",
			"core/store/badgerstore", "hooks", "hooks/lua",
		},
	}},
}

// aside are packages that serve tests, the demo and .ci, beside the levels.
var aside = map[string][]string{
	"core/internal/changelog":    {},
	"core/internal/compare":      {},
	"core/internal/dialogtest":   {sasl},
	"core/internal/rules":        {},
	"core/internal/shape":        {},
	"core/internal/testkit":      {},
	"core/ops/policytest/keys":   {envelope, "core/message/crypt"},
	"core/service/dns/dnsserver": {},
	"core/store/storetest":       {envelope, clock, store},
	"hooks/hookstest": {
		envelope, mime, clock, store, "core/protocol/milter", "core/service/dns", "core/service/spam", "core/service/srs", "hooks",
		"hooks/lua",
	},
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
	{module: "github.com/xdg-go/scram", packages: []string{sasl, "core/protocol/smtpin tests", "core/protocol/pop3 tests"}},
	{module: "github.com/yuin/gopher-lua", packages: []string{"hooks/lua", "hooks/lua/source"}},
	{module: "github.com/ulikunitz/xz", packages: []string{"cmd/carteiro/internal/importer"}},
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
