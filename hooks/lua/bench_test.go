package lua_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
)

const benchHook = `
on("receive.data", function(session, tx, msg)
  local from = msg:header("From")
  local id = msg:header("Message-ID")
  if not from or not id then return reject(550, "5.6.0", "no From or Message-ID") end
  if from:match("^[^<]*<[^@>]+@[^>]+>$") == nil then return reject(550, "5.6.0", "bad From") end
end)
`

// BenchmarkHook is one handler by itself: two header reads and a pattern.
func BenchmarkHook(b *testing.B) {
	w := hookstest.New(b).Script(benchHook)
	h := w.Generation.Chain.Handlers(hooks.ReceiveData)[0]
	spec, _ := hooks.SpecOf(hooks.ReceiveData)
	e := &hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
		Msg: hookstest.Message("a@a.example", plainMail)}
	b.ReportAllocs()
	for b.Loop() {
		if v, _, err := h.Call(context.Background(), spec, e); err != nil || v.Action != hooks.Continue {
			b.Fatal(v, err)
		}
	}
}

// BenchmarkChain20 is a chain of 20 such handlers.
func BenchmarkChain20(b *testing.B) {
	w := hookstest.New(b).Script(strings.Repeat(benchHook, 20))
	e := &hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
		Msg: hookstest.Message("a@a.example", plainMail)}
	b.ReportAllocs()
	for b.Loop() {
		if v, trail := w.Generation.Chain.Run(context.Background(), e); v.Action != hooks.Continue || len(trail) != 0 {
			b.Fatal(v, trail)
		}
	}
}

// BenchmarkOnce asks for one more key where so many were asked for just now:
// it takes the same however many there are.
func BenchmarkOnce(b *testing.B) {
	for _, n := range []int{1000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := hookstest.New(b).Script(`on("receive.data", function(session, tx) kv.once(tx.sender, { ttl = "1d" }) end)`)
			e, asked := dataEvent(plainMail), 0
			ask := func() {
				asked++
				e.Pending, e.Tx.Sender = nil, envelope.Address(fmt.Sprintf("a%d@a.example", asked))
				if v, trail := w.Generation.Chain.Run(context.Background(), e); v.Action != hooks.Continue {
					b.Fatal(v, trail)
				}
			}
			for range n {
				ask()
			}
			b.ResetTimer()
			for range b.N {
				ask()
			}
		})
	}
}

// BenchmarkLoad loads 50 scripts of 100 lines each.
func BenchmarkLoad(b *testing.B) {
	sources := fifty(0)
	e := lua.New(lua.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Load(context.Background(), sources); err != nil {
			b.Fatal(err)
		}
	}
}

// hundredLines is a script of 100 lines.
func hundredLines(change int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "-- %d\n%s", change, benchHook)
	for j := strings.Count(benchHook, "\n"); j < 100; j += 5 {
		fmt.Fprintf(&text,
			"local function f%d(a, b)\n  local t = { a, b, key = \"v\" .. a }\n  if a == b then return t.key end\n"+
				"  return t[1] .. \":\" .. string.lower(t[2])\nend\n", j)
	}
	return text.String()
}

// fifty are 50 such sources.
func fifty(change int) []hooks.Source {
	var sources []hooks.Source
	for i := range 50 {
		sources = append(sources, hookstest.Bundle(fmt.Sprintf("acme/b%d", i), map[string]string{"init.lua": hundredLines(change)}))
	}
	return sources
}

// BenchmarkReload exchanges 50 scripts of 100 lines, where all have changed and
// where one has, while chains of their hooks are called without end, and tells
// the slowest hundredth of the calls in calm and meanwhile.
func BenchmarkReload(b *testing.B) {
	for _, changed := range []int{50, 1} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) { benchReload(b, changed) })
	}
}

func benchReload(b *testing.B, changed int) {
	e := lua.New(lua.Options{})
	var current hooks.Current
	load := func(n int) {
		sources := append(fifty(n)[:changed:changed], fifty(0)[changed:]...)
		g, err := e.Load(context.Background(), sources)
		if err != nil {
			b.Fatal(err)
		}
		current.Swap(g)
	}
	load(0)
	calls := func(stop <-chan struct{}) (took []time.Duration) {
		ev := &hooks.Event{Point: hooks.ReceiveData, Session: hookstest.Session("192.0.2.7"), Tx: hookstest.Tx("a@a.example", "bob@our.example"),
			Msg: hookstest.Message("a@a.example", plainMail)}
		for {
			select {
			case <-stop:
				return took
			default:
			}
			start := time.Now()
			current.Get().Chain.Run(context.Background(), ev)
			took = append(took, time.Since(start))
			time.Sleep(200 * time.Microsecond) // mail comes in now and then
		}
	}
	during := func(work func()) time.Duration {
		stop, done := make(chan struct{}), make(chan []time.Duration)
		go func() { done <- calls(stop) }()
		work()
		close(stop)
		took := slices.Sorted(slices.Values(<-done))
		return took[len(took)*99/100]
	}
	calm := during(func() { time.Sleep(time.Second) })
	var busy time.Duration
	n := 0
	b.ResetTimer()
	busy = during(func() {
		for b.Loop() {
			n++
			load(n)
		}
	})
	b.ReportMetric(float64(calm.Microseconds()), "calm-p99-us")
	b.ReportMetric(float64(busy.Microseconds()), "p99-us")
}

// slowNames answers after 20 ms.
type slowNames struct{ hookstest.Resolver }

func (*slowNames) A(context.Context, string) ([]netip.Addr, error) {
	time.Sleep(20 * time.Millisecond)
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
}

// BenchmarkBlocked has 1,000 sessions ask the DNS at once, each for 20 ms; one
// operation is one hook call.
func BenchmarkBlocked(b *testing.B) {
	e := lua.New(lua.Options{Resolver: &slowNames{}})
	g, err := e.Load(context.Background(),
		[]hooks.Source{hookstest.Scripts(map[string]string{"a.lua": `on("receive.connect", function(session) if not dns.a("x.example") then
return reject("no") end end)`})})
	if err != nil {
		b.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 1000 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if v, _ := g.Chain.Run(context.Background(), &hooks.Event{Point: hooks.ReceiveConnect,
					Session: hookstest.Session("192.0.2.7")}); v.Action != hooks.Continue {
					b.Error(v)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "hooks/s")
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB-kept") // by up to 512 idle interpreters
	runtime.KeepAlive(g)
}

// together answers when as many sessions ask as it was told to expect, so that
// each of them has an interpreter of its own.
type together struct {
	hookstest.Resolver
	all sync.WaitGroup
}

func (t *together) A(context.Context, string) ([]netip.Addr, error) {
	t.all.Done()
	t.all.Wait()
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
}

// BenchmarkIdleState is the memory that one idle interpreter keeps, with one short
// script and with 49 of 100 lines beside it.
func BenchmarkIdleState(b *testing.B) {
	const states = 256 // less than a pool keeps
	for _, scripts := range []int{1, 50} {
		files := map[string]string{"ask.lua": `on("receive.connect", function(session) if not dns.a("x.example") then return reject("no") end
end)`}
		for n := range scripts - 1 {
			files[fmt.Sprintf("s%d.lua", n)] = hundredLines(n)
		}
		sources := []hooks.Source{hookstest.Scripts(files)}
		b.Run(fmt.Sprintf("scripts=%d", scripts), func(b *testing.B) {
			var kept int64
			for b.Loop() {
				r := &together{}
				g, err := lua.New(lua.Options{Resolver: r}).Load(context.Background(), sources)
				if err != nil {
					b.Fatal(err)
				}
				kept += memoryOf(func() { askTogether(b, g, r, states) })
				runtime.KeepAlive(g)
			}
			b.ReportMetric(float64(kept)/float64(b.N)/states/1024, "KiB/state")
		})
	}
}

func askTogether(b *testing.B, g *hooks.Generation, r *together, states int) {
	var sessions sync.WaitGroup
	r.all.Add(states)
	for range states {
		sessions.Go(func() {
			if v, _ := g.Chain.Run(context.Background(), &hooks.Event{Point: hooks.ReceiveConnect,
				Session: hookstest.Session("192.0.2.7")}); v.Action != hooks.Continue {
				b.Error(v)
			}
		})
	}
	sessions.Wait()
}

// memoryOf is what stays on the heap of what f does.
func memoryOf(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// BenchmarkExhausted is a minute of mail from 30 client networks, 10 messages of
// each, that run a policy out of its budget: how much processor time it costs.
func BenchmarkExhausted(b *testing.B) {
	w := hookstest.New(b).Script(`on("receive.data", function(session, tx, msg) local n = 0 while true do n = n + 1 end end)`)
	minute := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	asked := 0
	w.Generation.Chain.OnCall = func(c hooks.Call) {
		if c.Instructions > 0 {
			asked++
		}
	}
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		minute = minute.Add(2 * time.Minute)
		for n := range 300 {
			e := dataEvent(plainMail)
			e.Now, e.Session.Remote = minute, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n % 30), 1}), 25)
			w.Generation.Chain.Run(b.Context(), e)
		}
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	cpu := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/minute")
	b.ReportMetric(float64(asked)/float64(b.N), "calls/minute")
}
