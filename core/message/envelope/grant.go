package envelope

import "time"

// Grant is a right that an owner gave to a delegate.
type Grant struct {
	Delegate Address   `json:"delegate"`
	Right    string    `json:"right"`
	Until    time.Time `json:"until,omitzero"` // that moment is the first without it
}
