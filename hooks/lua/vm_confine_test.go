package lua_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

// reaching is a line that names DOMAIN in one argument, at a hook.
type reaching struct {
	argument string // of lua.Bounded
	text     string
	strict   bool // a domain of nobody here is refused, too
}

const newMail = `mail.submit { to = "v@far.example", from = "Dan <dan@our.example>", text = "x", `

var reachings = []reaching{
	{argument: "account.exists.a", text: `account.exists("a@DOMAIN")`},
	{argument: "account.exists.a", text: `account.exists("A@" .. string.upper("DOMAIN"))`},
	{argument: "account.exists.a", text: `account.exists(" a@DOMAIN. ")`},
	{argument: "account.setting.a", text: `account.setting("a@DOMAIN", "vacation")`},
	{argument: "account.confirmed.a", text: `account.confirmed("a@DOMAIN", "forward")`},
	{argument: "account.resolve.a", text: `account.resolve("a@DOMAIN")`},
	{argument: "account.may_send_as.a", text: `account.may_send_as("dan@our.example", "a@DOMAIN")`},
	{argument: "account.login.name", text: `account.login("a@DOMAIN", "secret")`},
	{argument: "account.grant.owner", text: `account.grant("a@DOMAIN", "dan@our.example", "send-as")`},
	{argument: "account.grant.delegate", text: `account.grant("dan@our.example", "a@DOMAIN", "send-as")`},
	{argument: "account.revoke.owner", text: `account.revoke("a@DOMAIN", "dan@our.example")`},
	{argument: "account.granted.owner", text: `account.granted("a@DOMAIN")`},
	{argument: "account.audit.owner", text: `account.audit("a@DOMAIN", { action = "x" })`},
	{argument: "account.audited.owner", text: `account.audited("a@DOMAIN")`},
	{argument: "account.owns.a", text: `account.owns("a@DOMAIN", "dan@our.example")`},
	{argument: "account.owns.address", text: `account.owns("dan@our.example", "a@DOMAIN")`},
	{argument: "account.of.address", text: `account.of("a@DOMAIN")`},
	{argument: "addr.srs.sender", text: `addr.srs("a@DOMAIN")`},
	{argument: "addr.srs.domain", text: `if pcall(addr.srs, "x@y.example", "DOMAIN") then return end addr.srs("x@y.example", "DOMAIN")`},
	{argument: "addr.verp.bounces", text: `addr.verp("b@DOMAIN", "x@y.example")`},
	{argument: "list.names.domain", text: `list.names("DOMAIN")`},
	{argument: "list.configure.name", text: `list.configure("l@DOMAIN", { a = 1 })`, strict: true},
	{argument: "list.configure.name", text: `list.configure("L@" .. string.upper("DOMAIN"), nil)`, strict: true},
	{argument: "list.settings.name", text: `list.settings("l@DOMAIN")`, strict: true},
	{argument: "list.members.name", text: `list.members("l@DOMAIN")`, strict: true},
	{argument: "list.roster.name", text: `list.roster("l@DOMAIN")`, strict: true},
	{argument: "list.member.name", text: `list.member("l@DOMAIN", "a@a.example")`, strict: true},
	{argument: "list.add.name", text: `list.add("l@DOMAIN", "a@a.example")`, strict: true},
	{argument: "list.remove.name", text: `list.remove("l@DOMAIN", "a@a.example")`, strict: true},
	{argument: "list.set.name", text: `list.set("l@DOMAIN", "a@a.example", {})`, strict: true},
	{argument: "list.hold.name", text: `list.hold("l@DOMAIN", msg)`, strict: true},
	{argument: "list.held.name", text: `list.held("l@DOMAIN")`, strict: true},
	{argument: "list.release.name", text: `list.release("l@DOMAIN", "x")`, strict: true},
	{argument: "list.drop.name", text: `list.drop("l@DOMAIN", "x")`, strict: true},
	{argument: "crypt.openpgp.account", text: `crypt.openpgp(msg, "a@DOMAIN")`},
	{argument: "crypt.smime.account", text: `crypt.smime(msg, "a@DOMAIN")`},
	{argument: "crypt.has_key.account", text: `crypt.has_key("a@DOMAIN")`},
	{argument: "crypt.sign_dkim.domain", text: `crypt.sign_dkim(msg, { domain = "DOMAIN" })`, strict: true},
	{argument: "crypt.sign_dkim.domain", text: `crypt.sign_dkim(msg, { selector = "s", domain = string.upper("DOMAIN") })`, strict: true},
	{argument: "spam.learn.account", text: `for_domain("", function() spam.learn(msg, "spam", "a@DOMAIN") end)`},
	{argument: "spam.unlearn.account", text: `for_domain("", function() spam.unlearn(msg, "a@DOMAIN") end)`},
	{argument: "spam.classify.account", text: `for_domain("", function() spam.classify(msg, "a@DOMAIN") end)`},
	{argument: "spam.similar.account", text: `for_domain("", function() spam.similar(msg, "a@DOMAIN") end)`},
	{argument: "mail.submit.sender", text: newMail + `sender = "a@DOMAIN" }`},
	{argument: "mail.submit.from", text: `mail.submit { to = "v@far.example", text = "x", from = "Alice <alice@DOMAIN>" }`},
	{argument: "mail.submit.headers", text: newMail + `headers = { ["Resent-From"] = "a@DOMAIN" } }`},
	{argument: "mail.submit.headers", text: newMail + `headers = { ["resent-sender"] = { "x@y.example", "A <a@DOMAIN>" } } }`},
	{argument: "mail.submit.raw", text: `mail.submit { to = "v@far.example", raw = "From: a@DOMAIN\nSubject: s\n\nx\n" }`},
	{argument: "mail.submit.raw",
		text: `mail.submit { to = "v@far.example", raw = "Subject: s\r\nfrom:\r\n =?utf-8?q?x?=\r\n <a@DOMAIN>\r\n\r\nx\r\n" }`},
	{argument: "mail.submit.raw",
		text: `mail.submit { to = "v@far.example", raw = "From: dan@our.example, a@DOMAIN\nSender: dan@our.example\n\nx\n" }`},
	{argument: "mail.submit.raw", text: `mail.submit { to = "v@far.example", raw = "From: dan@our.example\nSender: a@DOMAIN\n\nx\n" }`},
	{argument: "mail.submit.raw",
		text: `mail.submit { to = "v@far.example", raw = "From: dan@our.example\nSubject: s\n\nx\n", headers = { ["Resent-Sender"] = "a@DOMAIN" }
}`},
	{argument: "mail.file.address", text: `mail.file(msg, "a@DOMAIN", "Sent")`},
	{argument: "mail.forward.sender", text: `mail.forward(msg, "v@far.example", { sender = "a@DOMAIN" })`},
	{argument: "mail.forward.headers", text: `mail.forward(msg, "v@far.example", { headers = { From = "a@DOMAIN" } })`},
	{argument: "for_domain.domain", text: `for_domain("DOMAIN", function() end)`, strict: true},
	{argument: "server.is_local.domain", text: `if not server.is_local("DOMAIN") then error("does not serve DOMAIN") end`, strict: true},
	{argument: "msg:add_header.value", text: `msg:add_header("From", "a@DOMAIN")`},
	{argument: "msg:prepend_header.value", text: `msg:prepend_header("Resent-From", "a@DOMAIN")`},
	{argument: "msg:set_header.value", text: `msg:set_header("Sender", "a@DOMAIN")`},
	{argument: "msg:set_header.value", text: `msg:set_header("From", "(c) a@DOMAIN <")`},
	{argument: "", text: `tx.sender = "a@DOMAIN"`},
	{argument: "rcpt:replace.how", text: `rcpt:replace("v@far.example", { sender = "a@DOMAIN" })`},
	{argument: "rcpt:replace.how", text: `rcpt:replace("a@DOMAIN", { mailbox = true })`},
	{argument: "rcpt:copy_to.how", text: `rcpt:copy_to("v@far.example", { arc = "DOMAIN" })`, strict: true},
	{argument: "rcpt:copy_to.how", text: `rcpt:copy_to("v@far.example", function() return { headers = { From = "a@DOMAIN" } } end)`},
	{argument: "rcpt:copy_to.how", text: `rcpt:copy_to({ "v@far.example", "a@DOMAIN" }, function() return { mailbox = true } end)`},
	{argument: "rcpt:set_header.value", text: `rcpt:set_header("From", "a@DOMAIN")`},
	{argument: "rcpt:add_header.value", text: `rcpt:add_header("Sender", "a@DOMAIN")`},
	{argument: "accept.identity", text: `return accept("a@DOMAIN")`, strict: true},
	{argument: "accept.identity", text: `return accept { user = "A@" .. string.upper("DOMAIN"), admin = true }`, strict: true},
}

// confinedWorld has mail for our.example and other.example.
func confinedWorld(t *testing.T) *hookstest.World {
	w := hookstest.NewWith(t, hookstest.Options{Keys: keyring(t)})
	w.Engine.Local = func(d string) bool { return d == "our.example" || d == "other.example" }
	return w
}

// ask runs a line at the hook that it fits, in a source.
func (r reaching) ask(w *hookstest.World, src hooks.Source, domain string) string {
	hook, args := hooks.ReceiveData, "session, tx, msg"
	switch {
	case strings.Contains(r.text, "rcpt:"):
		hook, args = hooks.QueueExpand, "msg, rcpt"
	case strings.Contains(r.text, "accept"):
		hook, args = hooks.ReceiveAuth, "session, cred"
	}
	src.Files = map[string][]byte{"init.lua": []byte("on(\"" + string(hook) + "\", function(" + args + ")\n" + strings.ReplaceAll(r.text,
		"DOMAIN", domain) + "\nend)")}
	src.Main = []string{"init.lua"}
	if src.Grants != nil {
		src.Grants.Hooks = []hooks.Point{hook}
	}
	data := dataEvent("From: carol@far.example\nSubject: s\n\nx\n")
	e := &hooks.Event{Point: hook, Session: data.Session}
	switch hook {
	case hooks.QueueExpand:
		e.Msg, e.Rcpt = data.Msg, hookstest.Rcpt("bob@our.example")
	case hooks.ReceiveAuth:
		e.Cred = &hooks.Cred{Credentials: &envelope.Credentials{Mechanism: "PLAIN", User: "bob@our.example"}}
	default:
		e.Msg, e.Tx = data.Msg, hookstest.Tx("carol@far.example", "bob@our.example")
	}
	return w.Load(src).Ask(e).Err()
}

func confinedBundle(domains, except []string) hooks.Source {
	return hooks.Source{Name: "acme/hello", Bundle: "acme/hello", Version: "1.0.0", Tier: hooks.Bundle, Domains: domains, Except: except,
		Grants: &hooks.Grants{Modules: hooks.Modules(), Message: hooks.Rights(), Submit: hooks.Rate{N: 1000, Per: time.Hour}}}
}

// TestConfined: each function that names something of this server works for
// the domains of a bundle, and for other people's; for another domain of this
// server it is an error that names bundle and domain. So it is for a domain's
// own scripts, and for a bundle that is switched off for one domain. Who is for
// all domains may name all.
func TestConfined(t *testing.T) {
	const refused, notOurs = "does not serve ", "is not a domain of this server that "
	w := confinedWorld(t)
	tried := map[string]bool{"msg:addressed_to.address": true} // see TestConfinedAnswers
	for _, r := range reachings {
		tried[r.argument] = true
		script := hooks.Source{Name: "scripts/domains/our.example", Tier: hooks.Domain, Domains: []string{"our.example"}}
		for who, src := range map[string]hooks.Source{"acme/hello@1.0.0": confinedBundle([]string{"our.example"}, nil),
			"scripts/domains/our.example": script} {
			err := r.ask(w, src, "other.example")
			if !strings.Contains(err, refused+"other.example") && !strings.Contains(err, notOurs+who+" serves") ||
				!strings.Contains(err, who) && r.argument != "server.is_local.domain" {
				t.Errorf("%s, %s: %s", who, r.text, err)
			}
			if err := r.ask(w, src, "our.example"); strings.Contains(err, refused) || strings.Contains(err, notOurs) {
				t.Errorf("%s for its own domain, %s: %s", who, r.text, err)
			}
			if err := r.ask(w, src, "elsewhere.example"); (strings.Contains(err, refused) || strings.Contains(err, notOurs)) && !r.strict {
				t.Errorf("%s for other people, %s: %s", who, r.text, err)
			}
		}
		if err := r.ask(w, confinedBundle(nil, []string{"other.example"}), "other.example"); !strings.Contains(err, refused) &&
			!strings.Contains(err, notOurs) {
			t.Errorf("switched off for the domain, %s: %s", r.text, err)
		}
		for _, src := range []hooks.Source{confinedBundle(nil, nil), {Name: "scripts", Tier: hooks.Admin}} {
			if err := r.ask(w, src, "other.example"); strings.Contains(err, refused) || strings.Contains(err, notOurs) {
				t.Errorf("%s for all domains, %s: %s", src.Name, r.text, err)
			}
		}
	}
	for _, argument := range lua.Bounded() {
		if !tried[argument] {
			t.Errorf("%s is declared as confined, and not tried here", argument)
		}
	}
}

// TestConfinedAnswers: what is asked without naming a domain tells of the
// bundle's domains alone.
func TestConfinedAnswers(t *testing.T) {
	w := confinedWorld(t)
	w.Script(`on("receive.data", function() for _, n in ipairs { "one@our.example", "two@other.example", "three" } do
list.configure(n, { a = 1 }) end end)`)
	e := dataEvent(plainMail)
	if a := w.Ask(e); a.Err() != "" {
		t.Fatal(a.Err())
	}
	w.Commit(e)
	for _, c := range []struct{ text, want string }{
		{`error("got " .. table.concat(list.names(), " "))`, "got one@our.example\n"},
		{`list.settings("three")`, "the list three belongs to no domain, but acme/hello@1.0.0 serves only some domains"},
		{`list.add(3, "a@a.example")`, "the list 3 belongs to no domain"},
		{`error("got " .. tostring(msg:addressed_to("bob@our.example")) .. tostring(msg:addressed_to("me@other.example")))`, "got truefalse"},
		{`error("got " .. tostring(account.exists("a@far.example")) .. account.resolve("a@far.example"))`, "got falseforeign"},
	} {
		w.Accounts.Alias("info@our.example", "bob@our.example")
		w.Accounts.Alias("all@other.example", "me@other.example")
		src := confinedBundle([]string{"our.example"}, nil)
		src.Files, src.Main = map[string][]byte{"init.lua": []byte(data(c.text))}, []string{"init.lua"}
		src.Grants.Hooks = []hooks.Point{hooks.ReceiveData}
		if got := w.Load(src).Ask(dataEvent("From: a@a.example\nTo: info@our.example, all@other.example\n\nx\n")).Err(); !strings.Contains(got,
			c.want) {
			t.Errorf("%s: %s", c.text, got)
		}
	}
}

// TestSenderStays: what a message says of itself already may be said again.
func TestSenderStays(t *testing.T) {
	w := confinedWorld(t)
	for _, text := range []string{`rcpt:copy_to("v@far.example", { sender = msg.sender, headers = { From = "Alice B. <alice@other.example>" }
})`,
		`mail.forward(msg, "v@far.example", { sender = msg.sender })`} {
		src := confinedBundle([]string{"our.example"}, nil)
		src.Files, src.Main = map[string][]byte{"init.lua": []byte(expand(text))}, []string{"init.lua"}
		src.Grants.Hooks = []hooks.Point{hooks.QueueExpand}
		e := &hooks.Event{Point: hooks.QueueExpand, Msg: hookstest.Message("alice@other.example", "From: Alice <alice@other.example>\n\nx\n"),
			Rcpt: hookstest.Rcpt("bob@our.example")}
		if got := w.Load(src).Ask(e).Err(); got != "" {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// TestConfinedForks: what a bundle makes of a message is signed as mail of its
// author's domain if the bundle serves only that domain.
func TestConfinedForks(t *testing.T) {
	w := confinedWorld(t)
	for _, c := range []struct {
		domains []string
		want    map[string]bool // whether a domain may sign
	}{{[]string{"our.example"}, map[string]bool{"our.example": true, "other.example": false, "far.example": true}},
		{nil, map[string]bool{"our.example": true, "other.example": true}}} {
		src := confinedBundle(c.domains, nil)
		src.Files, src.Main = map[string][]byte{"init.lua": []byte(expand(`rcpt:fork():set_header("Subject", "x")`))}, []string{"init.lua"}
		src.Grants.Hooks = []hooks.Point{hooks.QueueExpand}
		e := &hooks.Event{Point: hooks.QueueExpand, Msg: hookstest.Message("alice@other.example", "From: alice@other.example\n\nx\n"),
			Rcpt: hookstest.Rcpt("bob@our.example")}
		if got := w.Load(src).Ask(e).Err(); got != "" {
			t.Fatal(got)
		}
		for domain, want := range c.want {
			if got := e.Rcpt.Fork.MaySign == nil || e.Rcpt.Fork.MaySign(domain); got != want {
				t.Errorf("a bundle for %v: %s may sign is %v", c.domains, domain, got)
			}
		}
	}
}

// TestConfinedWritings: a domain of this server stays one however it is
// written; on the wire the ways are one.
func TestConfinedWritings(t *testing.T) {
	w := confinedWorld(t)
	w.Engine.Local = func(d string) bool {
		return slices.Contains([]string{"our.example", "other.example", "bücher.example"}, d)
	}
	texts := []string{`account.exists("a@DOMAIN")`, `mail.submit { to = "v@far.example", text = "x", from = "alice@DOMAIN" }`,
		newMail + `sender = "a@DOMAIN" }`, `tx.sender = "a@DOMAIN"`, `rcpt:set_header("From", "a@DOMAIN")`,
		`mail.submit { to = "v@far.example", raw = "From: a@DOMAIN\nSubject: s\n\nx\n" }`}
	for _, text := range texts {
		for _, c := range []struct {
			domain  string
			refused bool
		}{{"other\uff0eexample", true}, {"o\uff54her.example", true}, {"xn--bcher-kva.example", true}, {"BÜCHER.example", true},
			{"our\uff0eexample", false}, {"xn--bcher-kva.far.example", false}, {"müller.example", false}} {
			err := reaching{text: text}.ask(w, confinedBundle([]string{"our.example"}, nil), c.domain)
			if strings.Contains(err, "does not serve ") != c.refused {
				t.Errorf("%s at %s: %s", text, c.domain, err)
			}
		}
	}
}
