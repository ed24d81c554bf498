package lua

import (
	"context"
	"fmt"
	"math"
	"runtime/metrics"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// clockEvery and heapEvery are how many instructions there are between two
// looks at the clock and at the heap.
const (
	clockEvery = 256
	heapEvery  = 8192
)

// epoch is when the process began. Deadlines are kept as times since then: it
// takes one clock to read those, and time.Now reads two.
var epoch = time.Now()

// budget is the context of a state. The interpreter asks Done once for each
// instruction, so counting there is an instruction limit that no pcall
// escapes: once the budget is over, every further instruction raises.
// It belongs to the goroutine that runs the state.
type budget struct {
	state *state
	ctx   context.Context // of the current call; replaced by reset

	left, total int64         // instructions
	due         int64         // value of left from which on Done does more than count
	clock       int64         // value of left at which the clock is read
	every       int64         // instructions until then
	part        *share        // of within; left is that of the innermost one
	heapAt      int64         // value of left at which the heap is looked at
	until       time.Duration // since epoch
	alloc       int64         // octets still to be made
	maxAlloc    int64
	heapMax     uint64
	heap        []metrics.Sample

	kv, dns, http, milter, submits, added int // still allowed
	err                                   error
	closed                                chan struct{} // always closed
	cover                                 *Coverage     // nil but in tests
}

func newBudget(st *state, heapMax uint64) *budget {
	b := &budget{state: st, heapMax: heapMax, closed: make(chan struct{}), ctx: context.Background(),
		heap: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}}
	close(b.closed)
	return b
}

// reset prepares for a call. The stricter of spec and limits counts, but
// limits that the admin granted may also be more.
func (b *budget) reset(ctx context.Context, wall time.Duration, instructions int64, l *hooks.Limits) {
	if l.Wall > 0 && (l.Granted || l.Wall < wall) {
		wall = l.Wall
	}
	if l.Instructions > 0 && (l.Granted || l.Instructions < instructions) {
		instructions = l.Instructions
	}
	b.ctx, b.err, b.part = ctx, nil, nil
	b.left, b.total, b.every = instructions, instructions, clockEvery
	b.heapAt = instructions - heapEvery
	b.setNextCheck()
	b.until = time.Since(epoch) + wall
	if d, ok := ctx.Deadline(); ok {
		b.until = min(b.until, d.Sub(epoch))
	}
	b.alloc, b.maxAlloc = hooks.FreeAlloc, hooks.FreeAlloc
	if l.Alloc > 0 && (l.Granted || l.Alloc < hooks.FreeAlloc) {
		b.alloc, b.maxAlloc = l.Alloc, l.Alloc
	}
	b.kv, b.dns, b.http, b.milter = defaultTo(l.KV, hooks.FreeKV), defaultTo(l.DNS, hooks.FreeDNS), defaultTo(l.HTTP, hooks.FreeHTTP),
		maxMilter
	b.submits, b.added = defaultTo(l.Submits, hooks.FreeSubmits), defaultTo(l.Recipients, hooks.FreeRecipients)
}

func defaultTo(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// Done counts one instruction. It returns nil, which never is ready, until
// the budget is over.
func (b *budget) Done() <-chan struct{} {
	b.left--
	if b.left > b.due {
		return nil
	}
	return b.doneSlow()
}

// doneSlow is what Done does now and then; after the end, and in tests that want
// to know what ran, each time.
func (b *budget) doneSlow() <-chan struct{} {
	if b.cover != nil {
		b.cover.ran(b.state.L)
	}
	if b.left <= b.clock {
		b.checkLimits()
	}
	if b.err != nil {
		return b.closed
	}
	return nil
}

// setNextCheck sets when the clock is read again, and when Done has to do more than
// count.
func (b *budget) setNextCheck() {
	b.clock = max(b.left-b.every, 0)
	b.due = b.clock
	if b.cover != nil || b.err != nil {
		b.due = math.MaxInt64
	}
}

// Err completes a context.Context.
func (b *budget) Err() error { return b.err }

// Deadline completes it.
func (b *budget) Deadline() (time.Time, bool) { return b.deadline(), true }

// deadline returns when the call has to be over.
func (b *budget) deadline() time.Time { return epoch.Add(b.until) }

// Value passes through to the caller's context.
func (b *budget) Value(key any) any { return b.ctx.Value(key) }

// checkLimits checks what is too dear to check for each instruction.
func (b *budget) checkLimits() {
	if b.err != nil {
		return
	}
	b.setNextCheck()
	if b.left <= 0 && b.part != nil {
		b.err = &partError{b.part}
		b.setNextCheck()
		return
	}
	if b.left <= 0 {
		b.fail("%w: more than %d instructions", hooks.ErrExhausted, b.total)
		return
	}
	if time.Since(epoch) >= b.until {
		b.fail("%w: out of time", hooks.ErrBudget)
		return
	}
	if err := b.ctx.Err(); err != nil {
		b.fail("%w: %w", hooks.ErrBudget, err)
		return
	}
	if b.heapMax > 0 && b.left <= b.heapAt {
		b.heapAt = b.left - heapEvery
		metrics.Read(b.heap)
		if n := b.heap[0].Value.Uint64(); n > b.heapMax {
			b.fail("%w: the process uses %d MiB of memory", hooks.ErrBudget, n>>20)
		}
	}
}

func (b *budget) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
		b.setNextCheck()
	}
}

// chargeSteps charges n instructions for work done by the library.
func (b *budget) chargeSteps(L *glua.LState, n int64) {
	b.left -= n
	if b.left <= b.clock {
		b.checkLimits()
	}
	if b.err != nil {
		L.RaiseError("%s", b.err.Error())
	}
}

// chargeMemory pays for n octets about to be made.
func (b *budget) chargeMemory(L *glua.LState, n int64) {
	if n < 0 || n > b.alloc {
		b.alloc = 0
		b.fail("%w: more than %d KiB of strings and tables made", hooks.ErrExhausted, b.maxAlloc>>10)
	} else {
		b.alloc -= n
		// Long strings make single instructions slow, so the clock is read
		// more often once a call has made many octets.
		if made := b.maxAlloc - b.alloc; made > 8<<20 && b.every > 1 {
			b.every = 1
			b.setNextCheck()
		} else if made > 1<<20 && b.every > 16 {
			b.every = 16
			b.setNextCheck()
		}
	}
	if b.err != nil {
		L.RaiseError("%s", b.err.Error())
	}
}

// spendOne counts down one of the budget's small allowances.
func (b *budget) spendOne(L *glua.LState, n *int, what string) {
	*n--
	if *n < 0 {
		L.RaiseError("too many %s in one call", what)
	}
}

// newString pays for a string and returns it as a value.
func (b *budget) newString(L *glua.LState, s string) glua.LValue {
	b.chargeMemory(L, int64(len(s)))
	return glua.LString(s)
}
