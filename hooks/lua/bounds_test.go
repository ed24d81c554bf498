package lua

import (
	"slices"
	"strings"
	"testing"
)

// eachFunction calls f with every function of the API and what errors put before
// its name.
func eachFunction(f func(owner string, fn function)) {
	for _, m := range allModules() {
		for _, fn := range m.functions {
			f(m.name+".", fn)
		}
	}
	for _, c := range allClasses() {
		for _, fn := range c.methods {
			f(c.name+":", fn)
		}
	}
	for _, list := range [][]function{verdictFunctions, baseFunctions, hookFunctions} {
		for _, fn := range list {
			f("", fn)
		}
	}
}

// Bounded are the arguments that are confined, as "module.function.argument".
func Bounded() (out []string) {
	eachFunction(func(owner string, fn function) {
		for name := range fn.bounds {
			out = append(out, owner+fn.name+"."+name)
		}
	})
	slices.Sort(out)
	return out
}

// plainArguments name nothing that belongs to a domain of this server.
var plainArguments = strings.Fields(`text html s f v n m e i j x y t b pos sep less max ... key value old new ttl prefix limit cost burst
fn size file ip zone
	url body type timeout pattern init plain repl replacement layout hide_subject selector table fields labels settings filter attributes
	about id flags right until code enhanced reason time seconds folder hosts port tls lmtp source user status message level base handler hook
	options points note marks re duration path password action who as message_id metatable`)

// plainOf are arguments of single functions that might name something of this
// server, and the reason why they need no bound.
var plainOf = map[string]string{
	"addr.user.a": "takes a text apart", "addr.domain.a": "takes a text apart", "addr.tag.a": "takes a text apart",
	"addr.normalize.a":       "takes a text apart",
	"addr.org_domain.domain": "takes a text apart", "addr.srs_reverse.a": "reads what the address itself says",
	"addr.verp_reverse.a": "reads what the address itself says",
	"addr.verp.address":   "any recipient", "mail.submit.to": "anybody may be written to", "mail.submit.cc": "anybody may be written to",
	"mail.submit.subject": "a text", "mail.submit.auto": "one of two words", "mail.submit.in_reply_to": "the message at hand",
	"mail.submit.copy": "a folder of from's mailbox",
	"mail.file.msg":    "the message at hand", "mail.forward.msg": "the message at hand", "mail.forward.address": "anybody may be written to",
	"mail.forward.srs":     "a switch",
	"account.setting.name": "of a setting", "account.confirmed.name": "of a setting",
	"box:setting.name":             "of a setting of the mailbox at hand",
	"account.may_send_as.identity": "tells of the rights that the other gave",
	"account.revoke.delegate":      "whoever has a right, its owner can take it back",
	"list.member.address":          "who is a member may be anybody", "list.add.address": "who is a member may be anybody",
	"list.remove.address": "who is a member may be anybody", "list.set.address": "who is a member may be anybody",
	"list.hold.msg":       "the message at hand",
	"rate.take.\"30/1m\"": "a rate", "dns.a.name": "public", "dns.aaaa.name": "public", "dns.mx.name": "public", "dns.txt.name": "public",
	"http.get.headers": "for others", "http.post.headers": "for others", "http.batch.{ url": "for others",
	"milter.scan.name": "of the configuration", "milter.scan.msg": "the message at hand",
	"crypt.openpgp.msg": "the message at hand", "crypt.smime.msg": "the message at hand", "crypt.sign_dkim.msg": "the message at hand",
	"spam.learn.msg": "the message at hand", "spam.learn.\"spam\" or \"ham\"": "one of two words", "spam.unlearn.msg": "the message at hand",
	"spam.classify.msg": "the message at hand", "spam.similar.msg": "the message at hand", "secrets.get.name": "of the bundle's own",
	"metrics.counter.name": "of a metric", "metrics.gauge.name": "of a metric", "metrics.histogram.name": "of a metric",
	"msg:header.name": "of a field", "msg:headers.name": "of a field", "msg:add_header.name": "of a field",
	"msg:prepend_header.name": "of a field",
	"msg:set_header.name":     "of a field", "msg:remove_header.name": "of a field", "msg:addresses.name": "of a field",
	"msg:score.name":       "of a score",
	"rcpt:set_header.name": "of a field", "rcpt:add_header.name": "of a field", "rcpt:remove_header.name": "of a field",
	"rcpt:copy_to.address or list": "anybody may be written to; how says the rest", "redirect.address": "anybody may be written to",
	"response.headers": "of a page", "require.name": "of a file", "rawequal.a": "any value",
	"within.instructions": "a number",
	"rcpt:replace.list":   "anybody may be written to; how says the rest", "unpack.list": "any table",
}

// TestBounds: of each argument of each function the declaration says how it is
// confined to the domains of a bundle, or this test why it need not be.
func TestBounds(t *testing.T) {
	n := 0
	used := map[string]bool{}
	eachFunction(func(owner string, fn function) {
		names := map[string]bool{}
		for _, p := range argumentsOf(fn.sig) {
			names[p.name] = true
			id := owner + fn.name + "." + p.name
			_, bound := fn.bounds[p.name]
			reason := plainOf[id]
			used[id] = true
			switch {
			case bound && reason != "":
				t.Errorf("%s is confined, and said to need no bound (%s)", id, reason)
			case bound:
				n++
			case reason == "" && !slices.Contains(plainArguments, p.name):
				t.Errorf("%s: does it name an address, list, mailbox, key or domain of this server? Declare its bound in within, or say here why "+
					"it needs none", id)
			}
		}
		for name := range fn.bounds {
			if !names[name] {
				t.Errorf("%s%s: within names %q, which its signature has not", owner, fn.name, name)
			}
		}
	})
	for id := range plainOf {
		if !used[id] {
			t.Errorf("there is no argument %s", id)
		}
	}
	if n < 50 {
		t.Errorf("only %d arguments are confined", n)
	}
	for _, c := range allClasses() {
		for _, f := range c.fields {
			free := map[string]bool{"rcpt.address": true, "group.key": true, "dsn.text": true}
			if id := c.name + "." + f.name; f.set != nil && f.bound.check == nil && !free[id] {
				t.Errorf("%s can be assigned: how is its value confined?", id)
			}
		}
	}
}
