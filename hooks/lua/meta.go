package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// Limits of meta: it travels with every message.
const (
	maxMetaValue = 16 << 10 // octets of one value
	maxMetaKeys  = 200
	maxMetaKey   = 100 // octets
)

// notes is a meta table of session, tx, msg, rcpt or group.
type notes struct {
	meta *map[string]any
	rcpt bool // "folder" is the core's own and stored plain
}

// key is where a policy's key is stored: bundles do not see each other's.
func (n *notes) key(st *state, key string) string {
	if b := st.source.source.Bundle; b != "" && !(n.rcpt && key == "folder") {
		return b + ":" + key
	}
	return key
}

var metaClass = class{name: "meta",
	doc: "plain data that stays with its owner: meta.x = v stores a copy, meta.x reads one. Each bundle has its own keys; rcpt.meta.folder names the folder the server files into",
	index: func(st *state, L *glua.LState, o *object, key string) glua.LValue {
		n := o.v.(*notes)
		return st.lift(L, (*n.meta)[n.key(st, key)])
	},
	assign: func(st *state, L *glua.LState, o *object, k, v glua.LValue) {
		n := o.v.(*notes)
		key, ok := k.(glua.LString)
		if !ok || key == "" || len(key) > maxMetaKey || strings.ContainsAny(string(key), "\x00\r\n") {
			L.RaiseError("meta: keys are texts of up to %d octets, got %s", maxMetaKey, tostringPlain(k))
		}
		x, err := plain(v)
		if err != nil {
			L.RaiseError("meta.%s: %s", string(key), err.Error())
		}
		if weigh(x) > maxMetaValue {
			L.RaiseError("meta.%s: more than %d KiB", string(key), maxMetaValue>>10)
		}
		if folder, isText := x.(string); n.rcpt && key == "folder" && x != nil && (!isText || !validFolder(folder)) {
			L.RaiseError("meta.folder: must be the name of a folder, got %s", tostringPlain(v))
		}
		full := n.key(st, string(key))
		if _, had := (*n.meta)[full]; !had && len(*n.meta) >= maxMetaKeys {
			L.RaiseError("meta: more than %d keys", maxMetaKeys)
		}
		st.must(L, o.call.event.SetMeta(n.meta, full, x))
	},
	pairs: func(st *state, o *object) glua.LValue {
		n := o.v.(*notes)
		prefix := n.key(st, "")
		own := map[string]any{}
		for k, v := range *n.meta {
			if name, ok := strings.CutPrefix(k, prefix); ok {
				own[name] = v
			}
		}
		return st.lift(st.L, own)
	},
}

// dataClass is read-only plain data: config, and the tables in it.
var dataClass = class{name: "config", doc: "this bundle's settings, read only",
	index: func(st *state, L *glua.LState, o *object, key string) glua.LValue {
		m, _ := o.v.(map[string]any)
		return st.lift(L, m[key])
	},
	assign: readOnly,
	pairs:  func(st *state, o *object) glua.LValue { return st.lift(st.L, o.v) },
}
