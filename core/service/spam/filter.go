package spam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/store"
)

// Spaces of the KV: what the site was taught, and what each account was.
const (
	siteSpace    = "spam"
	accountSpace = "spam:"
)

func space(account envelope.Address) string {
	if account == "" {
		return siteSpace
	}
	return accountSpace + string(account)
}

// accountOf returns the account of a KV namespace; ok is false if it is not one of ours.
func accountOf(space string) (account envelope.Address, ok bool) {
	if space == siteSpace {
		return "", true
	}
	name, ok := strings.CutPrefix(space, accountSpace)
	return envelope.Address(name), ok
}

// Teach returns the effect that teaches account, or with "" the site, a message
// at the time now. A message that was taught before gets the new class.
func Teach(account envelope.Address, f *Features, class Class, now time.Time) envelope.Effect {
	return envelope.Effect{Space: space(account), Op: envelope.Set, Key: f.key, Value: newSample(f, class, now).encode(), TTL: Lifetime}
}

// Forget returns the effect that undoes Teach.
func Forget(account envelope.Address, f *Features) envelope.Effect {
	return envelope.Effect{Space: space(account), Op: envelope.Delete, Key: f.key}
}

// TaughtBy returns account and class of an effect of Teach; ok is false for all
// other effects.
func TaughtBy(e envelope.Effect) (account envelope.Address, class Class, ok bool) {
	if account, ok = accountOf(e.Space); !ok || e.Op != envelope.Set {
		return "", 0, false
	}
	s, err := decode(e.Key, e.Value)
	if err != nil {
		return "", 0, false
	}
	return account, s.class, true
}

// Stats is what the site or an account was taught.
type Stats struct {
	Account  envelope.Address `json:"account,omitempty"`
	Spam     int              `json:"spam"`
	Ham      int              `json:"ham"`
	Features int              `json:"features"` // different ones
	Oldest   time.Time        `json:"oldest,omitzero"`
	Newest   time.Time        `json:"newest,omitzero"`
}

// maxAccounts is how many accounts' models are held in memory.
const maxAccounts = 64

// patience: a model that took so long to make is kept this many times as long
// before it is made anew, while messages are judged all the time.
const (
	patience = 20
	quick    = 50 * time.Millisecond // what is faster to make is made at once
)

// Filter judges messages by what the store holds. It is safe for concurrent
// use; it starts nothing.
type Filter struct {
	kv    store.KV
	clock *clock.Clock

	mu   sync.Mutex
	held map[envelope.Address]*held
}

// held is one model in memory.
type held struct {
	making sync.Mutex
	model  atomic.Pointer[model]
	stale  atomic.Bool
	made   time.Time // under making, as took
	took   time.Duration
	used   time.Time // under Filter.mu
	stats  Stats     // under making
	index  index
}

// New returns the filter of what kv holds.
func New(kv store.KV, c *clock.Clock) *Filter {
	return &Filter{kv: kv, clock: c, held: map[envelope.Address]*held{}}
}

// Learn teaches messages and blocks until that is on disk.
func (f *Filter) Learn(ctx context.Context, account envelope.Address, class Class, messages ...*Features) error {
	effects := make([]envelope.Effect, len(messages))
	for i, m := range messages {
		effects[i] = Teach(account, m, class, f.clock.Now())
	}
	return f.apply(ctx, effects)
}

// Unlearn makes Learn undone; messages that were not taught do no harm.
func (f *Filter) Unlearn(ctx context.Context, account envelope.Address, messages ...*Features) error {
	effects := make([]envelope.Effect, len(messages))
	for i, m := range messages {
		effects[i] = Forget(account, m)
	}
	return f.apply(ctx, effects)
}

// apply writes effects in commits of a bounded size.
func (f *Filter) apply(ctx context.Context, effects []envelope.Effect) error {
	for part := range slices.Chunk(effects, 100) {
		if _, err := f.kv.Apply(ctx, part); err != nil {
			return fmt.Errorf("spam: %w", err)
		}
		f.Changed(part)
	}
	return nil
}

// Changed informs the filter about effects that were committed; those that are not
// about it are none of its business.
func (f *Filter) Changed(effects []envelope.Effect) {
	for _, e := range effects {
		if account, ok := accountOf(e.Space); ok {
			f.mu.Lock()
			h := f.held[account]
			f.mu.Unlock()
			if h != nil {
				h.stale.Store(true)
				h.index.note(e.Key)
			}
		}
	}
}

// Classify returns the probability, above 0 and below 1, that a message is spam
// for account, or for anybody with "": one half where nothing was taught.
// What an account was taught is added to what the site was. It may block on
// the store and, after something was taught, for the time that a model takes
// to make; with fresh it always waits for that.
func (f *Filter) Classify(ctx context.Context, account envelope.Address, m *Features, fresh bool) (float64, error) {
	h, err := f.model(ctx, "", fresh)
	if err != nil {
		return 0, err
	}
	z := h.logit(&m.ids)
	if account != "" {
		if h, err = f.model(ctx, account, fresh); err != nil {
			return 0, err
		}
		z += h.logit(&m.ids)
	}
	return sigmoid(z), nil
}

// Stats counts the learned messages.
func (f *Filter) Stats(ctx context.Context, account envelope.Address) (Stats, error) {
	h := f.hold(account)
	h.making.Lock()
	defer h.making.Unlock()
	if h.model.Load() == nil || h.stale.Load() {
		if err := f.make(ctx, account, h); err != nil {
			return Stats{}, err
		}
	}
	return h.stats, nil
}

func (f *Filter) hold(account envelope.Address) *held {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.held[account]
	if h == nil {
		h = &held{}
		f.held[account] = h
	}
	h.used = time.Now()
	if len(f.held) > maxAccounts {
		oldest := account
		for a, other := range f.held {
			if a != "" && other.used.Before(f.held[oldest].used) {
				oldest = a
			}
		}
		delete(f.held, oldest)
	}
	return h
}

// model returns the current model. One caller rebuilds it when it is too old; the others
// use the previous one meanwhile.
func (f *Filter) model(ctx context.Context, account envelope.Address, fresh bool) (*model, error) {
	h := f.hold(account)
	if m := h.model.Load(); m != nil && !h.stale.Load() {
		return m, nil
	}
	if h.model.Load() == nil || fresh {
		h.making.Lock()
	} else if !h.making.TryLock() {
		return h.model.Load(), nil
	}
	defer h.making.Unlock()
	m := h.model.Load()
	if m != nil && (!h.stale.Load() || !fresh && h.took > quick && time.Since(h.made) < patience*h.took) {
		return m, nil
	}
	err := f.make(ctx, account, h)
	return h.model.Load(), err
}

// make reads the learned messages and makes a model from them.
func (f *Filter) make(ctx context.Context, account envelope.Address, h *held) error {
	start := time.Now()
	h.stale.Store(false) // what is taught from here on may be missing
	samples, err := f.load(ctx, account, decode)
	if err != nil {
		h.stale.Store(true)
		return err
	}
	m := train(samples)
	h.stats = Stats{Account: account, Spam: m.spam, Ham: m.ham, Features: m.features}
	for _, s := range samples {
		if h.stats.Oldest.IsZero() || s.at.Before(h.stats.Oldest) {
			h.stats.Oldest = s.at
		}
		if s.at.After(h.stats.Newest) {
			h.stats.Newest = s.at
		}
	}
	h.model.Store(m)
	h.made, h.took = time.Now(), time.Since(start)
	return nil
}

// limit returns how many taught messages count.
func limit(account envelope.Address) int {
	if account != "" {
		return AccountLimit
	}
	return SiteLimit
}

// load reads samples with read; if there are more than the limit, it deletes the oldest.
// What cannot be read is left out: a model without one message is better than
// none.
func (f *Filter) load(
	ctx context.Context,
	account envelope.Address,
	read func(key string, value []byte) (*sample, error),
) ([]*sample, error) {
	limit := limit(account)
	var out []*sample
	for p, err := range f.kv.Scan(ctx, space(account), "", 2*limit) {
		if err == nil {
			var s *sample
			if s, err = read(p.Key, p.Value); err == nil {
				out = append(out, s)
			}
		}
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			return nil, fmt.Errorf("spam: %w", err)
		}
	}
	if len(out) <= limit {
		return out, nil
	}
	slices.SortFunc(out, func(a, b *sample) int {
		if c := b.at.Compare(a.at); c != 0 {
			return c
		}
		return compare(a.key, b.key)
	})
	var old []envelope.Effect
	for _, s := range out[limit:] {
		old = append(old, envelope.Effect{Space: space(account), Op: envelope.Delete, Key: s.key})
	}
	for part := range slices.Chunk(old, 100) {
		if _, err := f.kv.Apply(ctx, part); err != nil {
			return nil, fmt.Errorf("spam: %w", err)
		}
		for _, e := range part {
			f.hold(account).index.note(e.Key)
		}
	}
	return out[:limit], nil
}
