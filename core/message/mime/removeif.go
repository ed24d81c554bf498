package mime

// RemoveIf drops the fields of that name whose value the function accepts,
// and returns how many there were.
func (h *Header) RemoveIf(name string, drop func(value string) bool) int {
	kept, n := h.fields[:0:0], 0
	for _, f := range h.fields {
		if f.is(name) && drop(f.Value()) {
			n++
		} else {
			kept = append(kept, f)
		}
	}
	if n > 0 {
		h.fields = kept
	}
	return n
}
