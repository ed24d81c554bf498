package envelope

import "time"

// Effect is one change to the KV that a policy made. Effects are applied in
// order, exactly once, if and only if the commit that contains them is durable.
type Effect struct {
	Space string        `json:"space"` // namespace: bundle and domain
	Op    Op            `json:"op"`
	Key   string        `json:"key"`
	Value []byte        `json:"value,omitempty"`
	Old   []byte        `json:"old,omitempty"` // CAS; nil means "absent"
	N     int64         `json:"n,omitempty"`   // Incr
	TTL   time.Duration `json:"ttl,omitempty"` // 0: for ever
}

// Op is what an Effect does.
type Op uint8

// The operations of an Effect. Incr treats an absent key as 0 and stores a
// decimal number; CAS that finds another value does nothing.
const (
	Set Op = iota
	Delete
	Incr
	CAS
)
