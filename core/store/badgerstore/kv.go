package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// errNotNumber: Incr found a value that is no decimal number, or the sum has
// more than 64 bits.
var errNotNumber = errors.New("not a number")

func cloneEffects(effects []envelope.Effect) []envelope.Effect {
	c := append([]envelope.Effect(nil), effects...)
	for i := range c {
		c[i].Value, c[i].Old = bytes.Clone(c[i].Value), bytes.Clone(c[i].Old)
	}
	return c
}

// Get implements store.KV.
func (s *keyValues) Get(_ context.Context, space, key string) (value []byte, err error) {
	if err := checkKV(space, key); err != nil {
		return nil, err
	}
	err = s.view(func(txn *badger.Txn) error {
		v, expires, err := getExpiring(txn, kvKey(space, key))
		if err == nil && isExpired(expires, s.opt.Clock.Now()) {
			err = store.ErrNotFound
		}
		value = v
		return err
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}

func checkKV(space, key string) error {
	if len(space) > math.MaxInt16 || len(space)+len(key) > maxKey {
		return fmt.Errorf("key of %d octets is too long", len(space)+len(key))
	}
	return nil
}

// Apply implements store.KV. A crash before the transaction leaves none of
// the effects, a crash after it all.
func (s *keyValues) Apply(ctx context.Context, effects []envelope.Effect) (results []int64, err error) {
	effects = cloneEffects(effects)
	var staged []int64
	err = s.commit(ctx, work, 0, func(st *stage) error {
		var err error
		staged, err = st.effects(effects, true)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return staged, nil
}

// effects stages effects in order. Those that come with mail are not strict:
// one that cannot be done, a policy's mistake, must not hold the mail up and
// is left out.
func (st *stage) effects(effects []envelope.Effect, strict bool) ([]int64, error) {
	results := make([]int64, len(effects))
	for i := range effects {
		n, err := st.effect(&effects[i])
		if err != nil && (strict || errors.Is(err, store.ErrCorrupt)) {
			return nil, fmt.Errorf("effect %d: %w", i, err)
		}
		if err != nil {
			st.batch.s.log.Warn("effect left out", "space", effects[i].Space, "key", effects[i].Key, "err", err)
		}
		results[i] = n
	}
	return results, nil
}

func (st *stage) effect(e *envelope.Effect) (int64, error) {
	if err := checkKV(e.Space, e.Key); err != nil {
		return 0, err
	}
	key := kvKey(e.Space, e.Key)
	var expires time.Time
	if e.TTL > 0 {
		expires = st.now.Add(e.TTL)
	}
	switch e.Op {
	case envelope.Set:
		st.putExpiring(key, e.Value, expires)
		return 1, nil
	case envelope.Delete:
		st.remove(key)
		return 1, nil
	case envelope.Incr:
		return st.incr(key, e.N, expires)
	case envelope.CAS:
		return st.swap(key, e, expires)
	}
	return 0, fmt.Errorf("unknown operation %d", e.Op)
}

// incr keeps the time of expiry of a key that exists unless it is given a new
// one.
func (st *stage) incr(key []byte, by int64, expires time.Time) (int64, error) {
	old, until, err := st.getExpiring(key)
	var n int64
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && isExpired(until, st.now):
	case err != nil:
		return 0, err
	default:
		if n, err = strconv.ParseInt(string(old), 10, 64); err != nil {
			return 0, errNotNumber
		}
		if expires.IsZero() {
			expires = until
		}
	}
	sum := n + by
	if (sum > n) != (by > 0) && by != 0 {
		return 0, errNotNumber
	}
	st.putExpiring(key, strconv.AppendInt(nil, sum, 10), expires)
	return sum, nil
}

func (st *stage) swap(key []byte, e *envelope.Effect, expires time.Time) (int64, error) {
	old, err := st.live(key)
	absent := errors.Is(err, store.ErrNotFound)
	if err != nil && !absent {
		return 0, err
	}
	if absent != (e.Old == nil) || !absent && !bytes.Equal(old, e.Old) {
		return 0, nil
	}
	st.putExpiring(key, e.Value, expires)
	return 1, nil
}

// Scan implements store.KV.
func (s *keyValues) Scan(ctx context.Context, space, prefix string, limit int) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		err := checkKV(space, prefix)
		if err == nil {
			skip := len(kvKey(space, ""))
			err = s.each(ctx, kvKey(space, prefix), false, func(_ *badger.Txn, key, payload []byte) error {
				if limit--; limit < 0 || !yield(store.Pair{Key: string(key[skip:]), Value: payload}, nil) {
					return errStop
				}
				return nil
			})
		}
		if err != nil {
			yield(store.Pair{}, err)
		}
	}
}
