package hooks_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/lua"
)

var update = flag.Bool("update", false, "write README.md anew")

// TestReadme: README.md is what the declarations say.
func TestReadme(t *testing.T) {
	want := readme()
	if *update {
		if err := os.WriteFile("README.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("README.md")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("README.md is stale (%v); write it with: go test ./hooks -update", err)
	}
}

// changes names what a May allows.
var changes = []struct {
	may  hooks.Changes
	name string
}{
	{hooks.ChangeIdentity, "identity"}, {hooks.ChangeSender, "tx.sender"}, {hooks.ChangeAddress, "rcpt.address"},
	{hooks.ChangeMessage, "header fields and parts"},
	{hooks.ChangeAttempt, "header fields of this try, of mail that leaves"}, {hooks.ChangeScore, "score, priority"},
	{hooks.ChangeRecipients, "replace, fork, variant"}, {hooks.ChangeCopies, "copy_to"}, {hooks.ChangeOwnFields, "the recipient's own fields"},
	{hooks.ChangeGroup, "group.key, priority, expiry"}, {hooks.ChangeText, "dsn.text"}, {hooks.ChangeMeta, "meta"},
	{hooks.ChangeEffects, "kv, rate, mail"}, {hooks.ChangeDelay, "tarpit"},
}

// forwarding is what the hooks that have the whole message can do beside.
const forwarding = "mail.forward, mail.file"

func forwards(s hooks.Spec) bool { return s.Intents && slices.Contains(s.Args, "msg") }

const readmeHead = `# Hooks and the Lua API

This page is written by the declarations in Go (` + "`go test ./hooks -update`" + `); change them, not it.

A script registers handlers with ` + "`on(hook, [options,] handler)`" + `. A handler returns a verdict or nothing, which means
"go on". Options: ` + "`order`" + ` (-100 to 100), ` + "`tier = \"after\"`" +
	` (the admin's scripts: after the bundles instead of before them),
` + "`on_error`" + ` ("continue", "defer", "reject", "quarantine", "keep"; a bundle can only be stricter than the table) and
` + "`listener`" + `, the name of the one by which the client or the message came; with ` + "`login = true`" +
	` the handler is asked only about sessions and mail of
users who logged in; receive.data takes ` + "`async = true`" +
	`, which has the handler run after the 250, where it can refuse nothing; timer.tick needs ` + "`every`" +
	`, the time between two calls, and
with ` + "`each = \"domain\"`" + ` a bundle's timer runs for each domain in turn, with its settings and kv; web.request needs ` + "`path`" +
	`, where it answers: /b/BUNDLE/PATH of the http listener, without the publisher; scripts are at /b/scripts/;
admin.command needs ` + "`command`" + `, the word behind ` + "`carteiro`" + `; observe.event has ` + "`events`" + `, a list
of the events that the handler is told of, all by default: name them, for each event that somebody wants is stored first.

Handlers are asked in this order: the admin's scripts, the bundles as configured, the domain's own scripts, the admin's
scripts with ` + "`tier = \"after\"`" + `; inside a tier by ` + "`order`" +
	`, file name and line. reject, defer, discard, quarantine and the
other verdicts end the chain. accept ends its own tier and those below, never the admin's last word.

A handler that raises an error, runs out of its budget or returns a verdict that its hook has not is a failed one: all
it changed is undone, and the table says what happens. One that failed %d times within %s, and more often than not, is
not asked for %s; it counts as failed meanwhile. Mail that makes a handler use up its instructions or its memory is taken for
the fault of the mail: such failures count once for each client network (/24, or /64 of IPv6) and minute, after three of them
the handler is not asked about mail of that network until the minute is over, and a message that did so three times within a
day is accepted into quarantine instead of deferred again; the postmaster is told.

An option that means nothing at a hook is an error when the file loads.

At hooks marked † mail has two sides. A bundle, or a domain's own script, that serves the recipient's domain is asked with that
domain at hand (` + "`msg.direction`" +
	` "in"); one that serves the domain that the mail is outgoing mail of is asked with that domain ("out"): mail of
a user who logged in, of a policy, or with the sender that a list or a forward gave it, never what a client claims. One that
serves both is asked for each, and once ("within") where both are one domain. The recipient's side is asked last; the stricter
verdict and the last assignment count. The admin's scripts are asked once. ` + "`outgoing = false`" + ` in a bundle's manifest leaves the
sender's side out.

What queue.expand makes passes queue.expand in its turn: forks and variants with the other handlers, but not with the one that
made them for the same recipient, nor, where that recipient itself gets the fork, with it at all; recipients that replace or
join another one, and messages of ` + "`mail.submit`" + ` and ` + "`list.release`" + `, with all. 20 steps at most.

Effects (kv, rate, mail) of hooks marked * travel in the message's own commit; those of the others are stored when the
handler returns.

The clock of a test starts at 2026-01-01T12:00:00Z, whenever the test runs. Before the first session or message of a case
` + "`t.clock.set`" + ` may set it to any time, after that only forward. ` + "`carteiro help policies`" + ` lists the test library.

## Hooks
`

func readme() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, readmeHead, 20, "60 s", "30 s")
	b.WriteString("\n| hook | arguments | when | verdicts | may change | on failure | wall | instructions |\n" +
		"|---|---|---|---|---|---|---|---|\n")
	for _, s := range hooks.Specs() {
		var verdicts, may []string
		for _, v := range s.Verdicts {
			verdicts = append(verdicts, v.String())
		}
		for _, c := range changes {
			if s.Changes&c.may != 0 {
				may = append(may, c.name)
			}
		}
		if forwards(s) {
			may = append(may, forwarding)
		}
		fail := string(s.Fail)
		if s.Status.Code != 0 {
			fail += fmt.Sprintf(" %d", s.Status.Code)
		}
		name := string(s.Point)
		if s.Intents {
			name += " *"
		}
		if s.Sides {
			name += " †"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d |\n", name, strings.Join(s.Args, ", "), s.When,
			strings.Join(verdicts, " "), strings.Join(may, ", "), fail, s.Wall, s.Budget)
	}
	b.WriteString("\n## Functions\n\nLua 5.1 without coroutines. Whatever is not on this page does not exist: no files, no processes, " +
		"no code from text.\n" +
		"Addresses are `user@domain` with the domain in lower case, the null sender is `\"\"`; times are Unix seconds,\n" +
		"durations seconds or texts like `\"5m\"`, sizes octets.\n\n")
	section := false
	for _, e := range lua.API() {
		switch {
		case e.Kind == "function":
			fmt.Fprintf(&b, "- `%s` %s\n", e.Signature, e.Doc)
		case e.Kind != "":
			if !section && e.Kind == "object" {
				section = true
				b.WriteString("\n# Objects\n")
			}
			fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", e.Name, e.Doc)
		default:
			write := ""
			if e.Writable {
				write = " (can be assigned)"
			}
			fmt.Fprintf(&b, "- `%s` %s%s\n", e.Signature, e.Doc, write)
		}
	}
	return b.Bytes()
}

// TestAPIDocs: nothing in the API is undocumented or declared twice.
func TestAPIDocs(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range lua.API() {
		id := e.Owner + "." + e.Name
		if e.Kind == "object" {
			id = "object " + e.Name
		}
		if e.Doc == "" || e.Name == "" || seen[id] {
			t.Errorf("%s: documented %v, seen before %v", id, e.Doc != "", seen[id])
		}
		seen[id] = true
	}
	if len(seen) < 200 {
		t.Errorf("only %d names", len(seen))
	}
}

// TestAnnotations: scripts/carteiro.lua is what the declarations say.
func TestAnnotations(t *testing.T) {
	const file = "../scripts/carteiro.lua"
	if *update {
		if err := os.WriteFile(file, lua.Annotations(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, lua.Annotations()) {
		t.Errorf("scripts/carteiro.lua is stale (%v); write it with: go test ./hooks -update", err)
	}
	for _, want := range []string{"---@overload fun(hook: \"receive.rcpt\", handler: fun(session: session, tx: tx, rcpt: rcpt))",
		"function rcpt:copy_to(addresses, how) end", "---@return rcpt[]\nfunction tx:recipients() end", "session.tls = nil ---@type tls|nil",
		"function account.grant(owner, delegate, right, until_) end", "---@return fun(): part\nfunction msg:parts() end",
		"function kv.get(key) end"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("no %q", want)
		}
	}
}
