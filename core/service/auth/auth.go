// Package auth keeps accounts with their passwords and settings, aliases, local
// domains and grants, all as data records in the store. It verifies logins and
// slows down guesses. It knows no protocol and sends nothing.
//
// Passwords are stored as argon2id hashes (RFC 9106) and as SCRAM-SHA-256
// verifiers (RFC 7677). APOP needs a secret in readable form (RFC 1939 section
// 7): it is separate from the password, optional, and encrypted with a key
// derived from the store's key file.
package auth

import (
	"context"
	"errors"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
)

// Errors that callers test for.
var (
	// ErrUnknown: no account, alias or catch-all has the address.
	ErrUnknown = errors.New("no such address")
	// ErrExists: the address is in use.
	ErrExists = errors.New("exists already")
	// ErrCredentials: wrong name, password or digest; the error does not say
	// which.
	ErrCredentials = errors.New("authentication failed")
	// ErrCycle: an alias would lead back to itself.
	ErrCycle = errors.New("alias cycle")
	// ErrNotLocal: the domain is not one of ours.
	ErrNotLocal = errors.New("not a local domain")
	// ErrNoKey: APOP secrets need a key file.
	ErrNoKey = errors.New("no key file is configured")
)

// Kinds of data records.
const (
	kindAccount = "account"
	kindAlias   = "alias"
	kindDomain  = "domain"
	// kindPrincipal holds the grants of owners that are no accounts.
	kindPrincipal = "principal"
)

// Options for New.
type Options struct {
	Data       store.Data
	Domains    []string         // local from the start
	Postmaster envelope.Address // who gets postmaster@ of every local domain
	Key        []byte           // of the key file; nil: no APOP
	Clock      *clock.Clock
	// Group reports whether a group other than an alias has a name, and whether an
	// address is in it. nil: there are no such groups.
	Group func(ctx context.Context, name, member envelope.Address) (exists, in bool, err error)
	// WeakHash makes password hashes fast and weak; only for tests.
	WeakHash bool
}

// Directory looks up and changes accounts, aliases and domains, and verifies
// logins. It is safe for concurrent use; when a method returns, its changes are on
// disk and visible. Its tables build on each other: accounts are in domains, aliases
// lead to accounts, rights are of both.
type Directory struct {
	*GrantTable
	throttle      throttle
	passwordCache passwordCache
	decoy         []byte // key of the SCRAM salts of names without account
}

// New reads the domains and is ready.
func New(ctx context.Context, o Options) (*Directory, error) {
	accounts := &AccountTable{DomainTable: &DomainTable{o: o}, hashing: make(chan struct{}, maxHashing)}
	if len(o.Key) > 0 {
		var err error
		if accounts.sealer, err = newSealer(o.Key); err != nil {
			return nil, err
		}
	}
	d := &Directory{GrantTable: &GrantTable{&AliasTable{AccountTable: accounts}}, decoy: decoyKey(o.Key)}
	if err := d.loadPatterns(ctx); err != nil {
		return nil, err
	}
	return d, d.loadDomains(ctx, o.Domains)
}
