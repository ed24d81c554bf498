package lua_test

import (
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// door is a place where a policy gives octets that become lines elsewhere.
type door struct {
	name  string
	hook  hooks.Point
	text  string // VALUE stands for what is tried, a Lua string
	clean bool   // line ends are made harmless; else they are refused
	lines bool   // a LF, and a CRLF, is a line end there
	tab   bool   // even a tab is refused
}

const letterHead = `mail.submit { to = "v@far.example", from = "a@our.example", `

// doors are all of them: each has to refuse a CR, a LF and a NUL, or make them
// harmless.
var doors = []door{
	{name: "msg:add_header", hook: hooks.ReceiveData, text: `msg:add_header("X-A", VALUE)`},
	{name: "msg:add_header name", hook: hooks.ReceiveData, text: `msg:add_header(VALUE, "x")`, tab: true},
	{name: "msg:set_header", hook: hooks.ReceiveData, text: `msg:set_header("Subject", VALUE)`},
	{name: "msg:set_header address", hook: hooks.ReceiveData, text: `msg:set_header("From", "Z\195\188rich " .. VALUE .. " <a@our.example>")`},
	{name: "msg:prepend_header", hook: hooks.ReceiveData, text: `msg:prepend_header("X-A", VALUE)`},
	{name: "msg:score", hook: hooks.ReceiveData, text: `msg:score(VALUE, 1)`},
	{name: "msg:score note", hook: hooks.ReceiveData, text: `msg:score("X", 1, VALUE)`},
	{name: "rcpt:set_header", hook: hooks.QueueExpand, text: `rcpt:set_header("X-A", VALUE)`},
	{name: "rcpt:add_header", hook: hooks.QueueExpand, text: `rcpt:add_header("X-A", VALUE)`},
	{name: "rcpt:add_header name", hook: hooks.QueueExpand, text: `rcpt:add_header(VALUE, "x")`, tab: true},
	{name: "how.headers", hook: hooks.QueueExpand, text: `rcpt:copy_to("x@x.example", { headers = { ["X-A"] = VALUE } })`},
	{name: "how.headers of a function", hook: hooks.QueueExpand,
		text: `rcpt:replace("x@x.example", function() return { headers = { ["X-A"] = { "x", VALUE } } } end)`},
	{name: "how.sender", hook: hooks.QueueExpand, text: `rcpt:copy_to("x@x.example", { sender = "a" .. VALUE .. "@x.example" })`, tab: true},
	{name: "an added address", hook: hooks.QueueExpand, text: `rcpt:copy_to("\"a" .. VALUE .. "\"@x.example")`, tab: true},
	{name: "fork", hook: hooks.QueueExpand, text: `rcpt:fork():add_header("X-A", VALUE)`},
	{name: "mail.submit from", hook: hooks.ReceiveData,
		text: `mail.submit { to = "v@far.example", from = "\"" .. VALUE .. "\" <a@our.example>", text = "x" }`, clean: true},
	{name: "mail.submit to", hook: hooks.ReceiveData,
		text: `mail.submit { to = "v" .. VALUE .. "@far.example", from = "a@our.example", text = "x" }`, tab: true},
	{name: "mail.submit cc", hook: hooks.ReceiveData, text: letterHead + `cc = "\"v" .. VALUE .. "\"@far.example", text = "x" }`, tab: true},
	{name: "mail.submit subject", hook: hooks.ReceiveData, text: letterHead + `subject = VALUE, text = "x" }`, clean: true},
	{name: "mail.submit text", hook: hooks.ReceiveData, text: letterHead + `text = VALUE }`, clean: true, lines: true},
	{name: "mail.submit html", hook: hooks.ReceiveData, text: letterHead + `text = "x", html = VALUE }`, clean: true, lines: true},
	{name: "mail.submit headers", hook: hooks.ReceiveData, text: letterHead + `text = "x", headers = { ["X-A"] = VALUE } }`},
	{name: "mail.submit copy", hook: hooks.ReceiveData, text: letterHead + `text = "x", copy = VALUE }`, tab: true},
	{name: "mail.submit raw, a field", hook: hooks.ReceiveData,
		text: `mail.submit { to = "v@far.example", raw = "From: a@our.example\nSubject: " .. VALUE .. "\n\nx\n" }`, lines: true},
	{name: "mail.submit raw, a name", hook: hooks.ReceiveData,
		text: `mail.submit { to = "v@far.example", raw = "From: a@our.example\nX" .. VALUE .. ": x\n\nx\n" }`, tab: true},
	{name: "mail.submit raw, the body", hook: hooks.ReceiveData,
		text: `mail.submit { to = "v@far.example", raw = "From: a@our.example\n\nx" .. VALUE .. "\n" }`, lines: true},
	{name: "mail.file", hook: hooks.ReceiveData, text: `mail.file(msg, "a@our.example", VALUE)`, tab: true},
	{name: "mail.file flags", hook: hooks.ReceiveData, text: `mail.file(msg, "a@our.example", "Sent", { VALUE })`, tab: true},
	{name: "mail.forward headers", hook: hooks.ReceiveData, text: `mail.forward(msg, "x@x.example", { headers = { ["X-A"] = VALUE } })`},
	{name: "meta.folder", hook: hooks.QueueExpand, text: `rcpt.meta.folder = VALUE`, tab: true},
	{name: "fileinto", hook: hooks.DeliverLocal, text: `return fileinto(VALUE)`, tab: true},
	{name: "keep", hook: hooks.DeliverLocal, text: `return keep(VALUE)`, tab: true},
	{name: "crypt.sign_dkim", hook: hooks.ReceiveData, text: `crypt.sign_dkim(msg, { domain = "our.example", selector = VALUE })`, tab: true},
	{name: "group.key", hook: hooks.QueueCommit, text: `group.key = VALUE`},
	{name: "dsn.text", hook: hooks.DeliverDSN, text: `dsn.text = VALUE`, clean: true, lines: true},
	{name: "msg:append_text", hook: hooks.ReceiveData, text: `msg:append_text(VALUE)`, clean: true, lines: true},
	{name: "msg:append_text mark", hook: hooks.ReceiveData, text: `msg:append_text("a %(b) c", { b = VALUE })`, clean: true, lines: true},
	{name: "part:replace", hook: hooks.ReceiveData, text: `for p in msg:parts() do p:replace(VALUE) end`, clean: true, lines: true},
	{name: "how.fill", hook: hooks.QueueExpand, text: `rcpt:copy_to("x@x.example", { fill = { a = VALUE } })`, clean: true, lines: true},
	{name: "reject", hook: hooks.ReceiveMail, text: `return reject(550, "5.7.1", VALUE)`},
	{name: "defer", hook: hooks.ReceiveMail, text: `return defer(VALUE)`},
	{name: "disconnect", hook: hooks.ReceiveMail, text: `return disconnect(VALUE)`},
	{name: "discard", hook: hooks.ReceiveData, text: `return discard(VALUE)`},
	{name: "quarantine", hook: hooks.ReceiveData, text: `return quarantine(VALUE)`},
	{name: "hold", hook: hooks.QueueCommit, text: `return hold(VALUE)`},
	{name: "fail", hook: hooks.DeliverResult, text: `return fail(VALUE)`},
	{name: "route hosts", hook: hooks.RouteResolve, text: `return route { hosts = { VALUE } }`, tab: true},
	{name: "route user", hook: hooks.RouteResolve, text: `return route { hosts = { "x" }, user = VALUE, password = "x" }`},
	{name: "route password", hook: hooks.RouteResolve, text: `return route { hosts = { "x" }, user = "x", password = VALUE }`},
	{name: "accept", hook: hooks.ReceiveAuth, text: `return accept(VALUE .. "@our.example")`},
	{name: "response type", hook: hooks.WebRequest, text: `return response { type = VALUE }`},
	{name: "response header", hook: hooks.WebRequest, text: `return response { headers = { ["X-A"] = VALUE } }`},
	{name: "response header name", hook: hooks.WebRequest, text: `return response { headers = { [VALUE] = "x" } }`, tab: true},
	{name: "http header", hook: hooks.ReceiveData, text: `http.get("http://127.0.0.1:1/", { headers = { ["X-A"] = VALUE } })`},
	{name: "http header name", hook: hooks.ReceiveData, text: `http.get("http://127.0.0.1:1/", { headers = { [VALUE] = "x" } })`, tab: true},
	{name: "http type", hook: hooks.ReceiveData, text: `http.post("http://127.0.0.1:1/", "x", { type = VALUE })`},
	{name: "http url", hook: hooks.ReceiveData, text: `http.get("http://127.0.0.1:1/" .. VALUE)`, tab: true},
	{name: "list name", hook: hooks.ReceiveData, text: `list.configure(VALUE .. "@our.example", { title = "x" })`, tab: true},
	{name: "list member", hook: hooks.ReceiveData, text: `list.add("l@our.example", "\"a" .. VALUE .. "\"@x.example")`, tab: true},
	{name: "a list's setting as a field", hook: hooks.ReceiveData,
		text: `list.configure("l@our.example", { title = VALUE }) msg:set_header("List-Id", list.settings("l@our.example").title)`},
}

// open asks a handler of the door's hook.
func (d door) open(t *testing.T, value string) (string, *hooks.Event) {
	spec, _ := hooks.SpecOf(d.hook)
	text := "on(\"" + string(d.hook) + "\", " + map[bool]string{true: "{ path = \"/\" }, "}[d.hook == hooks.WebRequest] + "function(" +
		strings.Join(spec.Args, ", ") + ")\n" +
		strings.ReplaceAll(d.text, "VALUE", value) + "\nend)"
	src := hookstest.Scripts(map[string]string{"policy.lua": text})
	src.HTTP = []string{"127.0.0.1:1"}
	e := dataEvent("From: a@a.example\nSubject: s\n\nx\n")
	e.Point = d.hook
	switch d.hook {
	case hooks.QueueExpand, hooks.DeliverLocal, hooks.DeliverResult:
		e.Tx, e.Session, e.Rcpt, e.Result = nil, nil, hookstest.Rcpt("bob@our.example"), &hooks.Result{}
	case hooks.QueueCommit:
		e.Tx, e.Session, e.Group = nil, nil, &envelope.Group{Domain: "x.example"}
	case hooks.DeliverDSN:
		e.Tx, e.Session, e.Rcpts, e.DSN = nil, nil, []*hooks.Rcpt{hookstest.Rcpt("bob@our.example")}, &hooks.DSN{}
	case hooks.RouteResolve:
		e = &hooks.Event{Point: d.hook, Domain: "x.example", Key: "x.example"}
	case hooks.ReceiveAuth:
		e.Tx, e.Msg, e.Cred = nil, nil, &hooks.Cred{Credentials: &envelope.Credentials{User: "x@our.example"}}
	case hooks.WebRequest:
		e = &hooks.Event{Point: d.hook, Req: &hooks.Request{Method: "GET", Path: "/"}}
	}
	return hookstest.New(t).Load(src).Ask(e).Err(), e
}

// TestLinesOfPolicies: nothing that a policy gives becomes a line that it, or
// who wrote what it passes on, did not write there.
func TestLinesOfPolicies(t *testing.T) {
	for _, d := range doors {
		if err, _ := d.open(t, `"a"`); err != "" {
			t.Errorf("%s takes nothing: %s", d.name, err)
			continue
		}
		if err, _ := d.open(t, `"a\tb"`); (err != "") != d.tab && !strings.Contains(d.name, "response") {
			t.Errorf("%s with a tab: %s", d.name, err)
		}
		for _, value := range []string{`"a\rBcc: q"`, `"a\nBcc: q"`, `"a\r\nBcc: q"`, `"a\0b"`, `"a\r "`, `"\r\r\na"`} {
			err, e := d.open(t, value)
			isLine := d.lines && (value == `"a\nBcc: q"` || value == `"a\r\nBcc: q"`)
			if refused := err != ""; refused == (d.clean || isLine) {
				t.Errorf("%s with %s: refused %v, %s", d.name, value, refused, err)
			}
			if strings.Contains(err, "panic") {
				t.Errorf("%s with %s: %s", d.name, value, err)
			}
			if err != "" || e.Pending == nil {
				continue
			}
			for _, s := range e.Pending.Submits {
				whole := string(s.Header) + string(s.Body)
				if rest := strings.ReplaceAll(whole, "\r\n", ""); strings.ContainsAny(rest, "\r\n\x00") {
					t.Errorf("%s with %s sends %q", d.name, value, whole)
				}
				if mime.ParseHeader(s.Header).Has("Bcc") && !isLine {
					t.Errorf("%s with %s has a field of its own:\n%s", d.name, value, s.Header)
				}
			}
		}
	}
}

// TestWholeMail: a whole message of a policy is as RFC 5322 wants it, or
// refused with the reason.
func TestWholeMail(t *testing.T) {
	long := strings.Repeat("x", 999)
	for raw, want := range map[string]string{
		"From: a@our.example\\nSubject: s\\rBcc: q\\n\\nx\\n":                            "line 2 contains a CR outside of a line end",
		"From: a@our.example\\r\\r\\nSubject: s\\r\\n\\r\\nx":                            "line 1 contains a CR",
		"From: a@our.example\\n\\nx\\ry":                                                 "line 3 contains a CR",
		"From: a@our.example\\nSubject: s\\0\\n\\nx":                                     "line 2 contains a NUL",
		"From: a@our.example\\nFrom: b@our.example\\n\\nx":                               "From occurs twice",
		"From: a@our.example\\nSUBJECT: a\\nsubject: b\\n\\nx":                           "Subject occurs twice",
		"From: a@our.example\\nTo: a@x.example\\nTo: b@x.example\\n\\nx":                 "To occurs twice",
		"From: a@our.example\\nMessage-ID: <1@x>\\nmessage-id: <2@x>\\n\\nx":             "Message-ID occurs twice",
		"From: a@our.example\\nDate: x\\nDate: y\\n\\nx":                                 "Date occurs twice",
		"From: a@our.example\\nContent-Type: text/plain\\nContent-Type: text/html\\n\\n": "Content-Type occurs twice",
		"Subject: s\\n\\nx":                                        "it has no From",
		"From:\\n\\nx":                                             `its From "" is not a list of addresses`,
		"From: nobody\\n\\nx":                                      `is not a list of addresses`,
		"From: g:;\\n\\nx":                                         `is not a list of addresses`,
		"From: a@our.example (\\n\\nx":                             `is not a list of addresses`,
		"From: a@our.example\\nno field\\n\\nx":                    `"no field\r\n" is not a header field`,
		" From: a@our.example\\n\\nx":                              "is not a header field",
		"From: a@our.example\\nX\\195\\188: x\\n\\nx":              "is not a header field",
		"From: a@our.example\\nSubject : s\\n\\nx":                 "white space between Subject and its colon",
		"From: a@our.example\\nSubject: s\\n \\n t\\n\\nx":         "a line with only white space",
		"From: a@our.example\\nSubject: " + long + "\\n\\nx":       "a line of Subject has more than 998 octets",
		"From: a@our.example\\nReceived: x\\nReceived: y\\n\\nx":   "",
		"From: A <a@our.example>,\\n b@our.example\\nX-A: 1\\n\\n": "",
		"From: =?utf-8?q?Z=C3=BCrich?= <a@our.example>\\n\\nx":     "",
		"From: a@our.example\\r\\nSubject: s\\r\\n\\r\\nx\\r\\n":   "",
		"From: a@our.example":                                      "",
	} {
		w := hookstest.New(t).Script(data(`mail.submit { to = "x@far.example", raw = "` + raw + `" }`))
		e := dataEvent(plainMail)
		got := w.Ask(e).Err()
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %s, not %s", raw, got, want)
		}
	}
	w := hookstest.New(t).Script(data(`mail.submit { to = "x@far.example", raw = "From: a@our.example\n\nx", headers = { From =
"b@our.example" } }`))
	if got := w.Ask(dataEvent(plainMail)).Err(); !strings.Contains(got, "From occurs twice") {
		t.Errorf("a field beside raw: %s", got)
	}
}
