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
	want := readme(t)
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

// changes has a name for each change that a hook can allow.
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

func forwards(s hooks.Spec) bool { return s.InCommit && slices.Contains(s.Args, "msg") }

// readmeText reads a part of the page that people wrote.
func readmeText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readme(t *testing.T) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, readmeText(t, "readme_head.md"), 20, "60 s", "30 s")
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
		if s.InCommit {
			name += " *"
		}
		if s.Sides {
			name += " †"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d |\n", name, strings.Join(s.Args, ", "), s.When,
			strings.Join(verdicts, " "), strings.Join(may, ", "), fail, s.Wall, s.Budget)
	}
	b.WriteString("\n## Functions\n\nLua 5.1 without coroutines. What is not on this page does not exist: no files, no processes, " +
		"no code from text.\n" +
		"Addresses are `user@domain` with the domain in lower case; the null sender is `\"\"`. Times are Unix seconds,\n" +
		"durations are seconds or texts like `\"5m\"`, sizes are octets.\n\n")
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
	b.WriteString(readmeText(t, "readme_code.md"))
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
