package srs

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"carteiro/core/store"
)

// The record that holds the keys.
const (
	kindKeys = "srs"
	nameKeys = "keys"
)

// Retired keys verify until the last address that they signed has expired.
const retiredLife = (Days + 1) * 24 * time.Hour

// key is one key as it is stored. The one that comes from the server's key
// file has no secret here.
type key struct {
	Made    time.Time `json:"made"`
	Retired time.Time `json:"retired,omitzero"`
	Secret  []byte    `json:"secret,omitempty"`
}

// Keys are a ring whose keys live in the store. It is safe for concurrent use.
type Keys struct {
	Ring
	data store.Data
	seed []byte
	now  func() time.Time
}

// KeyInfo describes a key without its secret.
type KeyInfo struct {
	Name    string    `json:"name"`
	Made    time.Time `json:"made"`
	Retired time.Time `json:"retired,omitzero"` // it verifies, and no longer signs
	Ends    time.Time `json:"ends,omitzero"`    // it no longer verifies
}

// OpenKeys reads the keys. Until the first Rotate the current one is derived
// from seed, the server's key file; a server without one gets a random key,
// which is stored now. It blocks on the disk.
func OpenKeys(ctx context.Context, data store.Data, seed []byte, now func() time.Time) (*Keys, error) {
	k := &Keys{data: data, now: now}
	if len(seed) > 0 {
		mac := hmac.New(sha256.New, seed)
		mac.Write([]byte("carteiro return addresses"))
		k.seed = mac.Sum(nil)
	}
	list, raw, err := k.read(ctx)
	if err == nil && len(list) == 0 {
		list = []key{{Made: now().UTC().Truncate(time.Second)}}
		if k.seed == nil {
			list[0].Secret = newSecret()
		}
		err = k.write(ctx, list, raw)
	}
	if err != nil {
		return nil, err
	}
	if k.use(list); !k.Ready() { // the key file is gone
		return k, k.Rotate(ctx)
	}
	return k, nil
}

func newSecret() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// Rotate makes a new key current. The ones before verify until the last
// address that they signed has died. It blocks on the disk.
func (k *Keys) Rotate(ctx context.Context) error {
	for range 10 {
		list, raw, err := k.read(ctx)
		if err != nil {
			return err
		}
		now := k.now().UTC().Truncate(time.Second)
		next := []key{{Made: now, Secret: newSecret()}}
		for _, old := range list {
			if old.Retired.IsZero() {
				old.Retired = now
			}
			if now.Sub(old.Retired) < retiredLife {
				next = append(next, old)
			}
		}
		err = k.write(ctx, next, raw)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err == nil {
			k.use(next)
		}
		return err
	}
	return fmt.Errorf("keys of return addresses: %w", store.ErrConflict)
}

// List describes the keys, the current one first. It blocks on the disk.
func (k *Keys) List(ctx context.Context) ([]KeyInfo, error) {
	list, _, err := k.read(ctx)
	out := make([]KeyInfo, 0, len(list))
	for _, one := range list {
		sum := sha256.Sum256(k.secret(one))
		info := KeyInfo{Name: hex.EncodeToString(sum[:4]), Made: one.Made, Retired: one.Retired}
		if !one.Retired.IsZero() {
			info.Ends = one.Retired.Add(retiredLife)
		}
		out = append(out, info)
	}
	return out, err
}

// secret returns the secret of a key; nil: it came from a key file that is gone.
func (k *Keys) secret(one key) []byte {
	if one.Secret != nil {
		return one.Secret
	}
	return k.seed
}

// use makes keys the current ones. A key after its end still verifies until the next
// start; that does no harm, because addresses expire too.
func (k *Keys) use(list []key) {
	var keys [][]byte
	for _, one := range list {
		if s := k.secret(one); s != nil && (one.Retired.IsZero() || k.now().Sub(one.Retired) < retiredLife) {
			keys = append(keys, s)
		}
	}
	k.keys.Store(&keys)
}

func (k *Keys) read(ctx context.Context) (list []key, raw []byte, err error) {
	raw, err = k.data.Record(ctx, kindKeys, nameKeys)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("keys of return addresses: %w", err)
	}
	return list, raw, nil
}

func (k *Keys) write(ctx context.Context, list []key, old []byte) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return k.data.PutRecords(ctx, store.Record{Kind: kindKeys, Name: nameKeys, Value: raw, Check: true, Old: old})
}
