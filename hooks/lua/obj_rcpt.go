package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/hooks"
)

// recipientOf returns the recipient behind a rcpt object of either kind: those of
// a transaction, and those that policies may replace.
func recipientOf(o *object) *envelope.Recipient {
	if r, ok := o.v.(*hooks.Rcpt); ok {
		return r.Recipient
	}
	return o.v.(*envelope.Recipient)
}

// senderOf returns the sender of a recipient's copy.
func senderOf(o *object) envelope.Address {
	if r := recipientOf(o); r.Sender != nil {
		return *r.Sender
	}
	switch e := o.call.event; {
	case e.Msg != nil:
		return e.Msg.Sender
	case e.Tx != nil:
		return e.Tx.Sender
	}
	return ""
}

var rcptClass = class{name: "rcpt", doc: "one recipient",
	fields: []field{
		{
			name:  "address",
			edits: hooks.ChangeAddress,
			doc:   "the address that the mail goes to; can be changed at receive.rcpt",
			get: func(_ *state, _ *glua.LState, o *object) glua.LValue {
				return str(string(recipientOf(o).Address))
			},
			set: func(st *state, L *glua.LState, o *object, v glua.LValue) {
				st.source.requireRight(L, hooks.RecipientsAdd, "rcpt.address")
				raiseIf(L, o.call.event.SetAddress(recipientOf(o), addressArgument(L, v, "rcpt.address"), o.call.handler.info.Change()))
			},
		},
		textField("orig", "the address in the RCPT command", func(o *object) string { return string(recipientOf(o).Orig) }),
		textField("sender", "return path of this recipient's copy: that of the message, or what a policy chose",
			func(o *object) string { return string(senderOf(o)) }),
		{name: "user", doc: "local part without its tag", get: func(_ *state, _ *glua.LState, o *object) glua.LValue {
			user, _, _ := strings.Cut(recipientOf(o).Address.Local(), "+")
			return str(user)
		}},
		textField("domain", "domain in lower case", func(o *object) string { return recipientOf(o).Address.Domain() }),
		optionalField("tag", "what follows the \"+\", or nil", func(o *object) string { return recipientOf(o).Address.Tag() }),
		boolField("is_local", "whether the domain is ours", func(o *object) bool { return recipientOf(o).IsLocal }),
		boolField("released", "whether list.release released the message for this recipient",
			func(o *object) bool { return recipientOf(o).Released }),
		{name: "notify", doc: "list of NOTIFY keywords, or nil", get: rcptNotify},
		optionalField("orcpt", "decoded ORCPT, or nil", func(o *object) string { return recipientOf(o).ORcpt }),
		metaField("data of policies, kept with the recipient; folder names the folder to deliver into", func(o *object) *metaTable {
			return &metaTable{
				meta: &recipientOf(o).Meta,
				rcpt: true,
			}
		}),
	},
	methods: []function{
		{
			name:  "replace",
			call:  rcptReplace,
			edits: hooks.ChangeRecipients,
			sig:   "replace(list, [how])",
			doc: "at queue.expand: replaces this recipient by others; how is a table { sender =, headers =, priority =, notify =, mailbox =, " +
				"fill =, arc =, msg = } or a function(address) that returns one. With mailbox = true the mail is filed in the mailbox " +
				"of exactly that address, even if it has no account; fill is a table of values for placeholders of msg:append_text; " +
				"arc is a domain that adds an ARC seal to copies that leave (RFC 8617): it tells later servers what was verified when " +
				"the mail arrived; msg is the variant that these recipients get",
			bounds: bounds{"how": whereRead},
		},
		{
			name:  "fork",
			call:  rcptFork,
			edits: hooks.ChangeRecipients,
			sig:   "fork()",
			doc: "at queue.expand: a separate msg for this recipient and for those that this hook adds for it; it can be changed like the msg " +
				"of receive.data",
		},
		{
			name:  "variant",
			call:  rcptVariant,
			edits: hooks.ChangeRecipients,
			sig:   "variant()",
			doc: "at queue.expand: a separate msg, only for recipients whose how names it (msg =); it can be changed like the msg of " +
				"receive.data",
		},
		{name: "copy_to", call: rcptCopyTo, edits: hooks.ChangeCopies, sig: "copy_to(address or list, [how])",
			doc:    "adds recipients and keeps this one",
			bounds: bounds{"how": whereRead}},
		{name: "set_header", call: rcptSetHeader, edits: hooks.ChangeOwnFields, sig: "set_header(name, value)",
			doc:    "changes only this recipient's copy",
			bounds: bounds{"value": whereRead}},
		{
			name:   "add_header",
			call:   rcptAddHeader,
			edits:  hooks.ChangeOwnFields,
			sig:    "add_header(name, value)",
			doc:    "adds the field at the top of this recipient's copy only",
			bounds: bounds{"value": whereRead},
		},
		{
			name:  "remove_header",
			call:  rcptRemoveHeader,
			edits: hooks.ChangeOwnFields,
			sig:   "remove_header(name)",
			doc:   "changes only this recipient's copy",
		},
	}}

// notifyWords are the keywords of NOTIFY (RFC 3461 4.1).
var notifyWords = []struct {
	bit  envelope.Notify
	name string
}{{envelope.NotifyNever, "never"}, {envelope.NotifySuccess, "success"}, {envelope.NotifyFailure, "failure"},
	{envelope.NotifyDelay, "delay"}}

// notifyArgument reads a list of them; an empty one is "never".
func notifyArgument(L *glua.LState, v glua.LValue, what string) envelope.Notify {
	var n envelope.Notify
	for _, name := range stringList(L, v, what+": notify") {
		known := false
		for _, k := range notifyWords {
			if k.name == name {
				n, known = n|k.bit, true
			}
		}
		if !known {
			L.RaiseError("%s: notify: %q is not never, success, failure or delay", what, name)
		}
	}
	if n == 0 || n&envelope.NotifyNever != 0 {
		return envelope.NotifyNever
	}
	return n
}

func rcptNotify(st *state, L *glua.LState, o *object) glua.LValue {
	n := recipientOf(o).Notify
	if n == 0 {
		return glua.LNil
	}
	var list []string
	for _, k := range notifyWords {
		if n&k.bit != 0 {
			list = append(list, k.name)
		}
	}
	return st.strings(L, list)
}

// expandableSelf returns the receiver of replace, copy_to and the header methods.
func expandableSelf(L *glua.LState, what string) (*state, *object, *hooks.Rcpt) {
	st, o := self(L, "rcpt")
	r, ok := o.v.(*hooks.Rcpt)
	if !ok {
		L.RaiseError("%s: not at %s", what, o.call.event.Point)
	}
	return st, o, r
}

func rcptReplace(L *glua.LState) int {
	st, o, r := expandableSelf(L, "rcpt:replace")
	if e := o.call.event; !e.Allowed(hooks.ChangeRecipients) {
		here := ""
		if spec, _ := hooks.SpecOf(e.Point); spec.Allows(hooks.Redirect) {
			here = "; here return redirect(address)"
		}
		L.RaiseError("rcpt:replace: only at queue.expand%s", here)
	}
	targets := targetArguments(L, st, o, "rcpt:replace")
	raiseIf(L, o.call.event.Replace(r, targets))
	return 0
}

func rcptCopyTo(L *glua.LState) int {
	st, o, r := expandableSelf(L, "rcpt:copy_to")
	if !o.call.event.Allowed(hooks.ChangeCopies) {
		L.RaiseError("rcpt:copy_to: recipients cannot be changed at %s", o.call.event.Point)
	}
	targets := targetArguments(L, st, o, "rcpt:copy_to")
	raiseIf(L, o.call.event.CopyTo(r, targets))
	return 0
}

func rcptFork(L *glua.LState) int {
	st, o, r := expandableSelf(L, "rcpt:fork")
	st.source.requireRight(L, hooks.RecipientsAdd, "rcpt:fork")
	st.budget.chargeMemory(L, 4096)
	m, err := o.call.event.Fork(r)
	raiseIf(L, err)
	confineFork(L, m)
	L.Push(st.newObject(&msgClass, m))
	return 1
}

func rcptVariant(L *glua.LState) int {
	st, o, r := expandableSelf(L, "rcpt:variant")
	st.source.requireRight(L, hooks.RecipientsAdd, "rcpt:variant")
	st.budget.chargeMemory(L, 4096+int64(len(o.call.event.Msg.Header.Bytes())))
	m, err := o.call.event.Variant(r)
	raiseIf(L, err)
	confineFork(L, m)
	L.Push(st.newObject(&msgClass, m))
	return 1
}

// targetArguments reads (address or list, [how]).
func targetArguments(L *glua.LState, st *state, o *object, what string) []hooks.Target {
	st.source.requireRight(L, hooks.RecipientsAdd, what)
	if L.Get(2) == glua.LNil {
		L.RaiseError("%s: an address or a list of addresses expected, got nil", what)
	}
	names := longList(L, L.Get(2), what, max(st.budget.added, hooks.FreeRecipients))
	if st.budget.added -= len(names); st.budget.added < 0 {
		L.RaiseError("%s: too many recipients added in one call", what)
	}
	st.budget.chargeMemory(L, 200*int64(len(names)))
	by := o.call.handler.info.Change()
	by.Address = recipientOf(o).Address
	list := make([]hooks.Target, 0, len(names))
	for _, name := range names {
		t := hooks.Target{Address: addressArgument(L, glua.LString(name), what), From: by}
		how := L.Get(3)
		if f, ok := how.(*glua.LFunction); ok {
			L.Push(f)
			L.Push(glua.LString(t.Address))
			L.Call(1, 1)
			how = L.Get(-1)
			L.Pop(1)
		}
		howArgument(L, st, how, what, &t)
		list = append(list, t)
	}
	return list
}

// howArgument reads { sender =, headers =, priority =, notify =, mailbox =, fill =, arc =, msg = }.
func howArgument(L *glua.LState, st *state, how glua.LValue, what string, t *hooks.Target) {
	if how == glua.LNil {
		return
	}
	table, ok := how.(*glua.LTable)
	if !ok {
		L.RaiseError("%s: how must be a table or a function that returns one, got %s", what, typeOf(how))
	}
	for k, v := table.Next(glua.LNil); k != glua.LNil; k, v = table.Next(k) {
		switch key := tostringPlain(k); key {
		case "sender":
			a := senderArgument(L, v, what+": sender")
			t.Sender = &a
		case "headers":
			t.Fields = writableFields(L, v, what)
		case "priority":
			p := priorityArgument(L, v, what)
			t.Priority = &p
		case "notify":
			n := notifyArgument(L, v, what)
			t.Notify = &n
		case "fill":
			t.Fill = fillArgument(L, st, v, what)
		case "arc":
			t.ARC = strings.ToLower(tostringPlain(v))
			if envelope.CheckDomain(t.ARC) != nil {
				L.RaiseError("%s: arc must be a domain, got %s", what, tostringPlain(v))
			}
		case "msg":
			t.Msg = msgOf(msgArgument(L, v, what+": msg:"))
			if t.Msg == st.call.event.Msg || st.call.event.Editable(t.Msg) != nil {
				L.RaiseError("%s: msg must be what rcpt:variant() made", what)
			}
		case "mailbox":
			t.Mailbox = glua.LVAsBool(v)
		default:
			L.RaiseError("%s: unknown field %s in how%s", what, key,
				hooks.Suggestion(key, []string{"sender", "headers", "priority", "notify", "mailbox", "fill", "arc", "msg"}))
		}
	}
	confineHow(L, what, table, t)
}

// maxFilled is the longest text for a mark, in octets.
const maxFilled = 4096

// fillArgument reads a table of texts for the marks of msg:append_text.
func fillArgument(L *glua.LState, st *state, v glua.LValue, what string) envelope.Values {
	table, ok := v.(*glua.LTable)
	if !ok {
		L.RaiseError("%s: fill must be a table, got %s", what, typeOf(v))
	}
	fill := envelope.Values{}
	for k, v := table.Next(glua.LNil); k != glua.LNil; k, v = table.Next(k) {
		text, ok := v.(glua.LString)
		if !ok || len(text) > maxFilled || len(fill) >= maxMarks {
			L.RaiseError("%s: fill has at most %d strings of at most %d octets", what, maxMarks, maxFilled)
		}
		st.budget.chargeMemory(L, int64(len(text))+64)
		fill[tostringPlain(k)] = strings.ToValidUTF8(string(text), "\uFFFD")
	}
	return fill
}

// fieldLines writes a table of header fields, in the order of their names; a
// list as value gives several fields.
func fieldLines(L *glua.LState, st *state, v glua.LValue, what string) string {
	table, ok := v.(*glua.LTable)
	if !ok {
		L.RaiseError("%s: headers must be a table, got %s", what, typeOf(v))
	}
	fields := map[string][]string{}
	for k, v := table.Next(glua.LNil); k != glua.LNil; k, v = table.Next(k) {
		name, ok := k.(glua.LString)
		if !ok {
			L.RaiseError("%s: headers: names must be strings, got %s", what, typeOf(k))
		}
		if n, ok := v.(glua.LNumber); ok {
			v = glua.LString(formatNumber(float64(n)))
		}
		fields[string(name)] = stringList(L, v, what+": headers: "+string(name))
	}
	var out strings.Builder
	for _, name := range sortedKeys(fields) {
		for _, value := range fields[name] {
			out.WriteString(fieldLine(L, st, name, value, what))
		}
	}
	return out.String()
}

// writableFields is fieldLines for a message that others wrote.
func writableFields(L *glua.LState, v glua.LValue, what string) string {
	st := stateOf(L)
	lines := fieldLines(L, st, v, what)
	if !st.source.src.Grants.Has(hooks.HeadersWrite) {
		for _, f := range mime.ParseHeader([]byte(lines)).Fields() {
			st.source.requireFieldRight(L, f.Name(), what)
		}
	}
	return lines
}

func fieldLine(L *glua.LState, st *state, name, value, what string) string {
	if len(value) > maxValue {
		L.RaiseError("%s: value of %s has more than %d KiB", what, name, maxValue>>10)
	}
	st.budget.chargeMemory(L, 3*int64(len(value))+64)
	line, err := mime.FormatField(name, value)
	if err != nil {
		L.RaiseError("%s: %s", what, err.Error())
	}
	return line
}

func rcptSetHeader(L *glua.LState) int {
	editOwn(L, "set_header", true)
	return 0
}

func rcptAddHeader(L *glua.LState) int {
	editOwn(L, "add_header", false)
	return 0
}

func editOwn(L *glua.LState, name string, replace bool) {
	what := "rcpt:" + name
	st, o, r := expandableSelf(L, what)
	field := headerName(L, what)
	st.source.requireFieldRight(L, field, what)
	value := headerValue(L, what)
	confineField(L, what, field, value, o.call.event.Msg.Header)
	line := fieldLine(L, st, field, value, what)
	edit := envelope.HeaderEdit{Prepend: r.Edit.Prepend, Remove: append([]string(nil), r.Edit.Remove...)}
	if replace {
		edit.Prepend = withoutField(edit.Prepend, field)
		edit.Remove = append(edit.Remove, field)
	}
	edit.Prepend = line + edit.Prepend
	setEdit(L, o, r, name+" "+field, edit)
}

func rcptRemoveHeader(L *glua.LState) int {
	st, o, r := expandableSelf(L, "rcpt:remove_header")
	field := headerName(L, "rcpt:remove_header")
	st.source.requireFieldRight(L, field, "rcpt:remove_header")
	edit := envelope.HeaderEdit{Prepend: withoutField(r.Edit.Prepend, field), Remove: append(append([]string(nil), r.Edit.Remove...), field)}
	setEdit(L, o, r, "remove_header "+field, edit)
	return 0
}

func setEdit(L *glua.LState, o *object, r *hooks.Rcpt, what string, edit envelope.HeaderEdit) {
	st := stateOf(L)
	if len(edit.Prepend) > 256<<10 || len(edit.Remove) > 500 {
		L.RaiseError("rcpt: too many header fields for one recipient")
	}
	st.budget.chargeMemory(L, int64(len(edit.Prepend))+16*int64(len(edit.Remove)))
	raiseIf(L, o.call.event.SetEdit(r, what, edit))
}

// withoutField drops a field from lines that will be prepended.
func withoutField(lines, name string) string {
	if lines == "" {
		return ""
	}
	h := mime.ParseHeader([]byte(lines))
	if h.Remove(name) == 0 {
		return lines
	}
	return strings.TrimSuffix(string(h.Bytes()), "\r\n")
}
