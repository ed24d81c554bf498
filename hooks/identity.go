package hooks

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Key returns the identity of a handler that survives a reload: its tier, its
// domain or bundle, its file, its hook, and its number among the handlers of
// that file at that hook. What is stored for a handler (when a timer last ran,
// which events and messages wait for it) is stored under it. Lines, options
// and what other files do, are no part of it. It reads like
//
//	admin - archive.lua timer.tick 0
//	bundle acme/helper init.lua observe.event 1
//	domain two.example archive.lua receive.data-async 0
func (i *Info) Key() string {
	if i.key != "" {
		return i.key
	}
	return fmt.Sprintf("%s %s %s %s %d", i.keyTier(), i.Owner(), url.PathEscape(i.File), strings.ReplaceAll(string(i.Point), " ", "-"),
		i.Number)
}

// keyTier returns the tier as Key names it. An admin's script may move between
// Admin and After by an option, which does not make it another one.
func (i *Info) keyTier() Tier {
	if i.Tier == After {
		return Admin
	}
	return i.Tier
}

// Owner is whose handler it is: the bundle's name, the domain of a domain's own
// scripts, or "-" for the admin's scripts.
func (i *Info) Owner() string {
	switch {
	case i.Bundle != "":
		return i.Bundle
	case i.Tier == Domain:
		return strings.Join(i.Domains, ",")
	}
	return "-"
}

// ParseKey takes a Key apart: whose handler it is ("" for the admin's), its
// file and its number. ok is false for a text that is none.
func ParseKey(key string) (owner, file string, number string, ok bool) {
	parts := strings.Split(key, " ")
	if len(parts) != 5 || !slices.Contains([]string{"admin", "bundle", "domain"}, parts[0]) {
		return "", "", "", false
	}
	file, err := url.PathUnescape(parts[2])
	if parts[1] != "-" {
		owner = parts[1]
	}
	return owner, file, parts[4], err == nil
}

// Number sets the numbers of handlers, by line among those of a file at a hook.
func Number(infos []*Info) {
	order := slices.Clone(infos)
	slices.SortStableFunc(order, func(a, b *Info) int { return a.Line - b.Line })
	seen := map[string]int{}
	for _, info := range order {
		info.Number, info.key = 0, ""
		key := info.Key()
		info.Number = seen[key]
		seen[key]++
		info.key = info.Key()
	}
}
