package lua

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/hooks"
)

var rateModule = module{
	name: "rate",
	doc:  "rate limits (GCRA), separate for each bundle and domain; what a failed handler took is given back",
	functions: []function{
		{
			name: "take",
			call: rateTake,
			sig:  "take(key, \"30/1m\", { burst =, cost = })",
			doc:  "three results: whether it may happen now, the seconds to wait if not, and how many more may follow at once",
		},
	},
}

// rates holds theoretical arrival times. Memory is authoritative in this
// process; the KV keeps them over a restart.
type rates struct {
	mu      sync.Mutex
	tat     map[string]time.Time
	sweepAt int // how many there may be before those that are full again are forgotten
}

// minSweep is how many claims or rates are let be before any is looked at.
// Whoever looks at all of them lets their number double before the next look,
// so that a call costs the same however many there are.
const minSweep = 4096

// parseRate reads "30/1m".
func parseRate(s string) (n float64, per time.Duration, err error) {
	count, span, ok := strings.Cut(s, "/")
	n, err = strconv.ParseFloat(strings.TrimSpace(count), 64)
	if !ok || err != nil || !(n > 0) || n > 1e9 {
		return 0, 0, fmt.Errorf("a rate is like \"30/1m\", got %q", s)
	}
	span = strings.TrimSpace(span)
	if span == "s" || span == "m" || span == "h" || span == "d" || span == "min" || span == "sec" {
		span = "1" + span[:1]
	}
	per, err = parseDuration(glua.LString(strings.Replace(span, "min", "m", 1)))
	if err != nil || per <= 0 {
		return 0, 0, fmt.Errorf("a rate is like \"30/1m\", got %q", s)
	}
	return n, per, nil
}

func rateTake(L *glua.LState) int {
	st := stateOf(L)
	k, key := beginKV(L, "rate.take")
	n, per, err := parseRate(stringArgument(L, 2, "rate.take", "rate"))
	if err != nil {
		L.RaiseError("rate.take: %s", err.Error())
	}
	burst, cost := n, 1.0
	if v := L.Get(3); v != glua.LNil {
		t, ok := v.(*glua.LTable)
		if !ok {
			L.RaiseError("rate.take: options must be a table, got %s", typeOf(v))
		}
		for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
			f, ok := v.(glua.LNumber)
			if !ok || !(f >= 0) || f > 1e9 {
				L.RaiseError("rate.take: %s must be a number from 0, got %s", tostringPlain(k), tostringPlain(v))
			}
			switch tostringPlain(k) {
			case "burst":
				burst = math.Max(float64(f), 1)
			case "cost":
				cost = float64(f)
			default:
				L.RaiseError("rate.take: unknown option %s%s", tostringPlain(k), hooks.Suggestion(tostringPlain(k), []string{"burst", "cost"}))
			}
		}
	}
	ok, wait, remaining, err := st.generation.engine.takeRate(k.call, "#rate", key, st.now(),
		gcra{interval: time.Duration(float64(per) / n), burst: burst, cost: cost})
	raiseIf(L, err)
	L.Push(glua.LBool(ok))
	L.Push(st.number(wait))
	L.Push(st.number(remaining))
	return 3
}

// gcra is one generic cell rate: a unit each interval, burst of them at once.
type gcra struct {
	interval    time.Duration
	burst, cost float64
}

// takeRate takes from a rate that is kept in a namespace beside the kv's.
func (e *Engine) takeRate(c *call, suffix, key string, now time.Time, g gcra) (ok bool, wait, remaining float64, err error) {
	space := c.space() + suffix
	full := space + "\x00" + key
	tat, known := e.rates.get(full)
	if !known {
		b, err := e.KV.Get(c.ctx, space, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, 0, 0, fmt.Errorf("rate: %w", err)
		}
		if ns, err := strconv.ParseInt(string(b), 10, 64); err == nil {
			tat = time.Unix(0, ns)
		}
	}
	after, wait, remaining := e.rates.take(full, tat, now, g)
	if wait > 0 {
		return false, wait, 0, nil
	}
	spent := time.Duration(g.cost * float64(g.interval))
	if err := c.event.AddEffect(envelope.Effect{Space: space, Op: envelope.Set, Key: key, Value: strconv.AppendInt(nil, after.UnixNano(), 10),
		TTL: after.Sub(now) + time.Second}); err != nil {
		e.rates.refund(full, spent)
		return false, 0, 0, err
	}
	c.event.OnUndo("rate "+key, func() { e.rates.refund(full, spent) })
	return true, 0, remaining, nil
}

func (r *rates) get(key string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tat[key]
	return t, ok
}

// take advances the arrival time; known is what the KV had for a new key.
func (r *rates) take(key string, known, now time.Time, g gcra) (after time.Time, wait, remaining float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tat, ok := r.tat[key]
	if !ok {
		tat = known
	}
	if tat.Before(now) {
		tat = now
	}
	after = tat.Add(time.Duration(g.cost * float64(g.interval)))
	room := time.Duration(g.burst * float64(g.interval))
	if over := after.Sub(now) - room; over > 0 {
		return tat, math.Ceil(over.Seconds()), 0
	}
	if len(r.tat) >= r.sweepAt {
		maps.DeleteFunc(r.tat, func(_ string, t time.Time) bool { return t.Before(now) })
		r.sweepAt = max(minSweep, 2*len(r.tat))
	}
	r.tat[key] = after
	return after, 0, math.Floor(float64(room-after.Sub(now)) / float64(g.interval))
}

func (r *rates) refund(key string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.tat[key]; ok {
		r.tat[key] = t.Add(-d)
	}
}
