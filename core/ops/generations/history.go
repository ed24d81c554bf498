package generations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"carteiro/core/store"
	"carteiro/hooks"
)

// kept is how many generations the store remembers.
const kept = 10

// Where they are in the store.
const (
	kind            = "generation"
	historyRecord   = "history"
	probationRecord = "probation" // of the newest; absent when it is on none
	lastGoodRecord  = "last-good" // only the sources, as the first versions stored them
)

// prependEntry returns the list with e as the newest entry. The entry that was
// in force gets the reason why it was rolled back, if there is one.
func prependEntry(list []Entry, e Entry, reason string) []Entry {
	fresh := []Entry{e}
	for _, old := range list {
		if old.State == InForce {
			old.State, old.Pinned = Retired, false
			if reason != "" {
				old.State, old.Reason = RolledBack, reason
			}
		}
		if old.ID != e.ID && len(fresh) < kept {
			fresh = append(fresh, old)
		}
	}
	return fresh
}

// save writes the list, the sources of the newest entry and its probation, and
// removes those that are no longer in the list, all in one commit.
func (k *Manager) save(ctx context.Context, old, fresh []Entry, sources []hooks.Source, probe *probation) error {
	listed, err := json.Marshal(fresh)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(sources)
	if err != nil {
		return err
	}
	probed := store.Record{Kind: kind, Name: probationRecord}
	if probe != nil {
		if probed.Value, err = json.Marshal(probe); err != nil {
			return err
		}
	}
	records := []store.Record{
		{Kind: kind, Name: historyRecord, Value: listed},
		{Kind: kind, Name: "g/" + fresh[0].ID, Value: raw},
		probed,
		{Kind: kind, Name: lastGoodRecord},
	}
	for _, e := range old {
		if !slices.ContainsFunc(fresh, func(f Entry) bool { return f.ID == e.ID }) {
			records = append(records, store.Record{Kind: kind, Name: "g/" + e.ID})
		}
	}
	if err := k.o.Store.PutRecords(ctx, records...); err != nil {
		return fmt.Errorf("generations: %w", err)
	}
	return nil
}

// saveFallback writes that an older generation is in force, because the newest
// no longer loads.
func (k *Manager) saveFallback(ctx context.Context, list []Entry, id string) error {
	e, err := find(list, id)
	if err != nil {
		return err
	}
	e.Since, e.By, e.State, e.Reason = k.o.Clock.Now(), "start", InForce, ""
	return k.save(ctx, list, prependEntry(list, e, "it does not load any more"), k.Get().Sources, nil)
}

// List returns the generations that were in force, the newest first.
func (k *Manager) List(ctx context.Context) ([]Entry, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	return k.entries(ctx)
}

func (k *Manager) entries(ctx context.Context) ([]Entry, error) {
	raw, err := k.o.Store.Record(ctx, kind, historyRecord)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	var list []Entry
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	return list, nil
}

// sources returns the sources of a generation; "": the one that an old version
// kept.
func (k *Manager) sources(ctx context.Context, id string) ([]hooks.Source, error) {
	name := "g/" + id
	if id == "" {
		name = lastGoodRecord
	}
	raw, err := k.o.Store.Record(ctx, kind, name)
	var out []hooks.Source
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("generation %s: %w", id, err)
	}
	return out, nil
}

// find looks a generation up by the beginning of its ID.
func find(list []Entry, id string) (Entry, error) {
	var found []Entry
	for _, e := range list {
		if strings.HasPrefix(e.ID, id) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return Entry{}, fmt.Errorf("%w: %q", ErrUnknown, id)
	case 1:
		return found[0], nil
	}
	return Entry{}, fmt.Errorf("%w: %d of them begin with %q", ErrUnknown, len(found), id)
}
