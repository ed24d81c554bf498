package rules

// words are what every layer may use: layer 0, with the standard library
// alone below it.
const (
	mail  = "core/mail"
	clock = "core/clock"
)

// layers says which packages of the module each package may import. cmd may
// import everything but cmd.
var layers = map[string][]string{
	// 0: words
	mail:  {},
	clock: {},

	// 1: mechanisms
	"core/mime":      {mail},
	"core/dns":       {mail},
	"core/journal":   {mail},
	"core/config":    {mail},
	"core/netline":   {mail, clock},
	"core/store":     {mail, clock},
	"core/auth":      {mail, clock, "core/store"},
	"core/groups":    {mail, clock, "core/store"},
	"core/audit":     {mail, "core/store"},
	"core/verify":    {mail, clock, "core/dns", "core/mime"},
	"core/crypt":     {mail, clock, "core/mime", "core/store"},
	"core/tlspolicy": {mail, clock, "core/dns"},
	"core/milter":    {mail},
	"core/spam":      {mail, clock, "core/mime", "core/store"},
	"core/srs":       {mail, "core/store"},
	"core/qrcode":    {},
	"core/dmarc":     {mail, "core/mime", "core/store"},

	// 2: the contract of policies
	"hooks":   {mail, clock, "core/mime"},
	"plugins": {mail, "core/config", "hooks"},
	"scripts": {},

	// 3: protocols, backends, the engine; never each other
	"core/smtpin":            {mail, clock, "core/netline"},
	"core/smtpout":           {mail, clock, "core/netline", "core/dns", "core/tlspolicy"},
	"core/pop3":              {mail, clock, "core/netline", "core/store"},
	"core/store/badgerstore": {mail, clock, "core/store"},
	"core/store/natsstore":   {mail, clock, "core/store"},
	"hooks/lua":              {mail, clock, "core/mime", "core/dns", "core/milter", "core/groups", "core/audit", "core/crypt", "core/spam", "core/qrcode", "core/srs", "core/store", "hooks"},

	"core/policies": {mail, clock, "core/store", "core/journal", "hooks"},

	// 4: the pipeline; no protocol, no Lua, no Badger
	"core": {mail, clock, "core/mime", "core/dns", "core/journal", "core/auth", "core/groups", "core/spam", "core/verify", "core/dmarc", "core/crypt", "core/tlspolicy", "core/srs", "core/store", "hooks"},

	// 5: what operators ask
	"core/admin": {mail, clock, "core", "core/mime", "core/dns", "core/journal", "core/config", "core/auth", "core/groups", "core/audit", "core/spam", "core/verify", "core/crypt",
		"core/tlspolicy", "core/srs", "core/store", "core/policies", "hooks", "plugins"},

	"core/lab": {mail, clock, "core", "core/mime", "core/dns", "core/milter", "core/journal", "core/config", "core/auth", "core/crypt", "core/crypt/crypttest", "core/spam", "core/srs", "core/store", "core/store/badgerstore",
		"hooks", "hooks/lua"},

	// For tests; dnstest serves the demo too, crypttest the lab.
	"core/dialogtest":      {},
	"core/crypt/crypttest": {mail, "core/crypt"},
	"core/dns/dnstest":     {mail},
	"core/store/storetest": {mail, clock, "core/store"},
	"hooks/hookstest":      {mail, clock, "core/dns", "core/milter", "core/mime", "core/crypt", "core/spam", "core/srs", "core/store", "hooks", "hooks/lua"},
	"core/internal/rules":  {},

	// Programs for .ci.
	"core/internal/changelog": {},
	"core/internal/compare":   {},
	"core/internal/shape":     {},
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
	{module: "github.com/ProtonMail/go-crypto", packages: []string{"core/crypt", "core/crypt/crypttest"}},
	{module: "github.com/klauspost/compress", packages: []string{"plugins"}},
	{module: "github.com/dgraph-io/badger/v4", packages: []string{"core/store/badgerstore", "cmd/carteiro tests"}},
	{module: "github.com/emersion/go-message", packages: []string{"core/mime"}},
	{module: "github.com/emersion/go-milter", packages: []string{"core/milter"}},
	{module: "github.com/emersion/go-msgauth", packages: []string{"core/verify tests"}},
	{module: "github.com/emersion/go-smtp", packages: []string{"core/smtpin tests", "core/smtpout tests"}},
	{module: "github.com/emersion/go-sasl", packages: []string{"core/smtpout", "core/smtpin tests"}},
	{module: "github.com/makiuchi-d/gozxing", packages: []string{"core/qrcode"}},
	{module: "github.com/miekg/dns", packages: []string{"core/dns", "core/dns/dnstest"}},
	{module: "github.com/pelletier/go-toml/v2", packages: []string{"core/config", "plugins", "hooks/lua"}},
	{module: "github.com/prometheus/client_golang", packages: []string{"core/journal", "core/admin"}},
	{module: "github.com/spf13/cobra", packages: []string{"cmd/carteiro"}},
	{module: "github.com/smallstep/pkcs7", packages: []string{"core/crypt", "core/crypt/crypttest"}},
	{module: "github.com/xdg-go/scram", packages: []string{"core/auth", "core/smtpin tests", "core/pop3 tests"}},
	{module: "github.com/yuin/gopher-lua", packages: []string{"hooks/lua"}},
	{module: "github.com/ulikunitz/xz", packages: []string{"cmd/carteiro"}},
	{module: "golang.org/x/crypto", packages: []string{"core/auth"}},
	{module: "golang.org/x/net/html", packages: []string{"core/spam", "hooks/lua"}},
	{module: "golang.org/x/net/idna", packages: []string{"core/dns", "core/smtpout"}},
	{module: "golang.org/x/net/publicsuffix", packages: []string{"hooks/lua"}},
	{module: "golang.org/x/sys", packages: []string{"core/netline", "core/store/badgerstore"}},
	{module: "golang.org/x/sync", packages: []string{"all"}},

	{module: "github.com/rogpeppe/go-internal/diff", packages: []string{"core/policies"}},
	{module: "github.com/rogpeppe/go-internal", tests: true},
	{module: "go.uber.org/goleak", tests: true},
}
