package lua

import (
	"fmt"
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"
)

var cacheModule = module{name: "cache", doc: "results that all interpreters of a generation share", functions: []function{
	{
		name: "memoize",
		call: cacheMemoize,
		sig:  "memoize(fn, { ttl =, size = })",
		doc: "a function like fn that remembers its results: up to 1000 for 5 minutes, by default. Only one call per key runs at a time. " +
			"Results are plain data",
	},
}}

// memo is one memoized function of a generation.
type memo struct {
	mu      sync.Mutex
	ttl     time.Duration
	size    int
	entries map[string]*memoEntry
	order   []string // the oldest first
}

type memoEntry struct {
	done  chan struct{} // closed when value is set or the call failed
	ok    bool
	value any
	until time.Time
}

func cacheMemoize(L *glua.LState) int {
	st := stateOf(L)
	if st.loading == nil {
		L.RaiseError("cache.memoize belongs at the top of the file, not inside a handler")
	}
	fn := L.CheckFunction(1)
	life, size := 5*time.Minute, 1000
	if v := L.Get(2); v != glua.LNil {
		t, ok := v.(*glua.LTable)
		if !ok {
			L.RaiseError("cache.memoize: options must be a table, got %s", typeOf(v))
		}
		for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
			switch tostringPlain(k) {
			case "ttl":
				life = durationArgument(L, v, "cache.memoize: ttl")
			case "size":
				n, ok := wholeNumber(v)
				if !ok || n < 1 || n > 100_000 {
					L.RaiseError("cache.memoize: size must be 1..100000, got %s", tostringPlain(v))
				}
				size = int(n)
			default:
				L.RaiseError("cache.memoize: unknown option %s", tostringPlain(k))
			}
		}
	}
	m := st.generation.memo(st.loading.memos, life, size)
	st.loading.memos++
	wrapper := L.NewFunction(func(L *glua.LState) int { return m.call(L, fn) })
	st.memoized[wrapper] = fn
	L.Push(wrapper)
	return 1
}

// memo returns the n-th memoized function; all states meet at the same one.
func (s *generation) memo(n int, ttl time.Duration, size int) *memo {
	s.memoMu.Lock()
	defer s.memoMu.Unlock()
	for len(s.memos) <= n {
		s.memos = append(s.memos, nil)
	}
	if s.memos[n] == nil {
		s.memos[n] = &memo{ttl: ttl, size: size, entries: map[string]*memoEntry{}}
	}
	return s.memos[n]
}

func (m *memo) call(L *glua.LState, fn *glua.LFunction) int {
	st := stateOf(L)
	c := st.currentCall(L, "a memoized function")
	args := make([]any, L.GetTop())
	for i := range args {
		v, err := toPlain(L.Get(i + 1))
		raiseIf(L, err)
		args[i] = v
	}
	b, err := appendJSON(nil, args)
	if err != nil || len(b) > 4096 {
		L.RaiseError("memoize: arguments must be plain data of up to 4 KiB")
	}
	key := string(b)
	for {
		e, mine := m.claim(key, st.now())
		if mine {
			return m.fill(L, st, fn, key, e)
		}
		timer := time.NewTimer(time.Until(st.budget.deadline()))
		select {
		case <-e.done:
		case <-timer.C:
		case <-c.ctx.Done():
		}
		timer.Stop()
		st.budget.chargeSteps(L, 256)
		if e.ok {
			L.Push(st.toLua(L, e.value))
			return 1
		}
	}
}

// claim finds a fresh entry, or makes one that the caller has to fill.
func (m *memo) claim(key string, now time.Time) (e *memoEntry, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[key]; ok && (e.until.IsZero() || now.Before(e.until)) {
		return e, false
	}
	if _, ok := m.entries[key]; !ok {
		m.order = append(m.order, key)
	}
	for len(m.order) > m.size {
		delete(m.entries, m.order[0])
		m.order = m.order[1:]
	}
	e = &memoEntry{done: make(chan struct{})}
	m.entries[key] = e
	return e, true
}

func (m *memo) fill(L *glua.LState, st *state, fn *glua.LFunction, key string, e *memoEntry) int {
	finished := false
	defer func() {
		if !finished { // fn raised: the next one tries again
			m.drop(key, e)
			close(e.done)
		}
	}()
	n := L.GetTop()
	L.Push(fn)
	for i := 1; i <= n; i++ {
		L.Push(L.Get(i))
	}
	L.Call(n, 1)
	v, err := toPlain(L.Get(-1))
	if err == nil && plainSize(v) > maxKVValue {
		err = fmt.Errorf("more than %d KiB", maxKVValue>>10)
	}
	if err != nil {
		L.RaiseError("memoize: result: %s", err.Error())
	}
	m.mu.Lock()
	e.value, e.ok, e.until = v, true, st.now().Add(m.ttl)
	m.mu.Unlock()
	finished = true
	close(e.done)
	return 1
}

func (m *memo) drop(key string, e *memoEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[key] == e {
		delete(m.entries, key)
		for i, k := range m.order {
			if k == key {
				m.order = append(m.order[:i], m.order[i+1:]...)
				break
			}
		}
	}
}
