package lua_test

import (
	"fmt"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

func localEvent(raw string, rcpt *hooks.Rcpt) *hooks.Event {
	return &hooks.Event{Point: hooks.DeliverLocal, Msg: hookstest.Message("a@a.example", raw), Rcpt: rcpt,
		Box: &hookstest.Box{Owner: "bob@our.example"}, Pending: &hooks.Pending{}}
}

// TestCopies: mail.file and the copy of mail.submit say where copies go; html
// gives a message both forms.
func TestCopies(t *testing.T) {
	w := hookstest.New(t).Script(`on("deliver.local", function(msg, rcpt, box)
  mail.file(msg, "ann@our.example", "Sent/2026", { "\\Seen" })
  mail.submit { from = "Bob <bob@our.example>", to = "c@c.example", text = "plain é", html = "<b>é</b>", copy = "Sent" }
  for _, bad in ipairs { "", "a//b", "..", "a\nb" } do
    assert(not pcall(mail.file, msg, "ann@our.example", bad))
    assert(not pcall(mail.submit, { from = "bob@our.example", to = "c@c.example", copy = bad, text = "x" }))
  end
  assert(not pcall(mail.submit, { to = "c@c.example", raw = "From: a@b.example\n\nx\n", html = "x" }))
end)`)
	e := localEvent("From: a@a.example\n\nx\n", hookstest.Rcpt("bob@our.example"))
	if a := w.Ask(e); a.Err() != "" {
		t.Fatal(a.Err())
	}
	s := e.Pending.Submits
	if len(s) != 2 {
		t.Fatalf("%d submissions", len(s))
	}
	if got := fmt.Sprint(s[0].Forward, s[0].Rcpts, s[0].Copies); got != `true [] [{ann@our.example {Sent/2026 [\Seen] false}}]` {
		t.Error(got)
	}
	if got := fmt.Sprint(s[1].Forward, s[1].Rcpts, s[1].Copies); got != `false [c@c.example] [{bob@our.example {Sent [\Seen] false}}]` {
		t.Error(got)
	}
	_, boundary, _ := strings.Cut(string(s[1].Header), `multipart/alternative; boundary="`)
	boundary, _, _ = strings.Cut(boundary, `"`)
	part := "--" + boundary + "\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s\r\n"
	if want := fmt.Sprintf(part+part, "plain", "plain =C3=A9", "html", "<b>=C3=A9</b>") + "--" + boundary +
		"--\r\n"; string(s[1].Body) != want {
		t.Errorf("body\n%s\nwant\n%s", s[1].Body, want)
	}
}

// TestWhoIsAddressed: addresses of the message, aliases of the account, and
// what the recipient's own copy says.
func TestWhoIsAddressed(t *testing.T) {
	w := hookstest.New(t).Script(`on("deliver.local", function(msg, rcpt, box)
  log.info(table.concat({ tostring(msg:addressed_to("bob@our.example")), tostring(msg:is_auto()), tostring(rcpt.sender),
tostring(msg.identity),
    table.concat(msg:addresses("To", "Cc"), "+"), tostring(account.of("chief@our.example")), tostring(account.of("who@our.example")),
    tostring(account.owns("bob@our.example", "chief+x@our.example")), tostring(account.owns("bob@our.example", "eve@our.example")),
msg:score() }, " "))
end)`)
	w.Accounts.Set("bob@our.example", "x", "y")
	w.Accounts.Alias("chief@our.example", "bob@our.example")
	list := envelope.Address("l-bounces+x@our.example")
	for i, tt := range []struct {
		raw, want string
		sender    *envelope.Address
		fields    string
	}{
		{"To: Chief <chief@our.example>, b@b.example\nCc: c@c.example\n\nx\n",
			"true false a@a.example eve@our.example chief@our.example+b@b.example+c@c.example bob@our.example nil true false 2.5", nil, ""},
		{"To: any@our.example\n\nx\n", "false true l-bounces+x@our.example eve@our.example any@our.example", &list, ""},
		{"To: bob+t@our.example\n\nx\n", "true true a@a.example eve@our.example bob+t@our.example", nil, "List-Id: <l.our.example>\r\n"},
	} {
		r := hookstest.Rcpt("bob@our.example")
		r.Sender, r.Edit.Prepend = tt.sender, tt.fields
		e := localEvent(tt.raw, r)
		e.Msg.Identity, e.Msg.Earlier = "eve@our.example", 2.5
		if a := w.Ask(e); a.Err() != "" {
			t.Fatal(a.Err())
		}
		if lines := strings.Split(strings.TrimSpace(w.Log.String()), "\n"); !strings.Contains(lines[i], tt.want) {
			t.Errorf("%s\nwant %s", lines[i], tt.want)
		}
	}
}
