package store

import (
	"errors"
	"fmt"

	"carteiro/core/message/envelope"
)

// StatusOf returns the status that a peer gets for an error of the store: 452 4.3.1 for
// ErrFull, 451 4.3.0 for ErrFailed, envelope.StatusOf for others, and nil for nil.
func StatusOf(err error) *envelope.Status {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrFull):
		return envelope.Defer(452, "4.3.1", "insufficient system storage", err)
	case errors.Is(err, ErrFailed):
		return envelope.Defer(451, "4.3.0", "storage failed, try again later", err)
	}
	return envelope.StatusOf(fmt.Errorf("store: %w", err))
}
