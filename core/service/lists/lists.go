// Package lists keeps named lists of addresses with settings, and attributes
// for each member: the list module of Lua. It knows nothing about mailing
// lists.
//
// Lists are in the KV, not among the admin's data, because policies change them
// too, and such changes must be in a message's commit, which has effects on the
// KV. So each change is an Effect that can be applied at once (Apply) or be
// part of a commit. Each sets a value and does not add to one, so applying it
// twice changes nothing.
package lists

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// ErrName is returned for a name that no group can have.
var ErrName = errors.New("bad name of a group")

// Spaces of the KV: settings by the group's name, and for each group a space for
// its members and one for the messages that are held for it.
const (
	settingsSpace = "groups"
	memberSpace   = "group:"
	heldSpace     = "held:"
)

// maxMembers is the most that Members yields.
const maxMembers = 1 << 20

// Member is an address in a group.
type Member struct {
	Address    envelope.Address
	Attributes map[string]any // decoded JSON, never nil
}

// Lists reads and changes groups. It is safe for concurrent use.
type Lists struct{ kv store.KV }

// New returns the groups kept in kv.
func New(kv store.KV) *Lists { return &Lists{kv: kv} }

// CheckName returns ErrName unless name is 1 to 254 octets without control
// characters. Names are compared in lower case.
func CheckName(name string) error {
	if name == "" || len(name) > 254 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w: %.60q", ErrName, name)
	}
	return nil
}

// MemberSpace returns the KV space of a group's members; its keys are addresses.
func MemberSpace(name string) string { return memberSpace + strings.ToLower(name) }

// SettingsKey returns the namespace and key of a group's settings in the KV.
func SettingsKey(name string) (space, key string) { return settingsSpace, strings.ToLower(name) }

// MemberKey returns the key of a member.
func MemberKey(a envelope.Address) string {
	return strings.ToLower(a.Local()) + "@" + a.Domain()
}

// Settings returns the settings of a group; store.ErrNotFound if there is no such group.
func (g *Lists) Settings(ctx context.Context, name string) (map[string]any, error) {
	space, key := SettingsKey(name)
	return g.read(ctx, space, key)
}

func (g *Lists) read(ctx context.Context, space, key string) (map[string]any, error) {
	b, err := g.kv.Get(ctx, space, key)
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", key, err)
	}
	return Decode(b)
}

// Decode reads settings or attributes as they are stored.
func Decode(b []byte) (map[string]any, error) {
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: group: %w", store.ErrCorrupt, err)
	}
	return m, nil
}

// All yields the names of all groups in order.
func (g *Lists) All(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for p, err := range g.kv.Scan(ctx, settingsSpace, "", maxMembers) {
			if !yield(p.Key, err) || err != nil {
				return
			}
		}
	}
}

// Member returns store.ErrNotFound for an address that is not in the group.
func (g *Lists) Member(ctx context.Context, name string, a envelope.Address) (Member, error) {
	attributes, err := g.read(ctx, MemberSpace(name), MemberKey(a))
	return Member{Address: a, Attributes: attributes}, err
}

// Members yields the members in the order of their addresses.
func (g *Lists) Members(ctx context.Context, name string) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		for p, err := range g.kv.Scan(ctx, MemberSpace(name), "", maxMembers) {
			m := Member{Address: envelope.Address(p.Key)}
			if err == nil {
				m.Attributes, err = Decode(p.Value)
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Put returns the effect that makes a a member with these attributes.
func Put(name string, m Member) (envelope.Effect, error) {
	b, err := encode(name, m.Attributes)
	return envelope.Effect{Space: MemberSpace(name), Op: envelope.Set, Key: MemberKey(m.Address), Value: b}, err
}

// Remove returns the effect that takes a out of the group.
func Remove(name string, a envelope.Address) envelope.Effect {
	return envelope.Effect{Space: MemberSpace(name), Op: envelope.Delete, Key: MemberKey(a)}
}

// Configure returns the effect that gives a group its settings, and makes it.
func Configure(name string, settings map[string]any) (envelope.Effect, error) {
	b, err := encode(name, settings)
	space, key := SettingsKey(name)
	return envelope.Effect{Space: space, Op: envelope.Set, Key: key, Value: b}, err
}

func encode(name string, m map[string]any) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if m == nil {
		m = map[string]any{}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", name, err)
	}
	return b, nil
}

// Apply makes changes; it blocks until they are on disk.
func (g *Lists) Apply(ctx context.Context, effects ...envelope.Effect) error {
	if _, err := g.kv.Apply(ctx, effects); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	return nil
}

// Delete removes a group and its members, the settings first: a crash leaves
// members of a group that is gone, which the next Delete takes.
func (g *Lists) Delete(ctx context.Context, name string) error {
	space, key := SettingsKey(name)
	if err := g.Apply(ctx, envelope.Effect{Space: space, Op: envelope.Delete, Key: key}); err != nil {
		return err
	}
	var effects []envelope.Effect
	for m, err := range g.Members(ctx, name) {
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			return err
		}
		effects = append(effects, Remove(name, m.Address))
	}
	if len(effects) == 0 {
		return nil
	}
	return g.Apply(ctx, effects...)
}

// DecisionSpace is where decisions about held messages wait to be carried
// out: "ID NAME", with "release" or "drop".
const DecisionSpace = "groups.decisions"

// HeldSpace returns the KV namespace of messages that are held for a group, by id.
func HeldSpace(name string) string { return heldSpace + strings.ToLower(name) }

// Hold returns the effect that notes a message in the list of what is held for a
// group. The message itself is in the spool.
func Hold(name, id string, about map[string]any) (envelope.Effect, error) {
	b, err := encode(name, about)
	return envelope.Effect{Space: HeldSpace(name), Op: envelope.Set, Key: id, Value: b}, err
}

// Forget returns the effect that takes a message out of that list.
func Forget(name, id string) envelope.Effect {
	return envelope.Effect{Space: HeldSpace(name), Op: envelope.Delete, Key: id}
}

// Decide returns the effects that have a held message released or dropped.
func Decide(name, id, decision string) []envelope.Effect {
	return []envelope.Effect{Forget(name, id),
		{Space: DecisionSpace, Op: envelope.Set, Key: id + " " + strings.ToLower(name), Value: []byte(decision)}}
}
