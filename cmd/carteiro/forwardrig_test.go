package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/service/dns/dnsserver"
)

// forwardRig is a server with forwarding, and the servers of other domains, all
// at one port, at addresses of loopback.
type forwardRig struct {
	*testserver.Server
	t     testing.TB
	dns   *dnsserver.Server
	port  string
	out   *testserver.FakeMX // out.test
	other *testserver.FakeMX // other.test
	s     *testserver.FakeMX // s.test, where mail comes from
}

const forwardZone = `
out.test. 60 IN MX 10 mx.out.test.
mx.out.test. 60 IN A 127.0.0.2
other.test. 60 IN MX 10 mx.other.test.
mx.other.test. 60 IN A 127.0.0.3
s.test. 60 IN MX 10 mx.s.test.
s.test. 60 IN TXT "v=spf1 ip4:127.0.0.1 -all"
mx.s.test. 60 IN A 127.0.0.4
example.com. 60 IN MX 10 mx.ours.test.
fwd.test. 60 IN MX 10 mx.ours.test.
mx.ours.test. 60 IN A 127.0.0.5
two.test. 60 IN MX 10 mx.two.test.
mx.two.test. 60 IN A 127.0.0.6
`

func newForwardRig(t testing.TB, config string, scripts map[string]string) *forwardRig {
	t.Helper()
	l := &forwardRig{t: t}
	var err error
	if l.dns, err = dnsserver.Start(forwardZone); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.dns.Close)
	l.port = testserver.FreePort(t)
	l.out, l.other, l.s = testserver.NewFakeMX(t, "127.0.0.2:"+l.port), testserver.NewFakeMX(t, "127.0.0.3:"+l.port),
		testserver.NewFakeMX(t, "127.0.0.4:"+l.port)
	l.Server = l.newServer("127.0.0.5", config, scripts, "fwd.test")
	return l
}

// newServer is a server with the bundle for further domains, which the world
// reaches at ip.
func (l *forwardRig) newServer(ip, config string, scripts map[string]string, domains ...string) *testserver.Server {
	l.t.Helper()
	h := &testserver.Server{Dir: l.t.TempDir()}
	extra := fmt.Sprintf("[[listener]]\nname = \"world\"\nprotocol = \"smtp\"\naddr = \"%s:%s\"\n[[bundle]]\nname = \"carteiro/forward\"\n"+
		"config = { %s }\n[delivery]\nport = %s\nallow_private = true\n[dns]\nresolver = \"%s\"\n",
		ip, l.port, config, l.port, l.dns.Addr)
	if err := h.Build(l.t.Context(), extra); err != nil {
		l.t.Fatal(err)
	}
	for name, text := range scripts {
		h.WriteFile(l.t, filepath.Join("scripts", name), text)
	}
	h.StartFor(l.t, "--test-clock")
	for _, d := range domains {
		h.Ctl(l.t, "domain", "add", d)
	}
	return h
}

// setForward sets a forward whose targets have agreed.
func setForward(t testing.TB, h *testserver.Server, account, value string) {
	t.Helper()
	h.Ctl(t, "account", "set", account, "forward", value, "--confirmed")
}

// letterOf returns a message with the given id.
func letterOf(id string, fields ...string) string {
	return "From: Sam <s@s.test>\nTo: alice@example.com\nSubject: letter " + id +
		"\nDate: Wed, 25 Nov 2026 12:00:00 +0000\nMessage-ID: <" + id + "@s.test>\n" +
		strings.Join(append(fields, ""), "\n") + "\nhello\n.a line with a dot\n"
}

// authorKey makes a DKIM key, publishes it and returns the private one.
func (l *forwardRig) authorKey(domain string) (private, record string) {
	l.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		l.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		l.t.Fatal(err)
	}
	record = "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	if err := l.dns.Add(fmt.Sprintf("one._domainkey.%s. 60 IN TXT %q %q\n", domain, record[:200], record[200:])); err != nil {
		l.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})), record
}
