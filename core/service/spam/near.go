package spam

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Near is the least share of its text that a message has in common with a
// taught one for the two to be called similar: unrelated texts have less.
const Near = 0.3

// maxChanged is how many changes of what was taught an index follows one by
// one; of more it is made anew.
const maxChanged = 1000

// index has the sketches of what one account, or the site, was taught. It
// follows the store change by change, so that the second copy of a message is
// known as soon as the first was taught.
type index struct {
	refreshing sync.Mutex // taken before mu, held while the store is read

	mu      sync.RWMutex
	loaded  bool
	changed map[string]bool // keys to read anew
	places  map[string]int  // of keys, in entries
	entries []entryOf
}

// entryOf is one taught message.
type entryOf struct {
	sketch sketch
	key    string
	class  Class
	at     time.Time
}

// note remembers the key of a message that was taught or untaught.
func (x *index) note(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.loaded {
		return
	}
	if x.changed[key] = true; len(x.changed) > maxChanged {
		x.loaded = false
	}
}

// start empties the index; keys that are noted from now on are read again.
func (x *index) start() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.loaded, x.changed, x.places, x.entries = true, map[string]bool{}, map[string]int{}, nil
}

// put replaces the entry of a key, or removes it with nil.
func (x *index) put(key string, s *sample) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, known := x.places[key]
	switch {
	case s != nil && !s.sketch.isZero():
		e := entryOf{s.sketch, key, s.class, s.at}
		if known {
			x.entries[at] = e
			return
		}
		x.places[key] = len(x.entries)
		x.entries = append(x.entries, e)
	case known:
		last := len(x.entries) - 1
		x.entries[at] = x.entries[last]
		x.places[x.entries[at].key] = at
		x.entries = x.entries[:last]
		delete(x.places, key)
	}
}

// take returns the keys to read again, or loaded = false if all have to be read.
func (x *index) take() (keys []string, loaded bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range x.changed {
		keys = append(keys, k)
	}
	clear(x.changed)
	return keys, x.loaded
}

func (x *index) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.loaded, x.changed, x.places, x.entries = false, nil, nil, nil
}

// nearest returns the largest share of text in common with what was taught since,
// and the class of that; equally near, ham.
func (x *index) nearest(s *sketch, since time.Time) (share float64, class Class) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for i := range x.entries {
		e := &x.entries[i]
		n := s.share(&e.sketch)
		if n >= Near && (n > share || n == share && e.class == Ham) && !e.at.Before(since) {
			share, class = n, e.class
		}
	}
	return share, class
}

// Similar finds the learned message whose text is nearest to that of m. It returns the
// share of the text that they have in common, from Near to 1, and the class of the
// learned message. It searches the messages of the account and of the site, or with ""
// only those of the site. The share is 0 if no message is near, and for a text of few
// words. Among equally near messages those of the account go before those of the site,
// then ham before spam. It blocks on the store.
func (f *Filter) Similar(ctx context.Context, account envelope.Address, m *Features) (share float64, class Class, err error) {
	if m.sketch.isZero() {
		return 0, 0, nil
	}
	since := f.clock.Now().Add(-Lifetime)
	for _, a := range []envelope.Address{account, ""} {
		x := &f.hold(a).index
		if err := f.refresh(ctx, a, x); err != nil {
			return 0, 0, err
		}
		if s, c := x.nearest(&m.sketch, since); s > share {
			share, class = s, c
		}
		if account == "" {
			break
		}
	}
	return share, class, nil
}

// refresh makes the index what the store holds.
func (f *Filter) refresh(ctx context.Context, account envelope.Address, x *index) error {
	x.refreshing.Lock()
	defer x.refreshing.Unlock()
	keys, loaded := x.take()
	if loaded && len(x.entries)+len(keys) <= limit(account)+maxChanged {
		for _, k := range keys {
			if err := f.reread(ctx, account, x, k); err != nil {
				x.reset()
				return err
			}
		}
		return nil
	}
	x.start()
	samples, err := f.load(ctx, account, decodeFront)
	if err != nil {
		x.reset()
		return err
	}
	for _, s := range samples {
		x.put(s.key, s)
	}
	return nil
}

// reread reads one message of the index again.
func (f *Filter) reread(ctx context.Context, account envelope.Address, x *index, key string) error {
	value, err := f.kv.Get(ctx, space(account), key)
	if errors.Is(err, store.ErrNotFound) {
		x.put(key, nil)
		return nil
	}
	if err != nil {
		return fmt.Errorf("spam: %w", err)
	}
	s, err := decodeFront(key, value)
	if err != nil {
		s = nil // as load does
	}
	x.put(key, s)
	return nil
}
