package smtpin

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carteiro/core/internal/dialogtest"
)

// listeners returns the settings that dialogues run against: the first word of a
// file's name picks one.
func listeners() map[string]Config {
	return map[string]Config{
		"smtp":       {Protocol: SMTP, TLS: serverTLS(), MaxSize: 100, MaxRecipients: 3, MaxErrors: 40},
		"plain":      {Protocol: SMTP, MaxErrors: 3},
		"submission": {Protocol: Submission, TLS: serverTLS(), MaxHold: time.Hour, MaxErrors: 40},
		"smtps":      {Protocol: Submission, TLS: serverTLS(), Implicit: true},
		"insecure":   {Protocol: Submission, InsecureAuth: true, MaxErrors: 40},
		"lmtp":       {Protocol: LMTP},
		"hostile":    {Protocol: SMTP, TLS: serverTLS(), MaxErrors: 500},
		"junk":       {Protocol: SMTP, MaxNonMail: 3},
		"xclient": {Protocol: SMTP, MaxErrors: 40, InsecureAuth: true,
			XclientFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, RelayFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		"normalise": {Protocol: SMTP, BareNewlines: Normalise},
	}
}

func TestDialogues(t *testing.T) {
	dialogtest.PlayDir(t, "testdata", func(t *testing.T, file string) dialogtest.Server {
		name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".dialog"), "-")
		cfg, found := listeners()[name]
		if !found {
			t.Fatalf("no settings for %q", name)
		}
		l := serve(t, cfg)
		return dialogtest.Server{Addr: l.addr, TLS: clientTLS()}
	})
}
