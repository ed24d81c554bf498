package crypt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
)

// kindKeys are the records that hold keys, one for an address.
const kindKeys = "key"

// Keys are the public keys in the store: at most one of each kind for an address, of an
// account here or elsewhere. Tags of addresses do not count. It is safe for concurrent
// use; its methods block on the disk.
type Keys struct {
	Data  store.Data
	Clock *clock.Clock
}

// stored is a key in a record.
type stored struct {
	Kind        string    `json:"kind"`
	Fingerprint string    `json:"fingerprint"`
	Added       time.Time `json:"added"`
	Raw         []byte    `json:"raw"`
}

// RemovalRecord returns the record that removes all keys of an address, for a commit with
// what else goes.
func RemovalRecord(a envelope.Address) store.Record {
	return store.Record{Kind: kindKeys, Name: string(a.Base())}
}

func (s *Keys) read(ctx context.Context, a envelope.Address) (list []stored, raw []byte, err error) {
	raw, err = s.Data.Record(ctx, kindKeys, string(a.Base()))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil
	}
	if err == nil {
		list, err = decode(string(a.Base()), raw)
	}
	return list, raw, err
}

func decode(name string, raw []byte) (list []stored, err error) {
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("keys of %s: %w: %w", name, store.ErrCorrupt, err)
	}
	return list, nil
}

// change edits the keys of an address, again if they changed meanwhile.
func (s *Keys) change(ctx context.Context, a envelope.Address, edit func([]stored) ([]stored, error)) error {
	for range 10 {
		list, old, err := s.read(ctx, a)
		if err != nil {
			return err
		}
		if list, err = edit(list); err != nil {
			return err
		}
		r := store.Record{Kind: kindKeys, Name: string(a.Base()), Check: true, Old: old}
		if len(list) > 0 {
			if r.Value, err = json.Marshal(list); err != nil {
				return err
			}
		}
		if err = s.Data.PutRecords(ctx, r); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("keys of %s: %w", a, store.ErrConflict)
}

// Add stores the key that a file holds, in place of one of its kind. Errors
// are those of Parse.
func (s *Keys) Add(ctx context.Context, a envelope.Address, file []byte) (Key, error) {
	now := s.Clock.Now().UTC().Truncate(time.Second)
	k, err := Parse(file, now)
	if err != nil {
		return Key{}, err
	}
	k.Address, k.Added, k.State = a.Base(), now, "ok"
	return k, s.change(ctx, a, func(list []stored) ([]stored, error) {
		list = slices.DeleteFunc(list, func(o stored) bool { return o.Kind == k.Kind })
		return append(list, stored{Kind: k.Kind, Fingerprint: k.Fingerprint, Added: now, Raw: k.raw}), nil
	})
}

// Remove removes the keys of an address; which is a kind, a fingerprint, or ""
// for all. ErrNoKey.
func (s *Keys) Remove(ctx context.Context, a envelope.Address, which string) error {
	return s.change(ctx, a, func(list []stored) ([]stored, error) {
		rest := slices.DeleteFunc(slices.Clone(list), func(o stored) bool {
			return which == "" || which == o.Kind || strings.EqualFold(which, o.Fingerprint)
		})
		if len(rest) == len(list) {
			return nil, fmt.Errorf("%s: %w", strings.TrimSpace(string(a)+" "+which), ErrNoKey)
		}
		return rest, nil
	})
}

func (s *Keys) describe(a envelope.Address, list []stored) []Key {
	out := make([]Key, 0, len(list))
	for _, o := range list {
		k := Key{Address: a, Kind: o.Kind, Fingerprint: o.Fingerprint, Added: o.Added, raw: bytes.Clone(o.Raw)}
		k.describe(s.Clock.Now())
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Key) int { return strings.Compare(a.Kind, b.Kind) })
	return out
}

// List returns the keys of an address, or with "" all, in the order of addresses.
func (s *Keys) List(ctx context.Context, a envelope.Address) ([]Key, error) {
	if a != "" {
		list, _, err := s.read(ctx, a)
		return s.describe(a.Base(), list), err
	}
	out := []Key{}
	for r, err := range s.Data.Records(ctx, kindKeys, "") {
		if err != nil {
			return nil, err
		}
		list, err := decode(r.Name, r.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, s.describe(envelope.Address(r.Name), list)...)
	}
	return out, nil
}

// Of returns the key of an address to encrypt to, of the given kind. With "" it prefers a
// key that can be used, then OpenPGP to a certificate. The returned key may still be
// unusable: only Key.Encryption checks that. The error is ErrNoKey if there is none.
func (s *Keys) Of(ctx context.Context, a envelope.Address, kind string) (Key, error) {
	list, _, err := s.read(ctx, a)
	if err != nil {
		return Key{}, err
	}
	list = slices.DeleteFunc(list, func(o stored) bool { return kind != "" && o.Kind != kind })
	keys := s.describe(a.Base(), list)
	for _, k := range keys {
		if k.err == nil {
			return k, nil
		}
	}
	if len(keys) == 0 {
		return Key{}, fmt.Errorf("%s: %w", a, ErrNoKey)
	}
	return keys[0], nil
}
