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

// metaTable is a meta table of session, tx, msg, rcpt or group.
type metaTable struct {
	meta *map[string]any
	rcpt bool // "folder" is the core's own and stored plain
}

// key returns where a policy's key is stored: bundles do not see each other's,
// nor one domain another's.
func (n *metaTable) key(st *state, key string) string {
	b := st.source.src.Bundle
	if b == "" || n.rcpt && key == "folder" {
		return key
	}
	if st.call != nil && st.call.domain != "" {
		b += "/" + st.call.domain
	}
	return b + ":" + key
}

// read returns a value: the domain's, else what was noted when no domain was at
// hand yet, as at receive.connect.
func (n *metaTable) read(st *state, key string) any {
	v, ok := (*n.meta)[n.key(st, key)]
	if b := st.source.src.Bundle; !ok && b != "" && !(n.rcpt && key == "folder") {
		v = (*n.meta)[b+":"+key]
	}
	return v
}

var metaClass = class{name: "meta",
	doc: "plain data that is kept with its owner: meta.x = v stores a copy, meta.x reads a copy. Each bundle has its own keys, separate " +
		"for each domain; what it stored when no domain was known can be read for every domain; rcpt.meta.folder names the " +
		"folder that the server delivers into",
	index: func(st *state, L *glua.LState, o *object, key string) glua.LValue {
		n := o.v.(*metaTable)
		return st.toLua(L, n.read(st, key))
	},
	assign: func(st *state, L *glua.LState, o *object, k, v glua.LValue) {
		n := o.v.(*metaTable)
		key, ok := k.(glua.LString)
		if !ok || key == "" || len(key) > maxMetaKey || strings.ContainsAny(string(key), "\x00\r\n") {
			L.RaiseError("meta: keys are texts of up to %d octets, got %s", maxMetaKey, tostringPlain(k))
		}
		x, err := toPlain(v)
		if err != nil {
			L.RaiseError("meta.%s: %s", string(key), err.Error())
		}
		if plainSize(x) > maxMetaValue {
			L.RaiseError("meta.%s: more than %d KiB", string(key), maxMetaValue>>10)
		}
		if folder, isText := x.(string); n.rcpt && key == "folder" && x != nil && (!isText || !validFolder(folder)) {
			L.RaiseError("meta.folder: must be the name of a folder, got %s", tostringPlain(v))
		}
		full := n.key(st, string(key))
		if _, had := (*n.meta)[full]; !had && len(*n.meta) >= maxMetaKeys {
			L.RaiseError("meta: more than %d keys", maxMetaKeys)
		}
		raiseIf(L, o.call.event.SetMeta(n.meta, full, x))
	},
	pairs: func(st *state, o *object) glua.LValue {
		n := o.v.(*metaTable)
		own := map[string]any{}
		prefixes := []string{n.key(st, "")}
		if b := st.source.src.Bundle; b != "" && prefixes[0] != b+":" {
			prefixes = []string{b + ":", prefixes[0]} // the domain's own count
		}
		for _, prefix := range prefixes {
			for k, v := range *n.meta {
				if name, ok := strings.CutPrefix(k, prefix); ok {
					own[name] = v
				}
			}
		}
		return st.toLua(st.L, own)
	},
}

// dataClass is read-only plain data.
var dataClass = class{name: "data", doc: "plain data, read only",
	index: func(st *state, L *glua.LState, o *object, key string) glua.LValue {
		m, _ := o.v.(map[string]any)
		return st.toLua(L, m[key])
	},
	assign: readOnly,
	pairs:  func(st *state, o *object) glua.LValue { return st.toLua(st.L, o.v) },
}
