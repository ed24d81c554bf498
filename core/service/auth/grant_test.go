package auth

import (
	"context"
	"errors"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
)

// staff is a group that is no alias.
const staff = envelope.Address("staff@our.example")

func TestGrantsToGroups(t *testing.T) {
	var c clock.Clock
	d := open(t, &c)
	ctx := t.Context()
	members := map[envelope.Address]bool{"bob@our.example": true}
	d.o.Group = func(_ context.Context, name, member envelope.Address) (exists, in bool, err error) {
		return name == staff, name == staff && members[member], nil
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(d.AddAccount(ctx, "eve@our.example", ""))
	ok(d.AddAlias(ctx, "desk@our.example", []envelope.Address{"eve@our.example", "x@out.example"}))
	ok(d.AddAlias(ctx, "office@our.example", []envelope.Address{"desk@our.example"}))
	ok(d.AddAlias(ctx, "chief@our.example", []envelope.Address{"ann@our.example"}))
	ok(d.Grant(ctx, "ann@our.example", staff, SendAs, time.Time{}))
	ok(d.Grant(ctx, "ann@our.example", "office@our.example", OnBehalf, time.Time{}))
	ok(d.Grant(ctx, "ann@our.example", "office@our.example", Read, time.Time{}))
	ok(d.Grant(ctx, "ann@our.example", staff, Full, c.Now().Add(time.Hour)))
	ok(d.Grant(ctx, "desk@our.example", "bob@our.example", OnBehalf, time.Time{}))
	ok(d.Grant(ctx, staff, "eve@our.example", SendAs, time.Time{}))
	check := func(user, a envelope.Address, send, read string) {
		t.Helper()
		if got := d.MaySendAs(ctx, user, a); got != send {
			t.Errorf("%s as %s: %q, want %q", user, a, got, send)
		}
		if got := d.Access(ctx, user, a); got != read {
			t.Errorf("%s in the mailbox of %s: %q, want %q", user, a, got, read)
		}
	}
	check("bob@our.example", "ann@our.example", "as", Full)
	check("bob@our.example", "chief+x@our.example", "as", "")
	check("eve@our.example", "ann@our.example", "behalf", Read)
	check("eve@our.example", "chief@our.example", "behalf", "")
	check("root@our.example", "ann@our.example", "", "")
	check("bob@our.example", "desk@our.example", "behalf", "")
	check("bob@our.example", "office@our.example", "", "") // who grants for a group grants not for those that lead to it
	check("eve@our.example", "office@our.example", "as", "")
	check("eve@our.example", staff, "as", "")
	check("bob@our.example", "eve@our.example", "", "")
	c.Advance(time.Hour)
	check("bob@our.example", "ann@our.example", "as", "")
	delete(members, "bob@our.example")
	check("bob@our.example", "ann@our.example", "", "")
	ok(d.AddAlias(ctx, "desk@our.example", []envelope.Address{"x@out.example"}))
	check("eve@our.example", "ann@our.example", "", "")

	for _, g := range []struct {
		owner, delegate envelope.Address
		right           string
		want            error
	}{
		{staff, "bob@our.example", Read, ErrUnknown}, {"desk@our.example", "bob@our.example", Full, ErrGrant},
		{"ann@our.example", "ann+x@our.example", Read, ErrGrant},
		{"nobody@our.example", "bob@our.example", SendAs, ErrUnknown}, {"ann@our.example", "x@out.example", SendAs, ErrUnknown},
	} {
		if err := d.Grant(ctx, g.owner, g.delegate, g.right, time.Time{}); !errors.Is(err, g.want) {
			t.Errorf("%s of %s to %s: %v, want %v", g.right, g.owner, g.delegate, err, g.want)
		}
	}

	// Rights are removed together with the alias or account.
	ok(d.RemoveAlias(ctx, "office@our.example"))
	if s, err := d.Account(ctx, "ann@our.example"); err != nil || len(s.Grants) != 2 || s.Grants[0].Delegate != staff {
		t.Errorf("grants %+v, %v", s.Grants, err)
	}
	ok(d.RemoveAlias(ctx, "desk@our.example"))
	if _, err := d.Account(ctx, "desk@our.example"); !errors.Is(err, ErrUnknown) {
		t.Errorf("grants of an alias that is gone: %v", err)
	}
}

func TestDelegatedNames(t *testing.T) {
	d := open(t, nil)
	ctx := t.Context()
	for _, a := range []envelope.Address{"a*b@our.example"} {
		if err := d.AddAccount(ctx, a, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.AddAlias(ctx, "chief@our.example", []envelope.Address{"ann@our.example"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		user, authzid string
		owner         envelope.Address
		login         string
	}{
		{"ann@our.example*bob@our.example", "", "ann@our.example", "bob@our.example"},
		{"ann*bob", "", "ann@our.example", "bob"},
		{"chief*bob", "", "ann@our.example", "bob"},
		{"bob", "ann@our.example", "ann@our.example", "bob"},
		{"bob", "bob", "", "bob"},
		{"bob", "", "", "bob"},
		{"ann*bob", "root", "", "ann*bob"},
		{"ann*bob", "ann", "ann@our.example", "bob"},
		{"a*b@our.example", "", "", "a*b@our.example"},
		{"*bob", "", "", "*bob"},
		{"ann*", "", "", "ann*"},
		{"a b*bob", "", "", "a b*bob"},
	} {
		owner, own := d.SplitDelegated(ctx, &envelope.Credentials{User: tt.user, Authzid: tt.authzid, Password: "p"})
		if owner != tt.owner || own.User != tt.login || own.Password != "p" || owner != "" && own.Authzid != "" {
			t.Errorf("%q for %q: %s, %+v; want %s, %s", tt.user, tt.authzid, owner, own, tt.owner, tt.login)
		}
	}
}
