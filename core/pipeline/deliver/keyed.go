package deliver

import "sync"

// keyedMutex is a mutex for each key; only keys that are locked use memory.
type keyedMutex struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	sync.Mutex
	refs int
}

// lock blocks until the key is free and returns the unlock function.
func (k *keyedMutex) lock(key string) func() {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*keyLock{}
	}
	l := k.held[key]
	if l == nil {
		l = &keyLock{}
		k.held[key] = l
	}
	l.refs++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.refs--; l.refs == 0 {
			delete(k.held, key)
		}
	}
}

// count returns the number of keys that are held or waited for.
func (k *keyedMutex) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.held)
}
