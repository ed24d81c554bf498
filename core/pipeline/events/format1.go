package events

import (
	"context"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// moveFormat1 moves waiting and parked events from queues with the names of store
// format 1. It does so once for each generation: any reload may bring back the handler
// of such a queue.
//
// Crash: some are moved, and the rest at the next start.
func (a dispatcher) moveFormat1(ctx context.Context, gen *hooks.Generation) error {
	if a.adopted == gen.ID {
		return nil
	}
	infos := gen.Chain.Infos(hooks.ObserveEvent)
	for n, old := range namesOfFormat1(infos) {
		for space, life := range map[string]time.Duration{space: eventTTL, parkedSpace: parkedTTL} {
			if err := a.move(ctx, gen, space, old+" ", infos[n].Key()+" ", life); err != nil {
				return err
			}
		}
	}
	a.adopted = gen.ID
	return nil
}

// move replaces the prefix of all keys of a space that begin with it.
func (a dispatcher) move(ctx context.Context, gen *hooks.Generation, space, from, to string, life time.Duration) error {
	for {
		var effects []envelope.Effect
		for pair, err := range a.kv.Scan(ctx, space, from, trimBatch) {
			if err != nil {
				return err
			}
			effects = append(effects,
				envelope.Effect{Space: space, Op: envelope.Set, Key: to + pair.Key[len(from):], Value: pair.Value, TTL: life},
				envelope.Effect{Space: space, Op: envelope.Delete, Key: pair.Key})
		}
		if len(effects) == 0 {
			return nil
		}
		if err := a.apply(ctx, gen, effects, nil); err != nil {
			return err
		}
	}
}

// namesOfFormat1 returns the names of the queues in store format 1.
func namesOfFormat1(infos []hooks.Info) []string {
	return hooks.NumberedNames(infos, func(i hooks.Info) string {
		first := i.Bundle + " " + i.File
		if i.Tier == hooks.Domain {
			first = strings.Join(i.Domains, ",") + first
		}
		return first
	})
}
