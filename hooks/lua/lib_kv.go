package lua

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Limits of the KV, in octets.
const (
	maxKey     = 512
	maxKVValue = 256 << 10
	maxScanned = 1000
	claimFor   = 2 * time.Minute // longer than the answer to DATA may take
)

var kvModule = module{
	name: "kv",
	doc: "plain data in the store, separate for each bundle and domain. Writes count when the handler returns; at hooks about a message " +
		"they are part of its commit. At most 200 operations per call",
	functions: []function{
		{name: "get", call: kvGet, sig: "get(key)", doc: "the value, or nil; sees the handler's own writes"},
		{name: "set", call: kvSet, sig: "set(key, value, { ttl = })", doc: "stores a value"},
		{name: "once", call: kvOnce, sig: "once(key, { ttl = })", doc: "true for the first caller, then false until ttl is over"},
		{name: "incr", call: kvIncr, sig: "incr(key, [n], { ttl = })", doc: "adds n, 1 by default, and returns the sum as seen now"},
		{name: "delete", call: kvDelete, sig: "delete(key)", doc: "deletes a key"},
		{
			name: "cas",
			call: kvCAS,
			sig:  "cas(key, old, new, { ttl = })",
			doc:  "stores new if the value is still old (nil: absent) and returns whether it was, as seen now",
		},
		{name: "scan", call: kvScan, sig: "scan(prefix, limit)", doc: "a list of { key, value } in the order of the keys, at most 1000"},
	},
}

// claims makes kv.once true once even while the first one's commit is still
// on its way.
type claims struct {
	mu      sync.Mutex
	until   map[string]claim
	sweepAt int // how many there may be before those that are over are forgotten
}

type claim struct {
	by    string // the message, so that its own retry is not refused
	until time.Time
}

// take claims a key for at most life, 0 meaning for ever; release gives it
// back when the handler fails.
func (c *claims) take(key, by string, now time.Time, life time.Duration) (ok bool, release func()) {
	if life <= 0 || life > claimFor {
		life = claimFor
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.until) >= c.sweepAt {
		maps.DeleteFunc(c.until, func(_ string, v claim) bool { return now.After(v.until) })
		c.sweepAt = max(minSweep, 2*len(c.until))
	}
	old, had := c.until[key]
	if had && now.Before(old.until) && (by == "" || old.by != by) {
		return false, nil
	}
	c.until[key] = claim{by: by, until: now.Add(life)}
	return true, func() { c.drop(key) }
}

func (c *claims) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.until, key)
}

// encode writes a value: strings as "s" and their octets, the rest as JSON,
// so that numbers are what Incr stores.
func encode(v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		return append([]byte{'s'}, s...), nil
	}
	return appendJSON(nil, v)
}

func decode(b []byte) (any, error) {
	if len(b) > 0 && b[0] == 's' {
		return string(b[1:]), nil
	}
	return parseJSON(string(b))
}

// kvAccess is one operation of a script on the KV.
type kvAccess struct {
	st   *state
	L    *glua.LState
	call *call
	what string // the function, as errors name it
}

// beginKV opens the KV for one operation and reads its key, argument 1.
func beginKV(L *glua.LState, what string) (kvAccess, string) {
	st := stateOf(L)
	c := st.currentCall(L, what)
	if st.generation.engine.KV == nil {
		L.RaiseError("%s: the server has no kv", what)
	}
	st.budget.spendOne(L, &st.budget.kv, "kv and account operations")
	key := stringArgument(L, 1, what, "key")
	if len(key) > maxKey || key == "" && what != "kv.scan" || strings.IndexByte(key, 0) >= 0 {
		L.RaiseError("%s: key must have 1 to %d octets and no NUL", what, maxKey)
	}
	return kvAccess{st, L, c, what}, key
}

// read returns the value of a key as the handler sees it: stored, then changed by
// the effects that wait for their commit; nil is an absent key.
func (k kvAccess) read(space, key string) []byte {
	value, err := k.st.generation.engine.KV.Get(k.call.ctx, space, key)
	if errors.Is(err, store.ErrNotFound) {
		value, err = nil, nil
	}
	if err != nil {
		k.L.RaiseError("kv: %s", err.Error())
	}
	for _, f := range k.call.pending() {
		if f.Space == space && f.Key == key {
			value = applyEffect(value, f)
		}
	}
	return value
}

// applyEffect returns what an effect makes of a value; nil is an absent key.
func applyEffect(value []byte, f envelope.Effect) []byte {
	switch f.Op {
	case envelope.Set:
		return notNil(f.Value)
	case envelope.Delete:
		return nil
	case envelope.Incr:
		n, _ := strconv.ParseInt(string(value), 10, 64)
		return strconv.AppendInt(nil, n+f.N, 10)
	case envelope.CAS:
		if (f.Old == nil) == (value == nil) && string(f.Old) == string(value) {
			return notNil(f.Value)
		}
	}
	return value
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (k kvAccess) write(f envelope.Effect) {
	f.Space = k.call.space()
	if f.Op == envelope.Delete {
		k.st.generation.engine.claims.drop(f.Space + "\x00" + f.Key)
	}
	k.st.budget.chargeMemory(k.L, int64(len(f.Key)+len(f.Value)+len(f.Old)+64))
	raiseIf(k.L, k.call.event.AddEffect(f))
}

// encodeArgument is argument n as stored.
func (k kvAccess) encodeArgument(n int) []byte {
	v, err := toPlain(k.L.Get(n))
	if err == nil && plainSize(v) > maxKVValue {
		err = fmt.Errorf("value has more than %d KiB", maxKVValue>>10)
	}
	var b []byte
	if err == nil {
		b, err = encode(v)
	}
	if err == nil && len(b) > maxKVValue {
		err = fmt.Errorf("value has more than %d KiB", maxKVValue>>10)
	}
	if err != nil {
		k.L.RaiseError("%s: %s", k.what, err.Error())
	}
	return b
}

// decodeValue returns a stored value as Lua has it.
func (k kvAccess) decodeValue(b []byte) glua.LValue {
	if b == nil {
		return glua.LNil
	}
	v, err := decode(b)
	if err != nil {
		k.L.RaiseError("%s: the stored value cannot be read: %s", k.what, err.Error())
	}
	return k.st.toLua(k.L, v)
}

// ttl reads { ttl = } at argument n.
func (k kvAccess) ttl(n int) time.Duration {
	L, what := k.L, k.what
	v := L.Get(n)
	if v == glua.LNil {
		return 0
	}
	t, ok := v.(*glua.LTable)
	if !ok {
		L.RaiseError("%s: options must be a table like { ttl = \"7d\" }, got %s", what, typeOf(v))
	}
	for k, _ := t.Next(glua.LNil); k != glua.LNil; k, _ = t.Next(k) {
		if k != glua.LString("ttl") {
			L.RaiseError("%s: unknown option %s%s", what, tostringPlain(k), hooks.Suggestion(tostringPlain(k), []string{"ttl"}))
		}
	}
	if t.RawGetString("ttl") == glua.LNil {
		return 0
	}
	return durationArgument(L, t.RawGetString("ttl"), what+": ttl")
}

func kvGet(L *glua.LState) int {
	k, key := beginKV(L, "kv.get")
	b := k.read(k.call.space(), key)
	L.Push(k.decodeValue(b))
	return 1
}

func kvSet(L *glua.LState) int {
	k, key := beginKV(L, "kv.set")
	if L.Get(2) == glua.LNil {
		k.write(envelope.Effect{Op: envelope.Delete, Key: key})
		return 0
	}
	k.write(envelope.Effect{Op: envelope.Set, Key: key, Value: k.encodeArgument(2), TTL: k.ttl(3)})
	return 0
}

func kvDelete(L *glua.LState) int {
	k, key := beginKV(L, "kv.delete")
	k.write(envelope.Effect{Op: envelope.Delete, Key: key})
	return 0
}

func kvIncr(L *glua.LState) int {
	st := stateOf(L)
	k, key := beginKV(L, "kv.incr")
	n, options := int64(1), 2
	if v := L.Get(2); v.Type() == glua.LTNumber {
		w, ok := wholeNumber(v)
		if !ok {
			L.RaiseError("kv.incr: n must be a whole number, got %s", tostringPlain(v))
		}
		n, options = w, 3
	} else if v == glua.LNil {
		options = 3
	}
	b := k.read(k.call.space(), key)
	var before int64
	if b != nil {
		var err error
		if before, err = strconv.ParseInt(string(b), 10, 64); err != nil {
			L.RaiseError("kv.incr: the value of %s is not a whole number", key)
		}
	}
	k.write(envelope.Effect{Op: envelope.Incr, Key: key, N: n, TTL: k.ttl(options)})
	L.Push(st.number(float64(before + n)))
	return 1
}

func kvCAS(L *glua.LState) int {
	k, key := beginKV(L, "kv.cas")
	var old []byte
	if L.Get(2) != glua.LNil {
		old = k.encodeArgument(2)
	}
	value := k.encodeArgument(3)
	life := k.ttl(4)
	b := k.read(k.call.space(), key)
	same := (b == nil) == (old == nil) && string(b) == string(old)
	if same {
		k.write(envelope.Effect{Op: envelope.CAS, Key: key, Old: old, Value: value, TTL: life})
	}
	L.Push(glua.LBool(same))
	return 1
}

func kvOnce(L *glua.LState) int {
	st := stateOf(L)
	k, key := beginKV(L, "kv.once")
	life := k.ttl(2)
	b := k.read(k.call.space(), key)
	if b != nil {
		L.Push(glua.LFalse)
		return 1
	}
	ok, release := st.generation.engine.claims.take(k.call.space()+"\x00"+key, k.call.message(), st.generation.engine.Clock.Now(), life)
	if ok {
		// A CAS, for a claim is this process's own and another may be first.
		k.write(envelope.Effect{Op: envelope.CAS, Key: key, Value: []byte("true"), TTL: life})
		k.call.event.OnUndo("once "+key, release)
	}
	L.Push(glua.LBool(ok))
	return 1
}

// message returns the id of the current message, or "".
func (c *call) message() string {
	if c.event.Msg != nil {
		return c.event.Msg.ID.String()
	}
	return ""
}

func kvScan(L *glua.LState) int {
	st := stateOf(L)
	k, prefix := beginKV(L, "kv.scan")
	limit := optInteger(L, 2, 100)
	if limit < 1 || limit > maxScanned {
		L.RaiseError("kv.scan: limit must be 1..%d, got %d", maxScanned, limit)
	}
	found := map[string][]byte{}
	// Pending deletions may hide some, so as many more are read.
	more := len(k.call.pending())
	for p, err := range st.generation.engine.KV.Scan(k.call.ctx, k.call.space(), prefix, limit+more) {
		raiseIf(L, err)
		st.budget.chargeMemory(L, int64(len(p.Key)+len(p.Value)))
		found[p.Key] = notNil(p.Value)
	}
	for _, f := range k.call.pending() {
		if f.Space == k.call.space() && strings.HasPrefix(f.Key, prefix) {
			if v := applyEffect(found[f.Key], f); v != nil {
				found[f.Key] = v
			} else {
				delete(found, f.Key)
			}
		}
	}
	t := L.CreateTable(min(limit, len(found)), 0)
	for i, key := range sortedKeys(found) {
		if i >= limit {
			break
		}
		pair := L.CreateTable(0, 2)
		pair.RawSetString("key", glua.LString(key))
		pair.RawSetString("value", k.decodeValue(found[key]))
		t.RawSetInt(i+1, pair)
	}
	L.Push(t)
	return 1
}

func (c *call) pending() []envelope.Effect {
	if c.event.Pending == nil {
		return nil
	}
	return c.event.Pending.Effects
}
