package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Grant lets a delegate act for an owner. Either may be an account, an alias
// or a group; what members of a group may, they may as long as they are in it.
// Rights do not add up: who may act for somebody may not do what that one may
// for a third.
type Grant = envelope.Grant

// The rights that a grant can give.
const (
	SendAs   = "send-as"        // as if the owner did
	OnBehalf = "send-on-behalf" // with a Sender field that says who did
	Read     = "read"           // the owner's mailbox
	Full     = "full"           // to read it and to remove from it
)

var rights = []string{SendAs, OnBehalf, Read, Full}

// ErrGrant: a grant that makes no sense.
var ErrGrant = errors.New("cannot be granted")

// GrantTable holds the rights that owners of mailboxes, aliases and groups gave.
type GrantTable struct{ *AliasTable }

// Grant lets a delegate act for an owner; a zero until never ends. A right
// that the delegate has already gets the new end. ErrUnknown, ErrGrant.
func (d *GrantTable) Grant(ctx context.Context, owner, delegate envelope.Address, right string, until time.Time) error {
	owner, delegate = owner.Base(), delegate.Base()
	if !slices.Contains(rights, right) {
		return fmt.Errorf("right %q is none of %s", right, strings.Join(rights, ", "))
	}
	isAccount := d.Exists(ctx, owner)
	switch {
	case owner == delegate:
		return fmt.Errorf("%w: %s already has all rights to its own mailbox", ErrGrant, owner)
	case !until.IsZero() && !d.o.Clock.Now().Before(until):
		return fmt.Errorf("%w: the last day is over", ErrGrant)
	case !isAccount && (right == Read || right == Full):
		return fmt.Errorf("%w: %s has no mailbox: %w", ErrGrant, owner, ErrUnknown)
	}
	for _, a := range []envelope.Address{owner, delegate} {
		if err := d.checkKnown(ctx, a); err != nil {
			return err
		}
	}
	return d.changeGrants(ctx, owner, func(list []Grant) ([]Grant, error) {
		list = slices.DeleteFunc(list, func(g Grant) bool { return g.Delegate == delegate && g.Right == right })
		return append(list, Grant{Delegate: delegate, Right: right, Until: until}), nil
	})
}

// checkKnown checks that an address is an account, an alias or a group.
func (d *GrantTable) checkKnown(ctx context.Context, a envelope.Address) error {
	if _, err := d.lookup(ctx, a); err == nil || !errors.Is(err, ErrUnknown) {
		return err
	}
	if d.o.Group != nil {
		if exists, _, err := d.o.Group(ctx, a, ""); exists || err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w", a, ErrUnknown)
}

// Revoke takes a right back, or with "" all of them. It counts at once: for
// the next command of sessions that are open, too. ErrUnknown.
func (d *GrantTable) Revoke(ctx context.Context, owner, delegate envelope.Address, right string) error {
	if right != "" && !slices.Contains(rights, right) {
		return fmt.Errorf("right %q is none of %s", right, strings.Join(rights, ", "))
	}
	return d.changeGrants(ctx, owner.Base(), func(list []Grant) ([]Grant, error) {
		n := len(list)
		list = slices.DeleteFunc(list, func(g Grant) bool {
			return g.Delegate == delegate.Base() && (right == "" || g.Right == right)
		})
		if len(list) == n {
			return nil, fmt.Errorf("grant of %s to %s: %w", owner, delegate, ErrUnknown)
		}
		return list, nil
	})
}

// Account describes one account, or of an alias or group what it granted.
// ErrUnknown.
func (d *GrantTable) Account(ctx context.Context, a envelope.Address) (Summary, error) {
	acc, err := d.account(ctx, a.Base())
	if errors.Is(err, ErrUnknown) {
		if grants, other := d.principalGrants(ctx, a.Base()); other == nil {
			return Summary{Address: a.Base(), Grants: grants}, nil
		}
	}
	return acc.summary(), err
}

// RemoveAccount removes an account and the rights that others gave it, and
// writes further records in the same commit; its mail stays until it is
// expunged. ErrUnknown.
func (d *GrantTable) RemoveAccount(ctx context.Context, a envelope.Address, with ...store.Record) error {
	if _, err := d.account(ctx, a); err != nil {
		return err
	}
	if err := d.revokeAll(ctx, a); err != nil {
		return err
	}
	return d.o.Data.PutRecords(ctx, append(with, store.Record{Kind: kindAccount, Name: string(a)})...)
}

// RemoveAlias removes an alias and the rights that it gave and had. ErrUnknown.
func (d *GrantTable) RemoveAlias(ctx context.Context, a envelope.Address) error {
	if !isPattern(a) {
		a = envelope.Address(strings.ToLower(string(a)))
	}
	if _, err := d.aliasTargets(ctx, a); err != nil {
		return err
	}
	if err := d.revokeAll(ctx, a); err != nil {
		return err
	}
	gone := []store.Record{{Kind: kindAlias, Name: string(a)}, {Kind: kindPrincipal, Name: string(a)}}
	if err := d.o.Data.PutRecords(ctx, gone...); err != nil {
		return err
	}
	return d.loadPatterns(ctx)
}

// principalGrants returns the grants of an owner that is no account. ErrUnknown.
func (d *GrantTable) principalGrants(ctx context.Context, a envelope.Address) ([]Grant, error) {
	var list []Grant
	_, err := d.record(ctx, kindPrincipal, string(a), &list)
	return list, err
}

// changeGrants edits what an owner granted.
func (d *GrantTable) changeGrants(ctx context.Context, owner envelope.Address, edit func([]Grant) ([]Grant, error)) error {
	if d.Exists(ctx, owner) {
		return d.change(ctx, owner, func(acc *Account) (err error) {
			acc.Grants, err = edit(acc.Grants)
			return err
		})
	}
	for range 10 {
		var list []Grant
		old, err := d.record(ctx, kindPrincipal, string(owner), &list)
		if err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
		if list, err = edit(list); err != nil {
			return err
		}
		var raw []byte
		if len(list) > 0 {
			if raw, err = json.Marshal(list); err != nil {
				return err
			}
		}
		err = d.o.Data.PutRecords(ctx, store.Record{Kind: kindPrincipal, Name: string(owner), Value: raw, Check: true, Old: old})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("grants of %s: %w", owner, store.ErrConflict)
}

// revokeAll revokes the rights of a delegate whose account is removed: a new account of
// that name must not get them.
func (d *GrantTable) revokeAll(ctx context.Context, delegate envelope.Address) error {
	var owners []envelope.Address
	for _, kind := range []string{kindAccount, kindPrincipal} {
		for r, err := range d.o.Data.Records(ctx, kind, "") {
			if err != nil {
				return err
			}
			owners = append(owners, envelope.Address(r.Name))
		}
	}
	for _, owner := range owners {
		if !slices.ContainsFunc(d.grants(ctx, owner), func(g Grant) bool { return g.Delegate == delegate }) {
			continue
		}
		if err := d.Revoke(ctx, owner, delegate, ""); err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	return nil
}

// Grants returns the rights that an owner gave, including expired ones. The
// caller must not change them.
func (d *GrantTable) Grants(ctx context.Context, owner envelope.Address) []Grant {
	return d.grants(ctx, owner.Base())
}

// grants returns the grants of an account, an alias or a group; none where they
// cannot be read.
func (d *GrantTable) grants(ctx context.Context, owner envelope.Address) []Grant {
	if acc, err := d.account(ctx, owner); err == nil {
		return acc.Grants
	}
	list, _ := d.principalGrants(ctx, owner)
	return list
}

// isHeldBy reports whether a grant is the user's and not over.
func (d *GrantTable) isHeldBy(ctx context.Context, g Grant, user envelope.Address) bool {
	if !g.Until.IsZero() && !d.o.Clock.Now().Before(g.Until) {
		return false
	}
	if g.Delegate == user || d.leadsTo(ctx, g.Delegate, user, 0) {
		return true
	}
	if d.o.Group == nil {
		return false
	}
	_, in, err := d.o.Group(ctx, g.Delegate, user)
	return in && err == nil
}

// MaySendAs returns how a user may use an address as sender: "as" if the user
// owns it or its owner granted that; "behalf" if its owner granted that; "" not
// at all. A user with both grants may send as. Tags of the owner's address, and
// aliases with the owner as their only target, count as the owner.
func (d *GrantTable) MaySendAs(ctx context.Context, user, a envelope.Address) string {
	user = user.Base()
	if d.Owns(ctx, user, a) {
		return "as"
	}
	owners := []envelope.Address{a.Base()}
	if acc := d.AccountOf(ctx, a); acc != "" && acc != a.Base() {
		owners = append(owners, acc)
	}
	how := ""
	for _, owner := range owners {
		for _, g := range d.grants(ctx, owner) {
			if g.Right != SendAs && g.Right != OnBehalf || !d.isHeldBy(ctx, g, user) {
				continue
			}
			if g.Right == SendAs {
				return "as"
			}
			how = "behalf"
		}
	}
	return how
}

// Access returns what a user may do with an owner's mailbox: Full, Read, or ""
// for nothing. To one's own one has Full.
func (d *GrantTable) Access(ctx context.Context, user, owner envelope.Address) string {
	user, owner = user.Base(), owner.Base()
	if user == owner {
		return Full
	}
	best := ""
	for _, g := range d.grants(ctx, owner) {
		if g.Right != Read && g.Right != Full || !d.isHeldBy(ctx, g, user) {
			continue
		}
		if best = g.Right; best == Full {
			break
		}
	}
	return best
}

// SplitDelegated splits credentials that ask for somebody else's mailbox, by a name
// like "owner*delegate" or by an authorization identity (RFC 4422 3.4.1), into
// the owner and the credentials of the delegate. owner is "" for all other
// credentials.
func (d *Directory) SplitDelegated(ctx context.Context, cred *envelope.Credentials) (owner envelope.Address, own *envelope.Credentials) {
	name, asked := cred.User, cred.Authzid
	if o, user, ok := d.splitLogin(ctx, name); ok {
		if asked != "" && asked != name && asked != o {
			return "", cred
		}
		name, asked = user, o
	}
	if asked == "" || asked == name {
		return "", cred
	}
	owner, err := d.loginName(asked)
	if err != nil {
		return "", cred
	}
	if acc := d.AccountOf(ctx, owner); acc != "" {
		owner = acc
	}
	mine := *cred
	mine.User, mine.Authzid = name, ""
	return owner, &mine
}

// splitLogin cuts "owner*delegate", unless an account has just that name.
func (d *Directory) splitLogin(ctx context.Context, name string) (owner, delegate string, ok bool) {
	owner, delegate, ok = strings.Cut(name, "*")
	if !ok || owner == "" || delegate == "" {
		return "", "", false
	}
	if a, err := d.loginName(name); err == nil && d.Exists(ctx, a) {
		return "", "", false
	}
	return owner, delegate, true
}
