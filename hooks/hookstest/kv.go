package hookstest

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
)

// KV is a store.KV in memory. It is safe for concurrent use.
type KV struct {
	Clock *clock.Clock

	mu    sync.Mutex
	items map[string]item
	fail  error
}

type item struct {
	value []byte
	until time.Time // zero: for ever
}

var _ store.KV = (*KV)(nil)

// Fail makes all later calls return err; nil ends that.
func (k *KV) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

// get expects the lock to be held.
func (k *KV) get(space, key string) ([]byte, bool) {
	it, ok := k.items[space+"\x00"+key]
	if !ok || !it.until.IsZero() && !k.Clock.Now().Before(it.until) {
		return nil, false
	}
	return it.value, true
}

// Get implements store.KV.
func (k *KV) Get(ctx context.Context, space, key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return nil, k.fail
	}
	v, ok := k.get(space, key)
	if !ok {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(v), nil
}

// Apply implements store.KV.
func (k *KV) Apply(ctx context.Context, effects []envelope.Effect) ([]int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return nil, k.fail
	}
	if k.items == nil {
		k.items = map[string]item{}
	}
	out := make([]int64, len(effects))
	for i, f := range effects {
		value, had := k.get(f.Space, f.Key)
		it := item{value: bytes.Clone(f.Value)}
		if f.TTL > 0 {
			it.until = k.Clock.Now().Add(f.TTL)
		}
		id := f.Space + "\x00" + f.Key
		out[i] = 1
		switch f.Op {
		case envelope.Set:
			k.items[id] = it
		case envelope.Delete:
			delete(k.items, id)
		case envelope.Incr:
			n, _ := strconv.ParseInt(string(value), 10, 64)
			out[i] = n + f.N
			it.value = strconv.AppendInt(nil, out[i], 10)
			k.items[id] = it
		case envelope.CAS:
			if had != (f.Old != nil) || !bytes.Equal(value, f.Old) {
				out[i] = 0
				continue
			}
			k.items[id] = it
		}
	}
	return out, nil
}

// Scan implements store.KV.
func (k *KV) Scan(ctx context.Context, space, prefix string, limit int) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		k.mu.Lock()
		var pairs []store.Pair
		err := k.fail
		for id := range k.items {
			if key, ok := strings.CutPrefix(id, space+"\x00"); ok && strings.HasPrefix(key, prefix) {
				if v, ok := k.get(space, key); ok {
					pairs = append(pairs, store.Pair{Key: key, Value: bytes.Clone(v)})
				}
			}
		}
		k.mu.Unlock()
		if err != nil {
			yield(store.Pair{}, err)
			return
		}
		slices.SortFunc(pairs, func(a, b store.Pair) int { return strings.Compare(a.Key, b.Key) })
		for _, p := range pairs[:min(limit, len(pairs))] {
			if !yield(p, nil) {
				return
			}
		}
	}
}
