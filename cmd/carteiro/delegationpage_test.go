package main

import (
	"regexp"
	"strings"
	"testing"

	"carteiro/cmd/carteiro/internal/testserver"
)

// A browser, as far as a form needs one: curl with somebody's password.
type browser struct {
	l    *bundleRig
	curl string
	user string
}

// open fetches a page, or posts a form to it, and returns status and text.
func (b browser) open(path string, form ...string) (status, text string) {
	b.l.t.Helper()
	args := []string{"-u", b.user + ":" + testserver.Password}
	if len(form) > 0 {
		args = append(args, "-H", "Origin: null") // as a page in a sandbox sends it
	}
	for _, f := range form {
		args = append(args, "--data-urlencode", f)
	}
	return httpByCurl(b.l.t, b.curl, append(args, "http://"+b.l.Addr("web")+path)...)
}

var hiddenField = regexp.MustCompile(`name="(\w+)" value="([0-9a-f]+)"`)

// field is a hidden field of a page.
func (b browser) field(page, name string) string {
	b.l.t.Helper()
	for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
		if m[1] == name {
			return name + "=" + m[2]
		}
	}
	b.l.t.Fatalf("no field %s in\n%s", name, page)
	return ""
}

// TestDelegationInvited: an owner invites a delegate on the page, the delegate accepts on
// the page in the letter, and has the right until it is revoked.
func TestDelegationInvited(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	l := newBundleRig(t, "[[bundle]]\nname = \"carteiro/delegate\"\nconfig = { owners_grant = true }\n")
	boss, assistant := browser{l, curl, alice}, browser{l, curl, bob}
	status, front := boss.open("/b/delegate/")
	if status != "200" {
		t.Fatalf("%s\n%s", status, front)
	}
	sign := boss.field(front, "sign")
	if status, page := boss.open("/b/delegate/grant", "delegate="+bob, "right=send-as"); status != "403" {
		t.Errorf("a form of others: %s\n%s", status, page)
	}
	if status, page := boss.open("/b/delegate/grant", sign, "delegate="+bob, "right=send-as", "until="); status != "202" {
		t.Fatalf("%s\n%s", status, page)
	}
	letter := strings.ReplaceAll(l.TakeMail(l.t, bob, 1)[0], "=\n", "")
	_, token, _ := strings.Cut(strings.ReplaceAll(letter, "=3D", "="), "/b/delegate/accept?token=")
	token, _, _ = strings.Cut(token, "\n")
	l.refused(alice, noteOf(alice, "x@s.test"), "550 5.7.1")

	status, page := assistant.open("/b/delegate/accept?token=" + token)
	if status != "200" || !strings.Contains(page, alice+" asks you") {
		t.Fatalf("%s\n%s", status, page)
	}
	l.refused(alice, noteOf(alice, "x@s.test"), "550 5.7.1") // to look at it is no yes
	if status, page := boss.open("/b/delegate/accept", sign, "token="+token); status != "404" {
		t.Errorf("the owner accepts: %s\n%s", status, page)
	}
	if status, page = assistant.open("/b/delegate/accept", assistant.field(page, "sign"), "token="+token); status != "200" {
		t.Fatalf("%s\n%s", status, page)
	}
	checkField(t, l.sent(alice, noteOf(alice, "x@s.test")), "Sender", "")
	if got := l.audit(alice); len(got) != 2 || got[0].Action != "send" || got[1].Action != "accept" || got[1].Who != bob ||
		got[1].Right != "send-as" {
		t.Errorf("the record: %+v", got)
	}
	if status, page := boss.open("/b/delegate/revoke", sign, "delegate="+bob, "right=send-as"); status != "200" ||
		strings.Contains(page, bob) {
		t.Errorf("%s\n%s", status, page)
	}
	l.refused(alice, noteOf(alice, "x@s.test"), "550 5.7.1")
}
