package scripts_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/policytest"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/scripts"
)

const letter = "From: Ann <ann@a.example>\nTo: bob@our.example\nSubject: Hello\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" +
	"Message-ID: <1@a.example>\n\nHow are you?\n"

// good fails the test if a handler failed.
func good(t *testing.T, a hookstest.Answer) hookstest.Answer {
	t.Helper()
	if a.Err() != "" {
		t.Fatalf("policy failed: %s", a.Err())
	}
	return a
}

// TestExamples: each example has a test of its own in Lua, which passes and
// runs every line of it.
func TestExamples(t *testing.T) {
	files, tests := map[string]map[string][]byte{}, map[string][]byte{}
	data := map[string][]byte{}
	err := fs.WalkDir(scripts.Examples(), "examples", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(scripts.Examples(), name)
		rel := strings.TrimPrefix(name, "examples/")
		switch {
		case strings.HasPrefix(rel, "tests/"):
			tests[rel] = text
		case path.Ext(rel) == ".lua":
			files[rel] = map[string][]byte{rel: text}
		default:
			data[rel] = text
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for name, own := range files {
		t.Run(name, func(t *testing.T) {
			test := path.Join("tests", name)
			if tests[test] == nil {
				t.Fatalf("no %s", test)
			}
			maps.Copy(own, data)
			src := hooks.Source{Name: "scripts", Tier: hooks.Admin, Files: own, Main: []string{name}}
			runs(t, policytest.Options{Sources: []hooks.Source{src}, Tests: map[string][]byte{test: tests[test]}, Cover: true})
		})
	}
}

// TestPolicyTests: the starting policy passes the tests in its folder.
func TestPolicyTests(t *testing.T) {
	test, err := os.ReadFile("tests/policy.lua")
	if err != nil {
		t.Fatal(err)
	}
	src := hooks.Source{Name: "scripts", Tier: hooks.Admin, Files: map[string][]byte{"policy.lua": scripts.Policy()},
		Main: []string{"policy.lua"}}
	runs(t, policytest.Options{Sources: []hooks.Source{src}, Tests: map[string][]byte{"tests/policy.lua": test}})
}

// runs fails the test if a case fails or a line is not reached.
func runs(t *testing.T, o policytest.Options) {
	t.Helper()
	r, err := policytest.Test(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cases) == 0 {
		t.Error("no cases")
	}
	for _, c := range r.Cases {
		if c.Err != "" {
			t.Errorf("%s: %s", c.Name, c.Err)
		}
	}
	for _, c := range r.Coverage {
		if len(c.Missed) > 0 {
			t.Errorf("%s: lines %v never ran", c.File, c.Missed)
		}
	}
}

func TestStartingPolicy(t *testing.T) {
	w := hookstest.New(t).Script(string(scripts.Policy()))
	// Receive: a user may send a hundred at once, not more; strangers need a From.
	s := hookstest.Session("192.0.2.7")
	s.Identity = hookstest.Identity("bob@our.example")
	last := hooks.Continue
	for range 105 {
		last = good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveMail, Session: s, Tx: hookstest.Tx("bob@our.example")})).Action
	}
	if last != hooks.Defer {
		t.Errorf("the 105th message: %v", last)
	}
	data := func(text string) hooks.Action {
		return good(t, w.Ask(&hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"),
			Tx: hookstest.Tx("a@a.example", "bob@our.example"), Msg: hookstest.Message("a@a.example", text)})).Action
	}
	if data(letter) != hooks.Continue || data("Subject: no From\n\nx\n") != hooks.Reject {
		t.Error("From")
	}
	// Queue: bulk mail steps back.
	e := &hooks.Event{Point: hooks.QueueCommit, Msg: hookstest.Message("a@a.example", "Precedence: bulk\n"+letter),
		Group: &envelope.Group{Key: "x.example", Domain: "x.example"}}
	if good(t, w.Ask(e)); e.Group.Priority != -4 {
		t.Errorf("priority %d", e.Group.Priority)
	}
	// Deliver: a tag names a folder that exists.
	file := func(to string) string {
		rcpt := hookstest.Rcpt(to)
		return good(t, w.Ask(&hooks.Event{Point: hooks.DeliverLocal, Msg: hookstest.Message("a@a.example", letter), Rcpt: rcpt,
			Box: &hookstest.Box{Owner: "bob@our.example", Names: []string{"INBOX", "lists"}}})).Folder
	}
	if file("bob+lists@our.example") != "lists" || file("bob+other@our.example") != "" || file("bob@our.example") != "" {
		t.Error("folders by tag")
	}
}

func TestAMistakeIsTold(t *testing.T) {
	w := hookstest.New(t)
	_, err := w.Engine.Load(t.Context(),
		[]hooks.Source{hookstest.Scripts(map[string]string{"policy.lua": strings.Replace(string(scripts.Policy()), "rate.take", "rate.tak", 1)})})
	if err == nil || !strings.Contains(err.Error(), "policy.lua:") {
		t.Errorf("a misspelt function: %v", errors.Unwrap(err))
	}
}
