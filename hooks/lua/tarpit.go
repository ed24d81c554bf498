package lua

import (
	glua "github.com/yuin/gopher-lua"
)

// hookTarpit only notes the delay: the session waits when the handlers have
// run, so that no state of the pool waits with it.
func hookTarpit(L *glua.LState) int {
	st := stateOf(L)
	c := st.running(L, "tarpit")
	st.must(L, c.event.Tarpit(duration(L, L.Get(1), "tarpit")))
	return 0
}
