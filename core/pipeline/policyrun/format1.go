package policyrun

import (
	"context"
	"errors"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/hooks"
)

// moveFormat1Timers moves the times of last runs from the handler names of store format
// 1, which two handlers could share. It does so once for each generation: any reload
// may bring back a handler with such a name. A time under the new name is kept.
//
// Crash: some are moved, and the rest at the next start.
func (r *Runner) moveFormat1Timers(ctx context.Context, gen *hooks.Generation) error {
	if r.adopted == gen.ID {
		return nil
	}
	var effects []envelope.Effect
	infos := gen.Chain.Infos(hooks.TimerTick)
	for n, old := range hooks.NamesOfFormat1(infos) {
		for _, domain := range r.timerDomains(infos[n]) {
			more, err := r.rename(ctx, timerSpace, timerName(old, domain), timerName(infos[n].Key(), domain))
			if err != nil {
				return err
			}
			effects = append(effects, more...)
		}
	}
	if len(effects) > 0 {
		if err := r.apply(ctx, gen, effects, nil); err != nil {
			return err
		}
	}
	r.adopted = gen.ID
	return nil
}

// rename returns the effects that rename a key. If the new key exists, they only delete
// the old one.
func (r *Runner) rename(ctx context.Context, space, from, to string) ([]envelope.Effect, error) {
	v, err := r.store.Get(ctx, space, from)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	gone := envelope.Effect{Space: space, Op: envelope.Delete, Key: from}
	if _, err := r.store.Get(ctx, space, to); !errors.Is(err, store.ErrNotFound) {
		return []envelope.Effect{gone}, err
	}
	return []envelope.Effect{{Space: space, Op: envelope.Set, Key: to, Value: v}, gone}, nil
}
