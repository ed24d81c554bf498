package lua

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

var webPath = regexp.MustCompile(`^/[A-Za-z0-9._/-]{0,200}$`)

var commandName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

func unknownOption(key string) (text, hint string) {
	return "unknown option " + key, strings.TrimPrefix(hooks.Suggestion(key, hooks.Options()), "; ")
}

// ineffectiveOption returns the fault of an option that means nothing at a hook, or "".
func ineffectiveOption(spec hooks.Spec, key string) (text, hint string) {
	if !slices.Contains(hooks.Options(), key) || spec.HasOption(key) {
		return "", ""
	}
	var at []string
	for _, name := range hooks.PointNames() {
		if s, _ := hooks.SpecNamed(name); s.HasOption(key) {
			at = append(at, name)
		}
	}
	return fmt.Sprintf("%s has no effect at %s", key, spec.Point), key + " is for " + strings.Join(at, ", ")
}

// options reads the second argument of on. With lenient, an option that had no
// effect in an earlier version has none.
func (h *handler) options(t *glua.LTable, lenient bool) (text, hint string) {
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		key, _ := k.(glua.LString)
		if text, hint := ineffectiveOption(h.spec, string(key)); text != "" {
			switch {
			case !lenient || key != "listener" && key != "login":
				return text, hint
			case h.spec.NoMail || h.spec.Point == hooks.ObserveEvent:
				continue
			}
		}
		switch string(key) {
		case "order":
			n, ok := wholeNumber(v)
			if !ok || n < -100 || n > 100 {
				return "order must be a whole number from -100 to 100", ""
			}
			h.info.Order = int(n)
		case "tier":
			if v != glua.LString("after") {
				return `tier can only be "after"`, ""
			}
			if h.info.Tier != hooks.Admin {
				return `tier = "after" is for the admin's scripts`, ""
			}
			h.info.Tier = hooks.After
		case "on_error":
			if text := h.onError(v); text != "" {
				return text, ""
			}
		case "listener":
			s, ok := v.(glua.LString)
			if !ok || s == "" {
				return "listener must be the name of a listener", ""
			}
			h.info.Listener = string(s)
		case "login":
			if v != glua.LTrue {
				return "login can only be true: then only sessions and mail of users who logged in count", ""
			}
			h.info.Login = true
		case "async":
			if async, ok := v.(glua.LBool); !ok {
				return "async is true or false", ""
			} else if async {
				h.spec, _ = hooks.SpecOf(hooks.ReceiveAfter)
				h.info.Point = hooks.ReceiveAfter
			}
		case "every", "each", "path", "command", "events":
			if text, hint := h.ownOption(string(key), v); text != "" {
				return text, hint
			}
		default:
			return unknownOption(tostringPlain(k))
		}
	}
	return "", ""
}

// ownOption reads an option of a single hook.
func (h *handler) ownOption(key string, v glua.LValue) (text, hint string) {
	switch key {
	case "every":
		d, err := parseDuration(v)
		if err != nil || d < time.Minute {
			return "every is for timer.tick, a time of at least a minute such as \"1h\"", ""
		}
		h.info.Every = d
	case "each":
		if v != glua.LString("domain") || h.info.Bundle == "" {
			return `each = "domain" is for timer.tick of bundles`, ""
		}
		h.info.EachDomain = true
	case "path":
		s, ok := v.(glua.LString)
		if !ok || !webPath.MatchString(string(s)) {
			return `path is for web.request: a slash, then letters, digits, "-", "_", "." and slashes`, ""
		}
		h.info.Path = string(s)
	case "command":
		s, ok := v.(glua.LString)
		if !ok || !commandName.MatchString(string(s)) {
			return `command is for admin.command, the first word of a command line such as "list"`, ""
		}
		h.info.Command = string(s)
	case "events":
		return h.events(v)
	}
	return "", ""
}

// events reads the names of the events that a handler wants to be told of.
func (h *handler) events(v glua.LValue) (text, hint string) {
	t, ok := v.(*glua.LTable)
	if !ok || t.Len() == 0 {
		return `events is for observe.event, a list of names such as { "bounced" }`, ""
	}
	for i := range t.Len() {
		name, _ := t.RawGetInt(i + 1).(glua.LString)
		if !slices.Contains(hooks.EventNames, string(name)) {
			return fmt.Sprintf("there is no event %q", string(name)), strings.TrimPrefix(hooks.Suggestion(string(name), hooks.EventNames), "; ")
		}
		h.info.Events = append(h.info.Events, string(name))
	}
	return "", ""
}

// strictness orders the failures for bundles, which may only be stricter.
var strictness = map[hooks.Failure]int{
	hooks.FailContinue:   0,
	hooks.FailKeep:       1,
	hooks.FailQuarantine: 2,
	hooks.FailDefer:      3,
	hooks.FailReject:     4,
}

func (h *handler) onError(v glua.LValue) string {
	s, _ := v.(glua.LString)
	f := hooks.Failure(s)
	rank, ok := strictness[f]
	if !ok {
		return `on_error must be "continue", "defer", "reject", "quarantine" or "keep"`
	}
	possible := f == hooks.FailContinue || f == h.spec.Fail
	for action, failure := range map[hooks.Action]hooks.Failure{hooks.Reject: hooks.FailReject, hooks.Defer: hooks.FailDefer,
		hooks.Quarantine: hooks.FailQuarantine, hooks.Keep: hooks.FailKeep} {
		possible = possible || f == failure && h.spec.Allows(action)
	}
	if !possible {
		return fmt.Sprintf("on_error = %q is not possible at %s", string(s), h.spec.Point)
	}
	if h.info.Bundle != "" && rank < strictness[h.spec.Fail] {
		return fmt.Sprintf("on_error = %q is less strict than the default of %s (%s); a bundle can only be stricter", string(s), h.spec.Point,
			h.spec.Fail)
	}
	h.info.OnError = f
	return ""
}
