package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/hooks"
)

// Earlier versions (stores of format 1) kept what waits for a handler under
// other names than hooks.Info.Key, which two handlers could share. What still
// lies under such a name is moved once a handler with that name is in force.

// adoption remembers which generation was looked at last, so that old names are
// looked for at the start and whenever other policies come into force.
type adoption struct{ timers, events string }

// adoptTimers moves the times at which timers last ran. A handler that has a
// time under its new name keeps that.
//
// Crash: some are moved, and the rest at the next start.
func (p *Pipeline) adoptTimers(ctx context.Context, gen *hooks.Generation) error {
	if p.adopted.timers == gen.ID {
		return nil
	}
	var effects []envelope.Effect
	infos := gen.Chain.Infos(hooks.TimerTick)
	for n, old := range timerNamesOfFormat1(infos) {
		for _, domain := range p.timerDomains(infos[n]) {
			more, err := p.rename(ctx, timerSpace, timerName(old, domain), timerName(infos[n].Key(), domain))
			if err != nil {
				return err
			}
			effects = append(effects, more...)
		}
	}
	if len(effects) > 0 {
		if err := p.apply(ctx, gen, effects, nil); err != nil {
			return err
		}
	}
	p.adopted.timers = gen.ID
	return nil
}

// rename are the effects that give a key another name, unless that is taken.
func (p *Pipeline) rename(ctx context.Context, space, from, to string) ([]envelope.Effect, error) {
	v, err := p.store.Get(ctx, space, from)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	gone := envelope.Effect{Space: space, Op: envelope.Delete, Key: from}
	if _, err := p.store.Get(ctx, space, to); !errors.Is(err, store.ErrNotFound) {
		return []envelope.Effect{gone}, err
	}
	return []envelope.Effect{{Space: space, Op: envelope.Set, Key: to, Value: v}, gone}, nil
}

// adoptEvents moves the events that wait for handlers, and those that are
// parked.
//
// Crash: as adoptTimers.
func (p *Pipeline) adoptEvents(ctx context.Context, gen *hooks.Generation) error {
	if p.adopted.events == gen.ID {
		return nil
	}
	infos := gen.Chain.Infos(hooks.ObserveEvent)
	for n, old := range queueNamesOfFormat1(infos) {
		for space, life := range map[string]time.Duration{eventSpace: eventLife, parkedSpace: parkedLife} {
			if err := p.moveQueue(ctx, gen, space, old+" ", infos[n].Key()+" ", life); err != nil {
				return err
			}
		}
	}
	p.adopted.events = gen.ID
	return nil
}

// moveQueue gives all keys of a space that begin with from another beginning.
func (p *Pipeline) moveQueue(ctx context.Context, gen *hooks.Generation, space, from, to string, life time.Duration) error {
	for {
		var effects []envelope.Effect
		for pair, err := range p.store.Scan(ctx, space, from, trimBatch) {
			if err != nil {
				return err
			}
			effects = append(effects, envelope.Effect{Space: space, Op: envelope.Set, Key: to + pair.Key[len(from):], Value: pair.Value, TTL: life},
				envelope.Effect{Space: space, Op: envelope.Delete, Key: pair.Key})
		}
		if len(effects) == 0 {
			return nil
		}
		if err := p.apply(ctx, gen, effects, nil); err != nil {
			return err
		}
	}
}

// timerNamesOfFormat1 are the names that earlier versions gave to handlers: by
// bundle, file and interval, and those that share all by their order.
func timerNamesOfFormat1(infos []hooks.Info) []string {
	return numberedNames(infos, func(i hooks.Info) string { return fmt.Sprintf("%s %s %v", i.Bundle, i.File, i.Every) })
}

// asyncNamesOfFormat1 are the names of handlers that run after the 250, as
// earlier versions stored them with a message.
func asyncNamesOfFormat1(infos []hooks.Info) []string { return timerNamesOfFormat1(infos) }

// queueNamesOfFormat1 are the names of the queues of observe.event.
func queueNamesOfFormat1(infos []hooks.Info) []string {
	return numberedNames(infos, func(i hooks.Info) string {
		first := i.Bundle + " " + i.File
		if i.Tier == hooks.Domain {
			first = strings.Join(i.Domains, ",") + first
		}
		return first
	})
}

func numberedNames(infos []hooks.Info, name func(hooks.Info) string) []string {
	alike := map[string]int{}
	out := make([]string, len(infos))
	for n, info := range infos {
		first := name(info)
		out[n] = fmt.Sprintf("%s %d", first, alike[first])
		alike[first]++
	}
	return out
}
