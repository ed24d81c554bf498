package main

import (
	"compress/gzip"
	"encoding/base64"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
)

// rejectForged refuses what fails DMARC.
const rejectForged = `
on("receive.data", function(session, tx, msg)
  if msg:subject() == "letter forged" and msg:auth().dmarc.result == "fail" then return reject(550, "5.7.1", "not of this domain") end
end)`

// dmarcZone names addresses for reports: other.test replaces its address by another one,
// out.test has not agreed, and the others cannot be used.
const dmarcZone = `
_dmarc.s.test. 60 IN TXT "v=DMARC1; p=reject; adkim=s; rua=mailto:agg@s.test,mailto:x@out.test," (
	"mailto:small@s.test!10,https://s.test/,mailto:y@other.test" )
s.test._report._dmarc.other.test. 60 IN TXT "v=DMARC1; rua=mailto:instead@other.test"
_dmarc.other.test. 60 IN TXT "v=DMARC1; p=none"
`

// TestAggregateReports: a domain that asks for reports gets one a day about mail in its
// name and what happened to it (RFC 9990), at addresses that agreed to that.
func TestAggregateReports(t *testing.T) {
	python := dkimpy(t)
	l := newForwardRig(t, "", map[string]string{"dmarc.lua": rejectForged})
	if err := l.dns.Add(dmarcZone); err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile(l.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	l.WriteFile(t, "carteiro.toml", string(settings)+"[dmarc]\nreports = \"dmarc@example.com\"\norganization = \"Us & Co\"\n")
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(36 * time.Hour)
	restart := func() { // at noon, so that the test lies within one day
		t.Helper()
		if status, err := l.Stop(syscall.SIGTERM); status != 0 || err != nil {
			t.Fatalf("the server ended with status %d, %v", status, err)
		}
		if err := l.Start("--test-clock"); err != nil {
			t.Fatal(err)
		}
		l.Ctl(t, "clock", "advance", time.Until(noon).Round(time.Second).String())
	}
	restart()
	testserver.PublishDKIM(t, l.Server, l.dns, "example.com")
	private, _ := l.authorKey("s.test")
	signed := signedBy(t, python, letterOf("1"), "s.test", private)
	l.Deliver(t, "s@s.test", "alice@example.com", signed)
	l.Deliver(t, "", "alice@example.com", signed)
	restart() // what was counted stays
	l.Deliver(t, "s@s.test", "bob@example.com", signed)
	forged := strings.Replace(letterOf("forged"), "Subject:", "X-Mark: <&>\r\nSubject:", 1)
	if reply := l.Send(t, "evil@other.test", "alice@example.com", forged); !strings.HasPrefix(reply, "550") {
		t.Fatalf("forged mail: %s", reply)
	}
	l.Deliver(t, "evil@other.test", "alice@example.com", letterOf("trusted"))
	l.dns.Fail("s.test._report._dmarc.other.test", "SERVFAIL") // who agreed is not known: all wait
	l.Ctl(t, "clock", "advance", "26h")
	testserver.Until(t, "a look-up that fails", func() bool { return strings.Contains(l.Log(), "dmarc report waits") })
	l.dns.Fail("s.test._report._dmarc.other.test", "NOERROR")
	l.Ctl(t, "clock", "advance", "1h")
	mine, theirs := l.s.Wait(1), l.other.Wait(1)
	if len(l.out.All()) != 0 || len(l.s.All()) != 1 || len(l.other.All()) != 1 {
		t.Errorf("reports went to %+v, %+v and %+v", l.s.All(), l.other.All(), l.out.All())
	}
	if mine.Sender != "dmarc@example.com" || len(mine.To) != 1 || mine.To[0] != "agg@s.test" || len(theirs.To) != 1 ||
		theirs.To[0] != "instead@other.test" {
		t.Errorf("report from %s to %s and %s", mine.Sender, mine.RcptArgs, theirs.RcptArgs)
	}
	testserver.Contains(t, strings.ReplaceAll(strings.ReplaceAll(mine.Text, "\r\n\t", " "), "\r\n ", " "),
		"From: dmarc@example.com\r\n", "To: agg@s.test, instead@other.test\r\n",
		"Subject: Report Domain: s.test Submitter: mx.example.com Report-ID: <",
		"Auto-Submitted: auto-generated\r\n", "DKIM-Signature: v=1;", "5 messages in the name of s.test")
	if res := testserver.Verify(t, l.dns, mine.Text); res.BestDKIM().Result != "pass" || res.BestDKIM().Domain != "example.com" {
		t.Errorf("signature of the report: %+v", res.DKIM)
	}
	report := unpacked(t, mine.Text)
	flat := strings.Join(strings.Fields(report), "")
	dkim := "<dkim><domain>s.test</domain><selector>one</selector><result>pass</result></dkim>"
	testserver.Contains(t, flat, `<feedbackxmlns="urn:ietf:params:xml:ns:dmarc-2.0"><version>1.0</version>`,
		"<org_name>Us&amp;Co</org_name><email>dmarc@example.com</email>",
		"<policy_published><domain>s.test</domain><discovery_method>treewalk</discovery_method><p>reject</p>"+
			"<sp>reject</sp><np>reject</np><fo>0</fo><adkim>s</adkim><aspf>r</aspf><testing>n</testing>",
		"<row><source_ip>127.0.0.1</source_ip><count>2</count>"+
			"<policy_evaluated><disposition>pass</disposition><dkim>pass</dkim><spf>pass</spf></policy_evaluated></row>"+
			"<identifiers><header_from>s.test</header_from><envelope_from>s.test</envelope_from></identifiers>"+
			"<auth_results>"+dkim+"<spf><domain>s.test</domain><scope>mfrom</scope><result>pass</result></spf>",
		"<count>1</count><policy_evaluated><disposition>pass</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated>",
		"<count>1</count><policy_evaluated><disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>"+
			"<identifiers><header_from>s.test</header_from><envelope_from>other.test</envelope_from></identifiers>",
		"<count>1</count><policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf>"+
			"<reason><type>local_policy</type></reason></policy_evaluated>")
	if n := strings.Count(flat, "<record>"); n != 4 {
		t.Errorf("%d records instead of 4:\n%s", n, report)
	}
	l.Ctl(t, "clock", "advance", "48h") // nothing arrived meanwhile, and no day is told twice
	l.WaitQueueEmpty(t)
	if n := len(l.s.All()); n != 1 {
		t.Errorf("%d reports about one day", n)
	}
}

// unpacked is the text of the report in a message.
func unpacked(t *testing.T, raw string) string {
	t.Helper()
	_, rest, _ := strings.Cut(raw, "Content-Type: application/gzip\r\n")
	fields, rest, _ := strings.Cut(rest, "\r\n\r\n")
	testserver.Contains(t, fields, `filename="mx.example.com!s.test!`, `.xml.gz"`)
	text, _, _ := strings.Cut(rest, "--")
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(strings.ReplaceAll(text, "\r\n", ""))))
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
