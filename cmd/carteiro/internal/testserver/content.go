package testserver

import (
	"io"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/service/dns"
	"carteiro/core/service/dns/dnsserver"
	"carteiro/core/service/verify"
)

// Header is a field of a message with LF for line ends, unfolded; several are
// joined by "; ".
func Header(text, name string) string {
	head, _, _ := strings.Cut(text, "\n\n")
	return strings.Join(mime.ParseHeader([]byte(head+"\n")).All(name), "; ")
}

// Body is what follows the header section of a message with LF for line ends.
func Body(text string) string {
	_, body, _ := strings.Cut(text, "\n\n")
	return body
}

// Verify is what a server at 127.0.0.1 that asks a DNS finds out about a
// message, whatever its line ends are.
func Verify(t testing.TB, zone *dnsserver.Server, text string) *envelope.AuthResults {
	t.Helper()
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	results, err := verify.Check(t.Context(), dns.New(dns.Options{Servers: []string{zone.Addr}}), verify.Message{
		Sender: "x@x.test",
		Header: mime.ParseHeader([]byte(head + "\r\n")),
		Body:   func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return results
}
