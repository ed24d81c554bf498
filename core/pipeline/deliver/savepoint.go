package deliver

import (
	"context"
	"maps"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/commit"
)

// savepoint is the state of an attempt before one of its recipients is tried.
type savepoint struct {
	unit commit.Savepoint
	edit envelope.HeaderEdit
	meta map[string]any
}

func (a *attempt) savepoint(r *envelope.Recipient) savepoint {
	s := savepoint{unit: a.u.Savepoint(), edit: r.Edit, meta: maps.Clone(r.Meta)}
	s.edit.Remove = slices.Clone(r.Edit.Remove)
	return s
}

// deferRcpt defers a recipient, and rolls back what was prepared since s: the next
// attempt prepares it again.
func (a *attempt) deferRcpt(ctx context.Context, r *envelope.Recipient, s savepoint, why envelope.Status) {
	a.u.Rollback(s.unit)
	r.Edit, r.Meta = s.edit, s.meta
	a.resolve(ctx, r, localOutcome(envelope.Queued, why))
}
