package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/service/lists"
)

var listModule = module{
	name: "list",
	doc: "mailing lists: named sets of addresses with settings, and with attributes for each member. Changes count when changes of kv " +
		"do",
	functions: append([]function{
		{name: "names", call: listNames, sig: "names([domain])", doc: "names of all lists, or of those at a domain",
			bounds: bounds{"domain": inForce}},
		{
			name:   "configure",
			call:   listConfigure,
			sig:    "configure(name, settings)",
			doc:    "creates a list or replaces its settings; nil removes the list and its members",
			bounds: bounds{"name": inForceList},
		},
		{name: "settings", call: listSettings, sig: "settings(name)", doc: "the settings of that list, or nil if there is no such list",
			bounds: bounds{"name": inForceList}},
		{
			name:   "members",
			call:   listMembers,
			sig:    "members(name, [filter])",
			doc:    "a list of the members' addresses; filter is a table of attributes that they must have",
			bounds: bounds{"name": inForceList},
		},
		{name: "roster", call: listRoster, sig: "roster(name, [filter])", doc: "like members, but returns a list of tables: the " +
			"attributes, and address",
			bounds: bounds{"name": inForceList}},
		{name: "member", call: listMember, sig: "member(name, address)", doc: "the attributes of a member, or nil",
			bounds: bounds{"name": inForceList}},
		{name: "add", call: listAdd, sig: "add(name, address, [attributes])", doc: "adds a member with these attributes",
			bounds: bounds{"name": inForceList}},
		{name: "remove", call: listRemove, sig: "remove(name, address)", doc: "removes a member",
			bounds: bounds{"name": inForceList}},
		{name: "set", call: listSet, sig: "set(name, address, attributes)", doc: "changes attributes of a member; returns false if there " +
			"is no such member, else true",
			bounds: bounds{"name": inForceList}},
	}, listMail...),
}

// listAccess is one operation of a script on a list.
type listAccess struct {
	kvAccess
	name string // of the list
}

// beginList counts one operation and reads the name, argument 1.
func beginList(L *glua.LState, what string) listAccess {
	k, name := beginKV(L, what)
	if err := lists.CheckName(name); err != nil {
		L.RaiseError("%s: %s", what, err.Error())
	}
	return listAccess{k, name}
}

// readStored reads settings or attributes with what waits for its commit.
func (l listAccess) readStored(space, key string) map[string]any {
	b := l.read(space, key)
	if b == nil {
		return nil
	}
	l.st.budget.chargeMemory(l.L, int64(len(b)))
	m, err := lists.Decode(b)
	raiseIf(l.L, err)
	return m
}

// change adds a change of a list to the effects of the call.
func (l listAccess) change(f envelope.Effect) { raiseIf(l.L, l.call.event.AddEffect(f)) }

func (l listAccess) pushMap(m map[string]any) int {
	if m == nil {
		l.L.Push(glua.LNil)
	} else {
		l.L.Push(l.st.toLua(l.L, m))
	}
	return 1
}

func listSettings(L *glua.LState) int {
	l := beginList(L, "list.settings")
	space, key := lists.SettingsKey(l.name)
	return l.pushMap(l.readStored(space, key))
}

// memberArgument is argument 2 as an address.
func memberArgument(L *glua.LState, what string) envelope.Address {
	return addressArgument(L, L.Get(2), what)
}

func listMember(L *glua.LState) int {
	l := beginList(L, "list.member")
	if L.Get(2) == glua.LNil { // msg:from() of a message without one
		L.Push(glua.LNil)
		return 1
	}
	a := memberArgument(L, "list.member")
	return l.pushMap(l.readStored(lists.MemberSpace(l.name), lists.MemberKey(a)))
}

func listMembers(L *glua.LState) int {
	var list []string
	st := eachMember(L, "list.members", func(address string, _ map[string]any) { list = append(list, address) })
	L.Push(st.strings(L, list))
	return 1
}

func listRoster(L *glua.LState) int {
	list := []any{}
	st := eachMember(L, "list.roster", func(address string, m map[string]any) {
		m["address"] = address
		list = append(list, m)
	})
	L.Push(st.toLua(L, list))
	return 1
}

// eachMember calls each with the members that (name, [filter]) means, in order.
func eachMember(L *glua.LState, what string, each func(address string, m map[string]any)) *state {
	l := beginList(L, what)
	filter := attributes(L, 2, what+": filter")
	found := scanSpace(L, l.call, lists.MemberSpace(l.name))
	for _, key := range sortedKeys(found) {
		l.st.budget.chargeSteps(L, 4)
		m, err := lists.Decode(found[key])
		raiseIf(L, err)
		if has(m, filter) {
			each(key, m)
		}
	}
	return l.st
}

// has reports whether m has all plain values of filter.
func has(m, filter map[string]any) bool {
	for k, v := range filter {
		switch v.(type) {
		case bool, float64, string:
			if m[k] != v {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// attributes is argument n, a table with names or nothing.
func attributes(L *glua.LState, n int, what string) map[string]any {
	if L.Get(n) == glua.LNil {
		return nil
	}
	v, err := toPlain(L.Get(n))
	m, ok := v.(map[string]any)
	if err != nil || !ok || plainSize(m) > maxMetaValue {
		L.RaiseError("%s must be a table with names, of plain data up to %d KiB, got %s", what, maxMetaValue>>10,
			strings.TrimPrefix(typeOf(L.Get(n)), "module "))
	}
	return m
}

func (l listAccess) putMember(a envelope.Address, m map[string]any) {
	f, err := lists.Put(l.name, lists.Member{Address: a, Attributes: m})
	raiseIf(l.L, err)
	l.st.budget.chargeMemory(l.L, int64(len(f.Value)))
	l.change(f)
}

func listAdd(L *glua.LState) int {
	l := beginList(L, "list.add")
	l.putMember(memberArgument(L, "list.add"), attributes(L, 3, "list.add: attributes"))
	return 0
}

func listRemove(L *glua.LState) int {
	l := beginList(L, "list.remove")
	l.change(lists.Remove(l.name, memberArgument(L, "list.remove")))
	return 0
}

func listSet(L *glua.LState) int {
	l := beginList(L, "list.set")
	a := memberArgument(L, "list.set")
	change := attributes(L, 3, "list.set: attributes")
	m := l.readStored(lists.MemberSpace(l.name), lists.MemberKey(a))
	if m != nil {
		for k, v := range change {
			m[k] = v
		}
		l.putMember(a, m)
	}
	L.Push(glua.LBool(m != nil))
	return 1
}

// scanSpace returns all of a space, with what waits for its commit.
func scanSpace(L *glua.LState, c *call, space string) map[string][]byte {
	st := stateOf(L)
	found := map[string][]byte{}
	for p, err := range st.generation.engine.KV.Scan(c.ctx, space, "", 1<<20) {
		raiseIf(L, err)
		st.budget.chargeMemory(L, int64(len(p.Key)+len(p.Value)))
		found[p.Key] = p.Value
	}
	for _, f := range c.pending() {
		if f.Space == space {
			if found[f.Key] = applyEffect(found[f.Key], f); found[f.Key] == nil {
				delete(found, f.Key)
			}
		}
	}
	return found
}

func listNames(L *glua.LState) int {
	st := stateOf(L)
	c := st.currentCall(L, "list.names")
	st.budget.spendOne(L, &st.budget.kv, "kv and account operations")
	at := ""
	if L.Get(1) != glua.LNil {
		at = "@" + strings.ToLower(text(L, 1))
	}
	r := boundCheckFor(L, "list.names")
	space, _ := lists.SettingsKey("")
	var names []string
	for _, name := range sortedKeys(scanSpace(L, c, space)) {
		if strings.HasSuffix(name, at) && (r == nil || strings.Contains(name, "@") && st.source.serves(st.generation.engine, domainOf(name))) {
			names = append(names, name)
		}
	}
	L.Push(st.strings(L, names))
	return 1
}

func listConfigure(L *glua.LState) int {
	const what = "list.configure"
	l := beginList(L, what)
	settings := attributes(L, 2, what+": settings")
	if settings != nil {
		f, err := lists.Configure(l.name, settings)
		raiseIf(L, err)
		l.change(f)
		return 0
	}
	space, key := lists.SettingsKey(l.name)
	gone := []envelope.Effect{{Space: space, Op: envelope.Delete, Key: key}}
	for _, member := range sortedKeys(scanSpace(L, l.call, lists.MemberSpace(l.name))) {
		gone = append(gone, lists.Remove(l.name, envelope.Address(member)))
	}
	for _, f := range gone {
		l.st.budget.chargeMemory(L, 128)
		l.change(f)
	}
	return 0
}
