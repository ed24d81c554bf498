package spam

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Watch returns a store that passes each effect that it committed to the filter, so
// that what policies teach near a message counts once the message is on disk.
func Watch(s store.Store, f *Filter) store.Store { return watched{s, f} }

type watched struct {
	store.Store
	filter *Filter
}

func (w watched) Commit(ctx context.Context, effects []envelope.Effect, messages ...*store.Message) error {
	err := w.Store.Commit(ctx, effects, messages...)
	w.filter.Changed(effects)
	return err
}

func (w watched) Settle(ctx context.Context, s *store.Settlement) error {
	err := w.Store.Settle(ctx, s)
	w.filter.Changed(s.Effects)
	return err
}

func (w watched) Apply(ctx context.Context, effects []envelope.Effect) ([]int64, error) {
	results, err := w.Store.Apply(ctx, effects)
	w.filter.Changed(effects)
	return results, err
}
