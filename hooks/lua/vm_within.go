package lua

import (
	"fmt"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// share is a part of a budget that within has set apart.
type share struct {
	total int64
	shift int64 // instructions that are not in it
	outer *share
}

// partError is the end of a part. It ends everything inside of that within, and
// nothing around it.
type partError struct{ part *share }

func (e *partError) Error() string {
	return fmt.Sprintf("%s: more than %d instructions within", hooks.ErrBudget, e.part.total)
}

func (e *partError) Unwrap() error { return hooks.ErrBudget }

// beginShare sets n instructions apart, or what is left.
func (b *budget) beginShare(n int64) *share {
	n = max(min(n, b.left), 0)
	p := &share{shift: b.left - n, outer: b.part}
	p.total = n
	b.part = p
	b.move(-p.shift)
	return p
}

// endShare adds what was set apart to what is left of it.
func (b *budget) endShare(p *share) {
	b.part = p.outer
	b.move(p.shift)
}

func (b *budget) move(n int64) {
	b.left += n
	b.heapAt += n
	b.setNextCheck()
}

// endIfOver reports whether a part is over, and lets what is around it go on.
func (b *budget) endIfOver(p *share) bool {
	if e, ok := b.err.(*partError); !ok || e.part != p {
		return false
	}
	b.err = nil
	b.setNextCheck()
	return true
}

// baseWithin runs a function with a part of the budget.
func baseWithin(L *glua.LState) int {
	n := integer(L, 1)
	if n < 1 {
		L.RaiseError("within: instructions must be at least 1, got %s", tostringPlain(L.Get(1)))
	}
	if L.GetTop() < 2 {
		L.RaiseError("within: expected within(instructions, f, ...)")
	}
	if v := L.Get(2); v.Type() != glua.LTFunction && v.Type() != glua.LTTable && v.Type() != glua.LTUserData {
		L.RaiseError("within: f must be a function, got %s", typeOf(v))
	}
	L.Remove(1)
	b := budgetOf(L)
	p := b.beginShare(int64(n))
	err := func() error {
		defer b.endShare(p) // also where there is no room for a call
		return stateOf(L).pcall(L, L.GetTop()-1)
	}()
	switch {
	case b.endIfOver(p):
		L.SetTop(0)
		L.Push(glua.LNil)
		L.Push(glua.LString("budget"))
		return 2
	case err != nil:
		L.Error(catchError(L, err), 0) // raises what is over for the whole call, too
	}
	return L.GetTop()
}
