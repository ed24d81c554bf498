package auth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/sasl"
	"carteiro/core/store"
)

// Account is one mailbox owner. Hash, Scram and APOP leave this package only in
// an export.
type Account struct {
	Address  envelope.Address           `json:"address"`
	Created  time.Time                  `json:"created"`
	Hash     string                     `json:"hash,omitempty"`
	Scram    *sasl.Verifier             `json:"scram,omitempty"`
	APOP     []byte                     `json:"apop,omitempty"` // sealed
	Quota    int64                      `json:"quota,omitempty"`
	Settings map[string]json.RawMessage `json:"settings,omitempty"`
	// Confirmed names settings that the admin vouched for, see Set.
	Confirmed map[string]bool `json:"confirmed,omitempty"`
	Grants    []Grant         `json:"grants,omitempty"`
}

// AccountTable holds accounts: passwords, settings, quotas.
type AccountTable struct {
	*DomainTable
	sealer       *sealer // nil: there is no key for APOP secrets
	accountCache accountCache
	hashing      chan struct{} // bounds argon2id runs, and so their memory
}

// account reads one account. ErrUnknown.
// The caller must not change it.
func (d *AccountTable) account(ctx context.Context, a envelope.Address) (*Account, error) {
	k, err := d.accountCache.read(ctx, d, a)
	return &k.Account, err
}

// accountCache keeps decoded accounts, so that each record is decoded once. An
// account whose record has changed is not taken from it.
type accountCache struct {
	mu   sync.Mutex
	seen map[envelope.Address]*decoded
}

type decoded struct {
	raw []byte
	Account
	settings map[string]any
}

// maxDecoded is how many accounts are remembered.
const maxDecoded = 10_000

func (c *accountCache) read(ctx context.Context, d *AccountTable, a envelope.Address) (*decoded, error) {
	raw, err := d.o.Data.Record(ctx, kindAccount, string(a))
	if errors.Is(err, store.ErrNotFound) {
		return &decoded{}, fmt.Errorf("%s: %w", a, ErrUnknown)
	}
	if err != nil {
		return &decoded{}, err
	}
	c.mu.Lock()
	k := c.seen[a]
	c.mu.Unlock()
	if k != nil && bytes.Equal(k.raw, raw) {
		return k, nil
	}
	k = &decoded{raw: raw, settings: map[string]any{}}
	err = json.Unmarshal(raw, &k.Account)
	for name, value := range k.Settings {
		var v any
		if err == nil {
			err = json.Unmarshal(value, &v)
		}
		k.settings[name] = v
	}
	if err != nil {
		return &decoded{}, fmt.Errorf("%s %s: %w: %w", kindAccount, a, store.ErrCorrupt, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= maxDecoded {
		c.seen = map[envelope.Address]*decoded{}
	}
	c.seen[a] = k
	return k, nil
}

// change reads, edits and writes an account, again if it changed meanwhile.
func (d *AccountTable) change(ctx context.Context, a envelope.Address, edit func(*Account) error) error {
	for range 10 {
		var acc Account
		old, err := d.record(ctx, kindAccount, string(a.Base()), &acc)
		if err != nil {
			return err
		}
		if err := edit(&acc); err != nil {
			return err
		}
		raw, err := json.Marshal(acc)
		if err != nil {
			return err
		}
		err = d.o.Data.PutRecords(ctx, store.Record{Kind: kindAccount, Name: string(a.Base()), Value: raw, Check: true, Old: old})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("account %s: %w", a, store.ErrConflict)
}

// AddAccount makes an account; the password may be "" for one that cannot log
// in. ErrExists, ErrNotLocal, envelope.ErrAddress.
func (d *AliasTable) AddAccount(ctx context.Context, a envelope.Address, password string) error {
	if !d.Local(a.Domain()) {
		return fmt.Errorf("%s: domain %s: %w", a, a.Domain(), ErrNotLocal)
	}
	if a.Tag() != "" || a != a.Base() {
		return fmt.Errorf("%s: %w: an account is named without tag, in lower case", a, envelope.ErrAddress)
	}
	if _, err := d.lookup(ctx, a); err == nil {
		return fmt.Errorf("%s: %w", a, ErrExists)
	} else if !errors.Is(err, ErrUnknown) {
		return err
	}
	acc := Account{Address: a, Created: d.o.Clock.Now().UTC().Truncate(time.Second)}
	if password != "" {
		acc.Hash, acc.Scram = d.hashPassword(password), sasl.NewVerifier(password, d.scramRounds())
	}
	raw, err := json.Marshal(acc)
	if err != nil {
		return err
	}
	err = d.o.Data.PutRecords(ctx, store.Record{Kind: kindAccount, Name: string(a), Value: raw, Check: true})
	if errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("%s: %w", a, ErrExists)
	}
	return err
}

// Summary is an account as `account show` prints it: no secrets.
type Summary struct {
	Address  envelope.Address           `json:"address"`
	Created  time.Time                  `json:"created"`
	Password bool                       `json:"password"`
	APOP     bool                       `json:"apop"`
	Quota    int64                      `json:"quota"`
	Settings map[string]json.RawMessage `json:"settings"`
	// Confirmed names settings that were set as confirmed.
	Confirmed map[string]bool `json:"confirmed,omitempty"`
	Grants    []Grant         `json:"grants"`
}

func (acc *Account) summary() Summary {
	return Summary{Address: acc.Address, Created: acc.Created, Password: acc.Hash != "", APOP: len(acc.APOP) > 0,
		Quota: acc.Quota, Settings: acc.Settings, Confirmed: acc.Confirmed, Grants: acc.Grants}
}

// Accounts describes all accounts in the order of their names.
func (d *AccountTable) Accounts(ctx context.Context) ([]Summary, error) {
	var out []Summary
	for r, err := range d.o.Data.Records(ctx, kindAccount, "") {
		if err != nil {
			return nil, err
		}
		var acc Account
		if err := json.Unmarshal(r.Value, &acc); err != nil {
			return nil, fmt.Errorf("account %s: %w: %w", r.Name, store.ErrCorrupt, err)
		}
		out = append(out, acc.summary())
	}
	return out, nil
}

// Exists reports whether an account has the address, tags aside.
func (d *AccountTable) Exists(ctx context.Context, a envelope.Address) bool {
	_, err := d.account(ctx, a.Base())
	return err == nil
}

// SetPassword gives an account a new password. ErrUnknown.
func (d *AccountTable) SetPassword(ctx context.Context, a envelope.Address, password string) error {
	hash, verifier := d.hashPassword(password), sasl.NewVerifier(password, d.scramRounds())
	return d.change(ctx, a, func(acc *Account) error { acc.Hash, acc.Scram = hash, verifier; return nil })
}

// SetAPOP gives an account an APOP secret, "" takes it away. ErrUnknown, ErrNoKey.
func (d *AccountTable) SetAPOP(ctx context.Context, a envelope.Address, secret string) error {
	return d.change(ctx, a, func(acc *Account) error {
		if secret == "" {
			acc.APOP = nil
			return nil
		}
		if d.sealer == nil {
			return ErrNoKey
		}
		acc.APOP = d.sealer.seal(acc.Address, []byte(secret))
		return nil
	})
}

// Set stores a setting as JSON; null removes it. confirmed says that those whom
// the setting names have agreed, for policies that would ask them. ErrUnknown.
func (d *AccountTable) Set(ctx context.Context, a envelope.Address, key string, value json.RawMessage, confirmed bool) error {
	return d.change(ctx, a, func(acc *Account) error {
		if acc.Settings == nil {
			acc.Settings = map[string]json.RawMessage{}
		}
		delete(acc.Confirmed, key)
		if confirmed {
			if acc.Confirmed == nil {
				acc.Confirmed = map[string]bool{}
			}
			acc.Confirmed[key] = true
		}
		if string(value) == "null" {
			delete(acc.Settings, key)
		} else {
			acc.Settings[key] = value
		}
		return nil
	})
}

// SetQuota remembers the quota that the mailboxes enforce. ErrUnknown.
func (d *AccountTable) SetQuota(ctx context.Context, a envelope.Address, limit int64) error {
	return d.change(ctx, a, func(acc *Account) error { acc.Quota = limit; return nil })
}

// Setting returns a decoded setting, which the caller must not change; nil if
// there is no such account or it has no setting of that name.
func (d *AccountTable) Setting(ctx context.Context, a envelope.Address, key string) (any, error) {
	k, err := d.accountCache.read(ctx, d, a.Base())
	if errors.Is(err, ErrUnknown) {
		return nil, nil
	}
	return k.settings[key], err
}

// Confirmed reports whether a setting was set as confirmed.
func (d *AccountTable) Confirmed(ctx context.Context, a envelope.Address, key string) (bool, error) {
	acc, err := d.account(ctx, a.Base())
	if errors.Is(err, ErrUnknown) {
		return false, nil
	}
	return acc.Confirmed[key], err
}

func sortBy[T any, K cmp.Ordered](s []T, key func(T) K) {
	slices.SortFunc(s, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}
