package pop3

import (
	"net"
	"os/exec"
	"strings"
	"testing"
)

const poplibScript = `
import poplib, ssl, sys
p = poplib.POP3("127.0.0.1", int(sys.argv[1]), timeout=5)
ctx = ssl.create_default_context()
ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
assert "STLS" in p.capa()
p.stls(ctx)
assert p.capa()["SASL"] == ["PLAIN", "LOGIN"], p.capa()
p.user("mrose")
p.pass_("tan staaf")
assert p.stat() == (2, 57), p.stat()
assert p.list()[1] == [b"1 23", b"2 34"]
assert p.uidl()[1] == [b"1 7.1", b"2 7.2"]
assert p.retr(2)[1] == [b"Subject: two", b"", b".dot", b"..", b".", b"end"], p.retr(2)
assert p.top(2, 1)[1] == [b"Subject: two", b"", b".dot"], p.top(2, 1)
p.dele(1)
p.quit()
p = poplib.POP3("127.0.0.1", int(sys.argv[1]), timeout=5)
p.apop("mrose", "tanstaaf")
assert p.stat() == (1, 34), p.stat()
p.quit()
print("done")
`

// A client by others, Python's poplib, if it is installed.
func TestPoplib(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here")
	}
	d := serve(t, Config{TLS: serverTLS(), APOP: true})
	_, port, err := net.SplitHostPort(d.addr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, "-c", poplibScript, port).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "done" {
		t.Errorf("%v: %s", err, out)
	}
}
