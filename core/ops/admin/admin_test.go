package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/crypt"
	"carteiro/core/ops/policytest/keys"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/operate"
	"carteiro/core/service/spam"
	"carteiro/core/store"
	"carteiro/hooks"
)

// TestCalls makes calls in an order in which each finds what those before left:
// what it answers, and what it refuses with which words.
func TestCalls(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct{ name, args, want, err string }{
		{"nothing", ``, "", `no call "nothing"`},
		{"", ``, "", `no call ""`},
		{"account.add", `{"adress": "x@a.example"}`, "", `arguments: json: unknown field "adress"`},
		{"account.add", `{"address": 1}`, "", "arguments: json: cannot unmarshal number"},
		{"account.add", `{"address": "x@a.example"} {}`, "", "arguments: more than one value"},
		{"account.add", `{"address": "x@a.example"`, "", "arguments: unexpected EOF"},

		{"account.list", ``, `[]`, ""},
		{"account.list", `[]`, "", "arguments: json: cannot unmarshal array"},
		{"account.add", `{"address": "Alice@a.example", "password": "open sesame"}`, `"address":"alice@a.example"`, ""},
		{"account.add", `{"address": "alice@a.example"}`, "", "alice@a.example: exists already"},
		{"account.add", `{"address": "alice"}`, "", `"alice": `},
		{"account.add", `{"address": "x@b.example"}`, "", "x@b.example: domain b.example: not a local domain"},
		{"account.add", `{"address": "bob@a.example"}`, `"password":false`, ""},
		{"account.password", `{"address": "bob@a.example", "password": "secret word"}`, `{}`, ""},
		{"account.password", `{"address": "bob@a.example", "password": "other word", "apop": true}`, `{}`, ""},
		{"account.password", `{"address": "bob@a.example"}`, "", "the password is empty"},
		{"account.password", `{"address": "nobody@a.example", "password": "x"}`, "", "nobody@a.example: no such address"},
		{"account.show", `{"address": "bob@a.example"}`, `"password":true,"apop":true`, ""},
		{"account.show", `{"address": "nobody@a.example"}`, "", "nobody@a.example: no such address"},
		{"account.show", ``, "", `"": `},
		{"account.list", ``, `"address":"alice@a.example"`, ""},

		{"account.set", `{"address": "bob@a.example", "key": "quota", "value": "10MiB"}`, `{}`, ""},
		{"account.set", `{"address": "bob@a.example", "key": "quota", "value": "much"}`, "",
			`"much" is not a size; write 1048576, "50MiB" or "1GiB"`},
		{"account.set", `{"address": "bob@a.example", "key": "away", "value": "{\"days\": 3}"}`, `{}`, ""},
		{"account.set", `{"address": "bob@a.example", "key": "away", "value": "{\"days\": "}`, "", "value of away is broken JSON"},
		{"account.set", `{"address": "bob@a.example", "key": "sign", "value": "plain text", "confirmed": true}`, `{}`, ""},
		{"account.set", `{"address": "bob@a.example", "key": "days", "value": "many"}`, "", "days: not a number"},
		{"account.set", `{"address": "nobody@a.example", "key": "x", "value": "1"}`, "", "nobody@a.example: no such address"},
		{"account.show", `{"address": "bob@a.example"}`, `"settings":{"away":{"days":3},"sign":"plain text"},"confirmed":{"sign":true}`, ""},
		{"account.show", `{"address": "bob@a.example"}`, `"quota":10485760`, ""},

		{"account.grant", `{"owner": "bob@a.example", "delegate": "alice@a.example", "right": "send-as", "until": "2026-12-31"}`, `{}`, ""},
		{"account.grant", `{"owner": "bob@a.example", "delegate": "alice@a.example", "right": "fly"}`, "", `right "fly"`},
		{"account.grant", `{"owner": "bob@a.example", "delegate": "alice@a.example", "right": "read", "until": "soon"}`, "",
			`until: "soon" is not a day; write 2026-12-31`},
		{"account.grant", `{"owner": "bob", "delegate": "alice@a.example", "right": "read"}`, "", `"bob": `},
		{"account.grant", `{"owner": "bob@a.example", "delegate": "al", "right": "read"}`, "", `"al": `},
		{"account.show", `{"address": "bob@a.example"}`, `"grants":[{"delegate":"alice@a.example","right":"send-as","until":"2027-01-01T`, ""},
		{"account.revoke", `{"owner": "bob@a.example", "delegate": "alice@a.example"}`, `{}`, ""},
		{"account.revoke", `{"owner": "bob@a.example", "delegate": "al"}`, "", `"al": `},
		{"account.audit", `{"owner": "bob@a.example"}`, `[]`, ""},
		{"account.audit", `{"owner": "bob@a.example", "limit": -1}`, "", "limit: -1 is below 1"},
		{"account.audit", `{"owner": "bob"}`, "", `"bob": `},
		{"account.rm", `{"address": "bob@a.example"}`, `{}`, ""},
		{"account.rm", `{"address": "bob@a.example"}`, "", "bob@a.example: no such address"},
		{"account.rm", `{"address": "bob"}`, "", `"bob": `},

		{"domain.add", `{"domain": "c.example"}`, `{}`, ""},
		{"domain.add", `{"domain": "c example"}`, "", ""},
		{"domain.list", ``, `"name":"c.example"`, ""},
		{"domain.list", `"c.example"`, "", "arguments: json: cannot unmarshal string"},
		{"domain.rm", `{"domain": "c.example"}`, `{}`, ""},
		{"domain.rm", `{"domain": "a.example"}`, "", "domain a.example is set in the configuration; remove it there"},

		{"alias.list", ``, `[]`, ""},
		{"alias.add", `{"address": "Info@a.example", "targets": ["alice@a.example", "x@out.example"]}`, `{}`, ""},
		{"alias.add", `{"address": "@a.example", "targets": ["alice@a.example"]}`, `{}`, ""},
		{"alias.add", `{"address": "/(.+)-list/@a.example", "targets": ["$1@out.example"]}`, `{}`, ""},
		{"alias.add", `{"address": "@", "targets": ["alice@a.example"]}`, "", ""},
		{"alias.add", `{"address": "x@a.example", "targets": ["nobody"]}`, "", `"nobody": `},
		{"alias.add", `{"address": "/(/@a.example", "targets": ["alice@a.example"]}`, "", ""},
		{"alias.list", ``, `"address":"info@a.example"`, ""},
		{"alias.import", `{"aliases": [{"address": "i1@a.example", "targets": ["alice@a.example"], "line": 3}]}`, `{"aliases":1}`, ""},
		{"alias.import", `{"aliases": [{"address": "i2@a.example", "targets": ["alice@a.example"], "line": 1}, {"address": "i", "line": 7}]}`,
			"", "line 7: "},
		{"alias.import", `{"aliases": [{"address": "i2@a.example", "targets": ["alice"], "line": 9}]}`, "", "line 9: "},
		{"alias.import", `{"aliases": [{"address": "i2@b.example", "targets": ["alice@a.example"], "line": 8}]}`, "", "line 8: "},
		{"alias.rm", `{"address": "i2@a.example"}`, "", "i2@a.example: no such address"},
		{"alias.rm", `{"address": "info@a.example"}`, `{}`, ""},
		{"alias.rm", `{"address": "info"}`, "", `"info": `},

		{"srs.list", ``, `[{`, ""},
		{"srs.list", `[]`, "", "arguments: json: cannot unmarshal array"},
		{"srs.rotate", `{"x": 1}`, "", `arguments: json: unknown field "x"`},
		{"srs.rotate", ``, `},{`, ""},

		{"status", ``, `"version":"1.2.3","hostname":"mx.a.example"`, ""},
		{"status", ``, `"private_hosts":["router.example:80"]`, ""},
		{"status", `{"x": 1}`, "", `arguments: json: unknown field "x"`},
		{"bundle.usage", ``, `"bundle":"acme/x"`, ""},
		{"clock", `{"by": 0}`, "", "a clock goes forward"},
		{"clock", `{"by": 3600000000000}`, `"now":"2026-11-30T13:00:00Z"`, ""},

		{"command.list", ``, `[{"name":"greet","handler":"policy.lua:2"}]`, ""},
		{"command", `{"name": "greet", "verb": "now", "args": ["you"]}`, `{"type":"text/plain","body":"hello you\n"}`, ""},
		{"command", `{"name": "greet", "verb": "fail"}`, "", "policy.lua:2 failed: "},
		{"command", `{"name": "other"}`, "", "other: no policy in force has this command"},
		{"command", ``, "", "command: the name is missing"},

		{"queue.list", ``, `[]`, ""},
		{"queue.summary", ``, `[]`, ""},
		{"queue.show", ``, "", "which message? give its id"},
		{"queue.show", `{"id": "x"}`, "", ""},
		{"queue.operate", `{"operation": "drop"}`, "", "which messages? give --id, another filter, or --all"},
		{"queue.operate", `{"operation": "drop", "all": true}`, `{"changed":[],"failed":[]}`, ""},
		{"explain", `{"what": "x@a.example"}`, `[]`, ""},
		{"explain", `{"what": "not an id"}`, "", ""},
		{"explain", `{"what": "00000000000000000000000000"}`, "", "message 00000000000000000000000000: not found"},

		{"reload", `{"by": "somebody"}`, "", `by: "somebody" is none of api, cli`},
		{"generation.list", ``, `"by":"start"`, ""},
		{"generation.rollback", `{"id": "zz"}`, "", ""},
		{"generation.diff", `{"a": "zz"}`, "", ""},
	} {
		got, err := r.Call(context.Background(), tt.name, json.RawMessage(tt.args))
		raw, _ := json.Marshal(got)
		switch {
		case tt.want != "" && (err != nil || !strings.Contains(string(raw), tt.want)):
			t.Errorf("%s %s: %s, %v, want %s", tt.name, tt.args, raw, err, tt.want)
		case tt.want == "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err)):
			t.Errorf("%s %s: %s, %v, want error %q", tt.name, tt.args, raw, err, tt.err)
		}
	}
}

// TestOffline: without a server, calls about accounts, aliases and keys work on
// the store, and the others say that they need the server.
func TestOffline(t *testing.T) {
	r := newRig(t)
	offline := &rig{
		t:       t,
		Service: &Service{Store: r.Store, Directory: r.Directory, Returns: r.Returns, Keys: r.Keys, Spam: r.Spam, Clock: r.Clock},
	}
	offline.do("account.add", AccountArgs{Address: "x@a.example"}, nil)
	offline.do("account.set", SetArgs{Address: "x@a.example", Key: "k", Value: "v"}, nil)
	offline.do("spam.learn", SpamArgs{Class: "ham", Messages: []*spam.Features{}}, nil)
	for name, args := range map[string]string{
		"status": ``, "reload": ``, "bundle.usage": ``, "command": `{"name": "greet"}`, "command.list": ``, "queue.list": ``, "queue.summary": ``,
		"queue.show": `{"id": "x"}`, "queue.operate": `{"all": true}`, "generation.list": ``, "generation.diff": ``, "generation.rollback": ``,
	} {
		offline.fails(name, args, "needs the running server")
	}
	offline.fails("clock", `{"by": 1}`, "this server lives by the system's clock")
}

// TestMethodsComplete: every call that Methods lists is tried in TestCalls or in another
// test, so that no new call is without a test.
func TestMethodsComplete(t *testing.T) {
	var source []byte
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	for name := range Methods() {
		if n := strings.Count(string(source), fmt.Sprintf("%q", name)); n < 2 {
			t.Errorf("%s is tried %d times, want a good case and a bad one", name, n)
		}
	}
}

// TestSocket: who can open it, what an earlier server left there, and what is
// refused at it.
func TestSocket(t *testing.T) {
	r := newRig(t)
	path, c := r.serve()
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v, %v, want %v", info.Mode(), err, os.ModeSocket|0o600)
	}
	var s StatusReport
	raw, err := c.Call(t.Context(), "status", struct{}{})
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil || s.Hostname != "mx.a.example" || s.Generation.ID == "" || len(s.Listeners) != 1 {
		t.Errorf("status: %+v, %v", s, err)
	}
	for _, tt := range []struct {
		name string
		args any
		want string
	}{
		{"nothing", struct{}{}, `no call "nothing"`},
		{"account.show", AccountArgs{Address: "nobody@a.example"}, "nobody@a.example: no such address"},
		{"account.add", map[string]string{"adress": "x"}, `arguments: json: unknown field "adress"`},
		{"account.set", SetArgs{Value: strings.Repeat("x", maxArgs)}, "http: request body too large"},
		{"command", hooks.Command{Name: "other"}, ErrNoCommand.Error()},
	} {
		_, err := c.Call(t.Context(), tt.name, tt.args)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if isNoCommand := errors.Is(err, ErrNoCommand); isNoCommand != (tt.name == "command") {
			t.Errorf("%s: ErrNoCommand is %v", tt.name, isNoCommand)
		}
	}
	// A second server, after the first was killed.
	again, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoServer) {
		t.Errorf("nobody listens: %v, want %v", err, ErrNoServer)
	}
	if _, err := Listen(filepath.Join(path, "below", "a", "file")); err == nil || !strings.HasPrefix(err.Error(), "admin socket: ") {
		t.Errorf("a path that cannot be: %v", err)
	}
}

// post sends a request to a server and returns the status and the answer.
func post(t *testing.T, addr, method, path, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestHTTP: the same calls at an http listener, for clients with the token.
func TestHTTP(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	r := newRig(t)
	addr := r.serveHTTP(token)
	for _, tt := range []struct {
		method, path, token, body string
		status                    int
		want                      string
	}{
		{"POST", "/v1/status", token, "", 200, `"hostname":"mx.a.example"`},
		{"POST", "/v1/account.add", token, `{"address": "x@a.example"}`, 200, `"address":"x@a.example"`},
		{"POST", "/v1/account.add", token, `{"address": "x@a.example"}`, 422, `{"error":"x@a.example: exists already"}`},
		{"POST", "/v1/nothing", token, "", 422, `{"error":"no call \"nothing\""}`},
		{"POST", "/v1/command", token, `{"name": "other"}`, 422, `"kind":"no-command"`},
		{"POST", "/v1/account.set", token, strings.Repeat("x", maxArgs+1), 422, `{"error":"http: request body too large"}`},
		{"GET", "/v1/status", token, "", 405, ""},
		{"POST", "/v1/", token, "", 404, ""},
		{"POST", "/v1/submit", token, "", 422, `{"error":"no recipients"}`},
		{"GET", "/v1/trace?hook=none", token, "", 422, `there is no hook "none"`},
		{"GET", "/v1/mbox?owner=x", token, "", 422, `"x": `},
		{"GET", "/v1/mbox?owner=x@a.example", "", "", 401, "no valid token"},
		{"POST", "/v1/account.rm", "", `{"address": "x@a.example"}`, 401, "no valid token"},
		{"POST", "/v1/account.rm", token[1:], `{"address": "x@a.example"}`, 401, "no valid token"},
		{"GET", "/metrics", "", "", 200, "carteiro_"},
		{"GET", "/health", "", "", 200, "ok\n"},
	} {
		status, text := post(t, addr, tt.method, tt.path, tt.token, tt.body)
		if status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s %s %.60s: %d %.200s, want %d %s", tt.method, tt.path, tt.body, status, text, tt.status, tt.want)
		}
	}
	r.do("account.show", AccountArgs{Address: "x@a.example"}, nil) // nobody without the token removed it
}

const letter = "From: x@a.example\r\nTo: y@out.example\r\nSubject: hello\r\n\r\nbody\r\n"

// TestSubmit: messages submitted at the socket, accepted and refused ones.
func TestSubmit(t *testing.T) {
	r := newRig(t)
	_, c := r.serve()
	r.do("account.add", AccountArgs{Address: "alice@a.example"}, nil)
	id := r.hand(c, Submission{
		Sender:     "alice@a.example",
		Recipients: []string{"alice@a.example"},
		Notify:     "failure,delay",
		Ret:        "hdrs",
		EnvID:      "e1",
	}, letter)
	r.until("the message is in the mailbox", func() bool {
		var a AccountReport
		r.do("account.show", AccountArgs{Address: "alice@a.example"}, &a)
		return a.Messages == 1 && len(a.Folders) == 1 && a.Used > 0
	})
	var trails []MessageTrail
	r.do("explain", ExplainArgs{What: id}, &trails)
	if len(trails) != 1 || trails[0].ID != id || trails[0].Queued || trails[0].Refused() || len(trails[0].Trail) == 0 {
		t.Errorf("the trail of a message that was delivered: %+v", trails)
	}
	var mbox bytes.Buffer
	if err := c.Mbox(t.Context(), "alice@a.example", &mbox); err != nil || !strings.HasPrefix(mbox.String(), "From alice@a.example ") ||
		!strings.Contains(mbox.String(), "\nSubject: hello\n") || !strings.HasSuffix(mbox.String(), "\n\nbody\n\n") ||
		strings.Contains(mbox.String(), "\r") {
		t.Errorf("the mailbox as mbox: %v\n%s", err, &mbox)
	}
	if err := c.Mbox(t.Context(), "nobody@a.example", io.Discard); err != nil {
		t.Errorf("the mailbox of nobody: %v, want an empty one", err)
	}
	if err := c.Mbox(t.Context(), "nobody", io.Discard); err == nil || !strings.HasPrefix(err.Error(), `"nobody": `) {
		t.Errorf("no address: %v", err)
	}
	for _, tt := range []struct {
		s    Submission
		want string
	}{
		{Submission{Sender: "alice@a.example"}, "no recipients"},
		{Submission{Sender: "alice", Recipients: []string{"alice@a.example"}}, "sender: "},
		{Submission{Recipients: []string{"nobody"}}, `recipient "nobody": `},
		{Submission{Recipients: []string{"nobody@a.example"}}, "recipient nobody@a.example: 550 "},
		{Submission{Recipients: []string{"refused@a.example"}}, "recipient refused@a.example: 550 5.7.1 not you"},
		{Submission{Recipients: []string{"alice@a.example"}, Notify: "sometimes"},
			`notify: "sometimes" is none of never, success, failure, delay`},
		{Submission{Recipients: []string{"alice@a.example"}, Notify: "never,delay"}, "notify: never stands alone"},
	} {
		id, err := c.Submit(t.Context(), tt.s, stringReader(letter))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %s, %v, want error %q", tt.s, id, err, tt.want)
		}
	}
}

// TestQueue: lists of the queue, and operations on its messages.
func TestQueue(t *testing.T) {
	r := newRig(t)
	_, c := r.serve()
	r.do("account.add", AccountArgs{Address: "alice@a.example"}, nil)
	from := Submission{Sender: "alice@a.example", Recipients: []string{"x@out.example", "y@out.example"}}
	first, second := r.hand(c, from, letter), r.hand(c, from, letter)
	var lines []QueueLine
	r.until("both are deferred", func() bool {
		r.do("queue.list", QueueArgs{}, &lines)
		return len(lines) == 2 && lines[0].Status == "deferred" && lines[1].Status == "deferred"
	})
	l := lines[0]
	if l.Key != "out.example" || l.Sender != "alice@a.example" || !slices.Equal(l.Recipients, from.Recipients) || l.Subject != "hello" ||
		l.Attempts != 1 || l.Size == 0 || l.Due.IsZero() {
		t.Errorf("a line of the queue: %+v", l)
	}
	r.do("queue.list", map[string]any{"status": "held"}, &lines)
	if len(lines) != 0 {
		t.Errorf("held: %+v, want none", lines)
	}
	r.do("queue.list", map[string]any{"limit": 1}, &lines)
	if len(lines) != 1 {
		t.Errorf("%d lines with limit 1", len(lines))
	}
	var sums []QueueSum
	r.do("queue.summary", QueueArgs{}, &sums)
	if len(sums) != 1 || sums[0].Key != "out.example" || sums[0].Status != "deferred" || sums[0].Messages != 2 || sums[0].Recipients != 4 ||
		sums[0].Bytes == 0 || sums[0].Oldest.IsZero() {
		t.Errorf("the summary: %+v", sums)
	}
	var m QueueMessage
	r.do("queue.show", map[string]any{"id": first}, &m)
	if m.Envelope.ID.String() != first || len(m.Groups) != 1 || len(m.Recipients) != 2 || !strings.Contains(m.Header, "Subject: hello\r\n") {
		t.Errorf("queue.show: %+v", m)
	}
	operateOn(r, first, second)
	r.fails("queue.operate", `{"operation": "eat", "all": true}`, `operation: "eat" is none of hold, release, retry, bounce, drop`)
	r.fails("queue.operate", fmt.Sprintf(`{"operation": "drop", "id": %q}`, first), "")
	var trails []MessageTrail
	r.do("explain", ExplainArgs{What: "x@out.example"}, &trails)
	if len(trails) != 2 {
		t.Errorf("%d messages to x@out.example, want 2", len(trails))
	}
	r.do("explain", ExplainArgs{What: "x@out.example", Limit: 1}, &trails)
	if len(trails) != 1 {
		t.Errorf("%d messages with limit 1", len(trails))
	}
}

// operateOn does every operation to two deferred messages, which are gone then.
func operateOn(r *rig, first, second string) {
	t := r.t
	t.Helper()
	// A message that is being tried cannot be changed at that moment.
	operate := func(op, id string) (o OperateReport) {
		t.Helper()
		args, _ := json.Marshal(map[string]any{"operation": op, "id": id, "reason": "a test"})
		r.until(op+" is done", func() bool {
			got, err := r.Call(context.Background(), "queue.operate", args)
			if err != nil && !errors.Is(err, operate.ErrBusy) && !strings.Contains(err.Error(), operate.ErrBusy.Error()) {
				t.Fatalf("%s: %v", op, err)
			}
			o, _ = got.(OperateReport)
			return err == nil
		})
		return o
	}
	if o := operate("hold", first); !slices.Equal(o.Changed, []string{first}) {
		t.Errorf("hold: %+v", o)
	}
	var held []QueueLine
	r.do("queue.list", map[string]any{"status": "held"}, &held)
	if len(held) != 1 || held[0].ID != first || held[0].Reason != "a test" || !held[0].Due.IsZero() {
		t.Errorf("held: %+v", held)
	}
	for i, op := range []string{"release", "retry"} {
		operate(op, first)
		r.until("it was tried again after "+op, func() bool {
			var now []QueueLine
			r.do("queue.list", map[string]any{"id": first}, &now)
			return len(now) == 1 && now[0].Attempts == 2+i && now[0].Status == "deferred"
		})
	}
	if o := operate("drop", first); !slices.Equal(o.Changed, []string{first}) {
		t.Errorf("drop: %+v", o)
	}
	operate("bounce", second)
	r.until("the DSN is in the mailbox", func() bool {
		var a AccountReport
		r.do("account.show", AccountArgs{Address: "alice@a.example"}, &a)
		var lines []QueueLine
		r.do("queue.list", QueueArgs{}, &lines)
		return a.Messages == 1 && len(lines) == 0
	})
}

// TestReload: a reload takes other policies, or keeps those in force, and a
// rollback takes earlier ones back.
func TestReload(t *testing.T) {
	r := newRig(t)
	var before, after, now Generation
	var s StatusReport
	r.do("status", struct{}{}, &s)
	before = s.Generation
	files := r.sources[0].Files
	r.sources[0].Files = map[string][]byte{"policy.lua": []byte(policy + "-- more\n")}
	r.do("reload", ReloadArgs{By: "cli"}, &after)
	if after.ID == before.ID || after.ID == "" {
		t.Errorf("generation %q after %q", after.ID, before.ID)
	}
	var diff DiffReport
	r.do("generation.diff", DiffArgs{A: before.ID, B: after.ID}, &diff)
	if !strings.Contains(diff.Diff, "+-- more") {
		t.Errorf("the difference is %q", diff.Diff)
	}
	r.sources[0].Files = map[string][]byte{"policy.lua": []byte("on(")}
	r.fails("reload", ``, "policy.lua:1")
	r.readErr = errors.New("no disk")
	r.fails("reload", ``, "no disk")
	r.readErr, r.sources[0].Files = nil, files
	r.do("status", struct{}{}, &s)
	if s.Generation.ID != after.ID {
		t.Errorf("after reloads that failed %q is in force, want %q", s.Generation.ID, after.ID)
	}
	r.do("generation.rollback", RollbackArgs{ID: before.ID}, nil)
	r.do("status", struct{}{}, &s)
	if now = s.Generation; now.ID != before.ID {
		t.Errorf("after the rollback %q is in force, want %q", now.ID, before.ID)
	}
}

// TestKeys: keys of an address.
func TestKeys(t *testing.T) {
	r := newRig(t)
	key, err := keys.New(crypt.OpenPGP, "alice@a.example", r.Clock.Now().Add(-time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r.do("key.add", KeyArgs{Address: "Alice@a.example", File: key.Public}, nil)
	var list []struct{ Address, Kind string }
	r.do("key.list", KeyArgs{}, &list)
	if len(list) != 1 || list[0].Address != "alice@a.example" || list[0].Kind != crypt.OpenPGP {
		t.Errorf("keys: %+v", list)
	}
	r.do("key.list", KeyArgs{Address: "bob@a.example"}, &list)
	if len(list) != 0 {
		t.Errorf("keys of bob: %+v", list)
	}
	r.fails("key.add", `{"address": "alice@a.example", "file": "bm90IGEga2V5"}`, "")
	r.fails("key.add", `{"address": "alice"}`, `"alice": `)
	r.fails("key.list", `{"address": "alice"}`, `"alice": `)
	r.fails("key.rm", `{"address": "alice"}`, `"alice": `)
	r.do("key.rm", KeyArgs{Address: "alice@a.example"}, nil)
	r.do("key.list", KeyArgs{}, &list)
	if len(list) != 0 {
		t.Errorf("keys after rm: %+v", list)
	}
}

// TestSpam: the models of the site and of accounts.
func TestSpam(t *testing.T) {
	r := newRig(t)
	r.do("account.add", AccountArgs{Address: "alice@a.example"}, nil)
	features := func(text string) *spam.Features {
		f, err := spam.Extract(spam.Read([]byte("Subject: " + text + "\r\n\r\n" + text + "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	bad, good := features("cheap pills and watches"), features("minutes of the meeting")
	r.do("spam.learn", SpamArgs{Class: "spam", Messages: []*spam.Features{bad}}, nil)
	r.do("spam.learn", SpamArgs{Class: "ham", Account: "Alice@a.example", Messages: []*spam.Features{good}}, nil)
	var stats spam.Stats
	for _, tt := range []struct {
		account   string
		spam, ham int64
	}{{"", 1, 0}, {"alice@a.example", 0, 1}} {
		if r.do("spam.stats", SpamArgs{Account: tt.account}, &stats); int64(stats.Spam) != tt.spam || int64(stats.Ham) != tt.ham {
			t.Errorf("stats of %q: %+v, want %d and %d", tt.account, stats, tt.spam, tt.ham)
		}
	}
	var p []float64
	if r.do("spam.classify", SpamArgs{Messages: []*spam.Features{bad, good}}, &p); len(p) != 2 || p[0] < p[1] {
		t.Errorf("probabilities %v", p)
	}
	r.do("spam.unlearn", SpamArgs{Messages: []*spam.Features{bad}}, nil)
	if r.do("spam.stats", SpamArgs{}, &stats); stats.Spam != 0 {
		t.Errorf("stats after unlearn: %+v", stats)
	}
	r.fails("spam.learn", `{"class": "eggs"}`, "")
	for _, call := range []string{"spam.learn", "spam.unlearn", "spam.classify", "spam.stats"} {
		r.fails(call, `{"class": "ham", "account": "nobody@a.example"}`, "nobody@a.example: no such address")
		r.fails(call, `{"class": "ham", "account": "nobody"}`, `"nobody": `)
	}
}

// TestTrace: a line for each call of a handler that the filter wants, until the
// reader goes or the server stops.
func TestTrace(t *testing.T) {
	r := newRig(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	path := filepath.Join(t.TempDir(), "admin.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serveSocket(ctx, ln, r.Handler()) }()
	c, err := Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.http.CloseIdleConnections()
	traced := make(chan telemetry.Line, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Trace(t.Context(), TraceFilter{Hook: "receive.rcpt"}, func(l telemetry.Line) bool { traced <- l; return true })
	}()
	r.until("somebody watches", func() bool { return r.Journal.Tracer.Watchers() == 1 })
	r.Journal.Tracer.Publish(telemetry.Line{What: "hook", Text: "receive.data", Handler: "a.lua"})
	r.Journal.Tracer.Publish(telemetry.Line{What: "hook", Text: "receive.rcpt", Handler: "b.lua"})
	if l := <-traced; l.Handler != "b.lua" {
		t.Errorf("the first line is %+v, want that of receive.rcpt", l)
	}
	begin := time.Now()
	stop()
	if err := errors.Join(<-ended, <-served); err != nil || time.Since(begin) > 4*time.Second {
		t.Errorf("the server stopped with %v after %v, a trace must not hold it", err, time.Since(begin))
	}
	if n := r.Journal.Tracer.Watchers(); n != 0 {
		t.Errorf("%d watch, want nobody", n)
	}
	for _, f := range []TraceFilter{{IP: "192.0.2.300"}, {Hook: "receive.nothing"}} {
		if _, err := lineFilter(f.values()); err == nil {
			t.Errorf("the filter %+v was taken", f)
		}
	}
}

// TestHealth: a store that failed is not healthy.
func TestHealth(t *testing.T) {
	for _, tt := range []struct {
		failed bool
		want   int
	}{{false, 200}, {true, 503}} {
		w := httptest.NewRecorder()
		Health(failing{failed: tt.failed})(w, nil)
		if w.Code != tt.want {
			t.Errorf("failed %v: status %d, want %d", tt.failed, w.Code, tt.want)
		}
	}
}

// failing is a store of which only the state can be read.
type failing struct {
	store.Store
	failed bool
}

func (f failing) Stats() store.Stats { return store.Stats{Failed: f.failed} }
