package lua_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
	"carteiro/hooks/lua/source"
)

// rightsArguments are arguments of functions that TestSignaturesAreTrue does
// not try; they only have to get as far as the question for the right.
var rightsArguments = map[string]string{"crypt.openpgp": `msg, "bob@our.example"`, "crypt.smime": `msg, "bob@our.example"`,
	"crypt.sign_dkim": `msg, { domain = "our.example", selector = "s" }`, "crypt.has_key": `"bob@our.example"`, "milter.scan": `"x", msg`}

func grantsWithout(r hooks.Right) *hooks.Grants {
	g := &hooks.Grants{Modules: hooks.Modules(), Hooks: []hooks.Point{hooks.ReceiveData, hooks.QueueExpand, hooks.QueueCommit,
		hooks.DeliverLocal}, Submit: hooks.Rate{N: 100, Per: 1}}
	for _, one := range hooks.Rights() {
		if one != r {
			g.Message = append(g.Message, one)
		}
	}
	return g
}

func handlerOf(one trial, body string) string {
	args := map[hooks.Point]string{hooks.ReceiveData: "session, tx, msg", hooks.QueueExpand: "msg, rcpt", hooks.QueueCommit: "msg, group",
		hooks.DeliverLocal: "msg, rcpt, box"}[one.hook]
	return fmt.Sprintf("on(%q, function(%s) %s end)\n", one.hook, args, body)
}

// TestRightsDeclared: what a function needs is what the signatures say; a check tells
// it of a bundle that does not declare it, with the line.
func TestRightsDeclared(t *testing.T) {
	var all []trial
	for _, one := range trials(t) {
		if one.wrong == "" && !slices.ContainsFunc(all, func(had trial) bool { return had.name == one.name }) {
			all = append(all, one)
		}
	}
	for name, args := range rightsArguments {
		all = append(all, trial{name: name, expr: name + "(" + args + ")", hook: hooks.ReceiveData})
	}
	all = append(all, trial{name: "rcpt.address", expr: "set", hook: hooks.ReceiveData})
	for _, r := range hooks.Rights() {
		var text strings.Builder
		text.WriteString(`local table_ = map.open "t.toml" `)
		for _, one := range all {
			part := strings.HasPrefix(one.name, "part:")
			plain := "local r = " + one.expr
			if one.expr == "set" {
				plain = `tx:recipients()[1].address = "x@out.example"`
			}
			if part {
				if r == hooks.BodyRead {
					continue // without it there are no parts
				}
				plain = "for part in msg:parts() do " + plain + " end"
			}
			text.WriteString(handlerOf(one, plain))
		}
		src := hookstest.Bundle("acme/x", map[string]string{"init.lua": text.String(), "t.toml": "a = 1\n"})
		src.Grants = grantsWithout(r)
		_, err := lua.New(lua.Options{Strict: true}).Load(t.Context(), []hooks.Source{src})
		static := map[string]bool{}
		for _, e := range flat(err) {
			var at *source.Error
			if !errors.As(e, &at) || !strings.Contains(at.Text, strconv.Quote(string(r))) || at.Line == 0 {
				t.Errorf("%s: %v", r, e)
				continue
			}
			static[strings.Fields(strings.TrimSuffix(at.Text, ":"))[0]] = true
		}
		dynamic := deniedWhenRun(t, all, r)
		for _, one := range all {
			if strings.HasPrefix(one.name, "part:") && r == hooks.BodyRead || one.name == "redirect" && !dynamic[one.name] {
				continue
			}
			says := slices.Contains(lua.Rights(one.name), string(r))
			if says != dynamic[one.name] || says != static[one.name] {
				t.Errorf("%s, %s: declared %v, demanded when it runs %v, told by a check %v", one.name, r, says, dynamic[one.name], static[one.name])
			}
		}
	}
}

// deniedWhenRun are the functions that ask for a right that is not there.
func deniedWhenRun(t *testing.T, all []trial, r hooks.Right) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for i, one := range all {
		call := "return " + one.expr
		if one.expr == "set" {
			call = `tx:recipients()[1].address = "x@out.example"`
		}
		if strings.HasPrefix(one.name, "part:") {
			if r == hooks.BodyRead {
				continue
			}
			call = "for part in msg:parts() do " + call + " end"
		}
		text := `local table_ = map.open "t.toml" ` + handlerOf(one, `local ok, err = pcall(function() `+call+
			` end) log.info("told " .. tostring(err) .. "=end")`)
		if one.name == "redirect" {
			continue // a load tells
		}
		src := hookstest.Bundle("acme/x", map[string]string{"init.lua": text, "t.toml": "a = 1\n"})
		src.Grants = grantsWithout(r)
		src.HTTP = []string{"127.0.0.1:1"}
		w := hookstest.New(t).Load(src)
		w.Accounts.Set("bob@our.example", "x", 1)
		w.Ask(trialEvent(one.hook, i))
		if m := regexp.MustCompile(`told (.*?)=end`).FindStringSubmatch(w.Log.String()); m == nil {
			t.Errorf("%s did not run: %s", one.name, w.Log.String())
		} else {
			out[one.name] = strings.Contains(m[1], "message rights")
		}
	}
	return out
}
