package auth

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/store/badgerstore"
)

func open(t testing.TB, c *clock.Clock) *Directory {
	t.Helper()
	st, err := badgerstore.Open(badgerstore.Options{InMemory: true, Clock: c, Log: telemetry.Discard().Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	d, err := New(t.Context(),
		Options{Data: st, Domains: []string{"Our.example"}, Postmaster: "root@our.example", Key: make([]byte, 32), Clock: c, WeakHash: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []envelope.Address{"root@our.example", "ann@our.example", "bob@our.example"} {
		if err := d.AddAccount(t.Context(), a, "pass word"); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestResolve(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	if err := d.AddAlias(ctx, "Sales@our.example", []envelope.Address{"ann@our.example", "x@out.example"}); err != nil {
		t.Fatal(err)
	}
	tests := map[envelope.Address]string{
		"ann@our.example":        "ann@our.example",
		"ANN+tag@our.example":    "ann@our.example",
		"sales+x@our.example":    "[ann@our.example x@out.example]",
		"postmaster@our.example": "[root@our.example]",
		"nobody@our.example":     "unknown",
	}
	check := func() {
		t.Helper()
		for a, want := range tests {
			r, err := d.Resolve(ctx, a)
			got := string(r.Mailbox)
			switch {
			case errors.Is(err, ErrUnknown):
				got = "unknown"
			case err != nil:
				got = err.Error()
			case got == "":
				got = joinAll(r.Targets)
			}
			if got != want {
				t.Errorf("Resolve(%s) = %s, want %s", a, got, want)
			}
		}
	}
	check()
	if err := d.AddAlias(ctx, "@our.example", []envelope.Address{"bob@our.example"}); err != nil {
		t.Fatal(err)
	}
	tests["nobody@our.example"] = "[bob@our.example]"
	check()
}

func joinAll(list []envelope.Address) string {
	s := make([]string, len(list))
	for i, a := range list {
		s[i] = string(a)
	}
	return "[" + strings.Join(s, " ") + "]"
}

func TestAliasCyclesAreRefused(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	add := func(a envelope.Address, to ...envelope.Address) error { return d.AddAlias(ctx, a, to) }
	for _, err := range []error{add("a@our.example", "b@our.example"), add("b@our.example", "c@our.example")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	err := add("c@our.example", "ann@our.example", "a@our.example")
	if !errors.Is(err, ErrCycle) || !strings.Contains(err.Error(), "c@our.example -> a@our.example -> b@our.example -> c@our.example") {
		t.Errorf("cycle: %v", err)
	}
	if err := add("self@our.example", "self+x@our.example"); !errors.Is(err, ErrCycle) {
		t.Errorf("self: %v", err)
	}
	if err := add("ann@our.example", "bob@our.example"); !errors.Is(err, ErrExists) {
		t.Errorf("account's name: %v", err)
	}
	if err := add("x@out.example", "bob@our.example"); !errors.Is(err, ErrNotLocal) {
		t.Errorf("foreign: %v", err)
	}
}

func TestPatterns(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	for name, to := range map[envelope.Address][]envelope.Address{
		"/team-([a-z]+)/@our.example": {"$1@our.example", "all@out.example"}, "@our.example": {"bob@our.example"},
		"team-x@our.example": {"ann@our.example"},
	} {
		if err := d.AddAlias(ctx, name, to); err != nil {
			t.Fatal(err)
		}
	}
	for a, want := range map[envelope.Address]string{"Team-Ann@our.example": "[ann@our.example all@out.example]",
		"team-ann+tag@our.example": "[ann@our.example all@out.example]",
		"team-x@our.example":       "[ann@our.example]", "xteam-ann@our.example": "[bob@our.example]", "ann@our.example": "[]"} {
		if r, err := d.Resolve(ctx, a); err != nil || fmt.Sprint(r.Targets) != want {
			t.Errorf("%s: %v %v, want %s", a, r, err, want)
		}
	}
	for _, bad := range []Alias{{"/(/@our.example", []envelope.Address{"ann@our.example"}},
		{"/a/@our.example", []envelope.Address{"$1@our.example"}},
		{"/(a)/@our.example", []envelope.Address{"$1"}}, {"/a/@out.example", []envelope.Address{"ann@our.example"}}} {
		if err := d.AddAlias(ctx, bad.Address, bad.Targets); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if err := d.RemoveAlias(ctx, "/team-([a-z]+)/@our.example"); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Resolve(ctx, "team-ann@our.example"); err != nil || fmt.Sprint(r.Targets) != "[bob@our.example]" {
		t.Errorf("after the pattern is gone: %v %v", r, err)
	}
}

// TestAliasesAllOrNone: circles are found among those to come and those that
// are there.
func TestAliasesAllOrNone(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	if err := d.AddAlias(ctx, "c@our.example", []envelope.Address{"a@our.example"}); err != nil {
		t.Fatal(err)
	}
	n, err := d.AddAliases(
		ctx,
		[]Alias{
			{"fine@our.example", []envelope.Address{"ann@our.example"}},
			{"a@our.example", []envelope.Address{"b@our.example"}},
			{"b@our.example", []envelope.Address{"c@our.example"}},
		},
	)
	if !errors.Is(err, ErrCycle) || n != 1 {
		t.Errorf("%d %v", n, err)
	}
	if all, err := d.Aliases(ctx); err != nil || len(all) != 1 {
		t.Errorf("something was written: %v %v", all, err)
	}
	// The new targets count, not those that they replace.
	if n, err := d.AddAliases(ctx, []Alias{
		{"a@our.example", []envelope.Address{"c@our.example"}}, {"c@our.example", []envelope.Address{"ann@our.example"}},
	}); err != nil {
		t.Errorf("%d %v", n, err)
	}
}

func TestConfirmedSettings(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	for _, want := range []bool{true, false, true} {
		if err := d.Set(ctx, "ann@our.example", "forward", json.RawMessage(`{}`), want); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Confirmed(ctx, "ann+x@our.example", "forward"); got != want || err != nil {
			t.Errorf("confirmed: %v %v, want %v", got, err, want)
		}
	}
	if got, err := d.Confirmed(ctx, "nobody@our.example", "forward"); got || err != nil {
		t.Errorf("nobody: %v %v", got, err)
	}
}

func TestLogin(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	if err := d.SetAPOP(ctx, "ann@our.example", "other secret"); err != nil {
		t.Fatal(err)
	}
	digest := func(secret string) string {
		sum := md5.Sum([]byte("<1.2@h>" + secret))
		return hex.EncodeToString(sum[:])
	}
	tests := []struct {
		name string
		cred envelope.Credentials
		want envelope.Address
	}{
		{"plain", envelope.Credentials{User: "ann@our.example", Password: "pass word"}, "ann@our.example"},
		{"again, remembered", envelope.Credentials{User: "ANN@Our.Example", Password: "pass word"}, "ann@our.example"},
		{"bare name", envelope.Credentials{User: "ann", Password: "pass word"}, "ann@our.example"},
		{"wrong", envelope.Credentials{User: "ann@our.example", Password: "pass"}, ""},
		{"empty", envelope.Credentials{User: "ann@our.example"}, ""},
		{"unknown", envelope.Credentials{User: "nobody@our.example", Password: "pass word"}, ""},
		{"no address", envelope.Credentials{User: "@", Password: "pass word"}, ""},
		{"as himself", envelope.Credentials{User: "bob@our.example", Authzid: "bob@our.example", Password: "pass word"}, "bob@our.example"},
		{"as another", envelope.Credentials{User: "bob@our.example", Authzid: "ann@our.example", Password: "pass word"}, ""},
		{"apop", envelope.Credentials{User: "ann", Challenge: "<1.2@h>", Digest: digest("other secret")}, "ann@our.example"},
		{"apop with the password", envelope.Credentials{User: "ann", Challenge: "<1.2@h>", Digest: digest("pass word")}, ""},
		{"apop, stale challenge", envelope.Credentials{User: "ann", Challenge: "<1.3@h>", Digest: digest("other secret")}, ""},
		{"apop without a secret", envelope.Credentials{User: "bob", Challenge: "<1.2@h>", Digest: digest("")}, ""},
	}
	for _, tt := range tests {
		d.throttle.wrong = nil // its own test is below
		got, err := d.Login(ctx, &tt.cred)
		if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestAChangedPasswordCountsAtOnce(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	old := &envelope.Credentials{User: "ann@our.example", Password: "pass word"}
	if _, err := d.Login(ctx, old); err != nil {
		t.Fatal(err)
	}
	if err := d.SetPassword(ctx, "ann@our.example", "new"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Login(ctx, old); !errors.Is(err, ErrCredentials) {
		t.Errorf("the old password still works: %v", err)
	}
	if _, err := d.Login(ctx, &envelope.Credentials{User: "ann@our.example", Password: "new"}); err != nil {
		t.Errorf("the new one does not: %v", err)
	}
}

func TestGuessesAreSlowedDown(t *testing.T) {
	var th throttle
	now := time.Now()
	var got []time.Duration
	for range 9 {
		got = append(got, th.delay("a", now))
		th.failed("a", now)
	}
	want := []time.Duration{0, 0, 0, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("delays %v, want %v", got, want)
			break
		}
	}
	if th.delay("b", now) != 0 {
		t.Error("another name waits too")
	}
	if th.delay("a", now.Add(time.Hour)) != 0 {
		t.Error("never forgotten")
	}
	th.succeeded("a")
	if th.delay("a", now) != 0 {
		t.Error("a good login does not clear the slate")
	}
	th.failed("c", now)
	th.failed("c", now)
	th.failed("c", now)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := th.wait(ctx, "c", time.Now); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone keeps waiting: %v", err)
	}
}

func TestSecretsAreSealed(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	if err := d.SetAPOP(ctx, "ann@our.example", "tanstaaf"); err != nil {
		t.Fatal(err)
	}
	raw, err := d.o.Data.Record(ctx, kindAccount, "ann@our.example")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "tanstaaf") || strings.Contains(string(raw), "pass word") ||
		!strings.Contains(string(raw), "$argon2id$") {
		t.Errorf("record %s", raw)
	}
	acc, _ := d.account(ctx, "ann@our.example")
	if _, err := d.sealer.open("bob@our.example", acc.APOP); err == nil {
		t.Error("a sealed secret can be moved to another account")
	}
	without, err := New(ctx, Options{Data: d.o.Data, Domains: []string{"our.example"}, WeakHash: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := without.SetAPOP(ctx, "ann@our.example", "x"); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
}

func TestDomains(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	if !d.Local("our.example") || d.Local("more.example") {
		t.Error("domains of the configuration")
	}
	if err := d.AddDomain(ctx, "More.example"); err != nil || !d.Local("more.example") {
		t.Errorf("add: %v", err)
	}
	if err := d.AddDomain(ctx, "more.example"); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	again, err := New(ctx, Options{Data: d.o.Data, WeakHash: true})
	if err != nil || !again.Local("more.example") {
		t.Errorf("not kept: %v", err)
	}
	if err := d.RemoveDomain(ctx, "our.example"); err == nil {
		t.Error("a domain of the configuration was removed")
	}
	if err := d.RemoveDomain(ctx, "more.example"); err != nil || d.Local("more.example") {
		t.Errorf("remove: %v", err)
	}
	if err := d.RemoveDomain(ctx, "more.example"); !errors.Is(err, ErrUnknown) {
		t.Errorf("remove twice: %v", err)
	}
}

func TestGrantsAndSenders(t *testing.T) {
	var c clock.Clock
	d := open(t, &c)
	ctx := t.Context()
	may := func(want string, user, a envelope.Address) {
		t.Helper()
		if got := d.MaySendAs(ctx, user, a); got != want {
			t.Errorf("%s as %s: %q, want %q", user, a, got, want)
		}
	}
	if err := d.AddAlias(ctx, "sales@our.example", []envelope.Address{"ann@our.example"}); err != nil {
		t.Fatal(err)
	}
	may("as", "ann@our.example", "ann+x@our.example")
	may("as", "ann@our.example", "sales@our.example")
	may("", "bob@our.example", "sales@our.example")
	may("", "bob@our.example", "ann@our.example")
	may("", "bob@our.example", "bob@out.example")
	if err := d.Grant(ctx, "ann@our.example", "bob@our.example", "send-on-behalf", c.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	may("behalf", "bob@our.example", "ann@our.example")
	if err := d.Grant(ctx, "ann@our.example", "bob@our.example", "send-as", time.Time{}); err != nil {
		t.Fatal(err)
	}
	may("as", "bob@our.example", "ann+tag@our.example")
	if err := d.Revoke(ctx, "ann@our.example", "bob@our.example", "send-as"); err != nil {
		t.Fatal(err)
	}
	may("behalf", "bob@our.example", "ann@our.example")
	c.Advance(2 * time.Hour)
	may("", "bob@our.example", "ann@our.example")
	if err := d.Grant(ctx, "ann@our.example", "bob@our.example", "everything", time.Time{}); err == nil {
		t.Error("an unknown right was granted")
	}
	if err := d.Grant(ctx, "ann@our.example", "full", "read", time.Time{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown delegate: %v", err)
	}
}

func TestAccountsAndSettings(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	if err := d.AddAccount(ctx, "ann@our.example", "x"); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	for _, a := range []envelope.Address{"x@out.example", "a+b@our.example", "UPPER@our.example"} {
		if err := d.AddAccount(ctx, a, "x"); err == nil {
			t.Errorf("%s was added", a)
		}
	}
	if err := d.Set(ctx, "ann@our.example", "vacation", json.RawMessage(`{"active": true}`), false); err != nil {
		t.Fatal(err)
	}
	v, err := d.Setting(ctx, "Ann+x@our.example", "vacation")
	if m, ok := v.(map[string]any); err != nil || !ok || m["active"] != true {
		t.Errorf("setting %v, %v", v, err)
	}
	if v, err := d.Setting(ctx, "bob@our.example", "vacation"); v != nil || err != nil {
		t.Errorf("absent setting %v, %v", v, err)
	}
	all, err := d.Accounts(ctx)
	if err != nil || len(all) != 3 || all[0].Address != "ann@our.example" {
		t.Errorf("accounts %v, %v", all, err)
	}
	if err := d.RemoveAccount(ctx, "ann@our.example"); err != nil {
		t.Fatal(err)
	}
	if d.Exists(ctx, "ann@our.example") {
		t.Error("removed account exists")
	}
	if err := d.Set(ctx, "ann@our.example", "a", nil, false); !errors.Is(err, ErrUnknown) {
		t.Errorf("set on a removed account: %v", err)
	}
}

func TestHashesOfOtherStrengthsMatch(t *testing.T) {
	d := open(t, nil)
	strong := &AccountTable{DomainTable: &DomainTable{}, hashing: make(chan struct{}, 1)}
	hash := strong.hashPassword("secret")
	if !d.checkPassword(hash, "secret") || d.checkPassword(hash, "Secret") {
		t.Error("a hash of the real strength is not verified")
	}
	for _, bad := range []string{"", "x", "$argon2id$v=19$m=64,t=1,p=1$$", "$argon2id$v=19$m=99999999,t=1,p=1$AAAA$AAAA"} {
		if d.checkPassword(bad, "") {
			t.Errorf("%q matches", bad)
		}
	}
}

func TestPostmasterIsAlwaysThere(t *testing.T) {
	d := open(t, nil)
	for named, want := range map[envelope.Address]string{
		"": "postmaster@our.example", "postmaster@our.example": "postmaster@our.example", "root@our.example": "[root@our.example]",
		"nobody@our.example": "postmaster@our.example", "x@out.example": "[x@out.example]",
	} {
		d.o.Postmaster = named
		for _, a := range []envelope.Address{"postmaster@our.example", "PostMaster@our.example"} {
			r, err := d.Resolve(t.Context(), a)
			got := string(r.Mailbox)
			if got == "" {
				got = joinAll(r.Targets)
			}
			if err != nil || got != want {
				t.Errorf("postmaster = %q: %s, %v; want %s", named, got, err, want)
			}
		}
	}
}
