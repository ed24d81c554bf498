package lua

import (
	"net/mail"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/hooks"
)

// maxValue bounds the value of a header field that a script writes.
const maxValue = 64 << 10

func msgOf(o *object) *hooks.Message { return o.v.(*hooks.Message) }

var msgClass = class{
	name: "msg",
	doc:  "the message. It can be changed at receive.data; at deliver.attempt its header fields can be changed for that attempt",
	fields: []field{
		textField("id", "id of the message", func(o *object) string { return msgOf(o).ID.String() }),
		textField("sender", "envelope sender; \"\" is the null sender", func(o *object) string { return string(msgSender(o)) }),
		numberField("size", "octets", func(o *object) float64 { return float64(msgOf(o).Size) }),
		numberField("received_at", "Unix seconds", func(o *object) float64 { return float64(msgOf(o).ReceivedAt.Unix()) }),
		optionalField("identity", "the user who submitted it, or nil", func(o *object) string { return string(msgOf(o).Identity) }),
		boolField("ours", "whether a user who logged in, a client that may relay, or a policy sent it",
			func(o *object) bool { return msgOf(o).Ours }),
		optionalField("direction", `the direction of the mail for this call of the handler: "in", mail to a domain of ours; "out", `+
			"outgoing mail of a domain of ours (from a user who logged in, a policy or a list, whatever the client claims) and "+
			`other mail that leaves; "within", both`, func(o *object) string { return o.call.event.Direction() }),
		metaField("data of policies, kept with the message", func(o *object) *metaTable { return &metaTable{meta: &msgOf(o).Meta} }),
	},
	methods: []function{
		{name: "header", call: msgHeader, sig: "header(name)", doc: "the unfolded value of the first field of that name, or nil"},
		{name: "headers", call: msgHeaders, sig: "headers(name)", doc: "a list of the values of all fields of that name, in order"},
		{
			name:   "add_header",
			call:   msgAdd,
			edits:  hooks.ChangeMessage | hooks.ChangeAttempt,
			sig:    "add_header(name, value)",
			doc:    "adds a field after all others",
			bounds: bounds{"value": whereRead},
		},
		{
			name:   "prepend_header",
			call:   msgPrepend,
			edits:  hooks.ChangeMessage | hooks.ChangeAttempt,
			sig:    "prepend_header(name, value)",
			doc:    "adds a field before all others",
			bounds: bounds{"value": whereRead},
		},
		{
			name:   "set_header",
			call:   msgSet,
			edits:  hooks.ChangeMessage | hooks.ChangeAttempt,
			sig:    "set_header(name, value)",
			doc:    "replaces all fields of that name by this one",
			bounds: bounds{"value": whereRead},
		},
		{
			name:  "remove_header",
			call:  msgRemove,
			edits: hooks.ChangeMessage | hooks.ChangeAttempt,
			sig:   "remove_header(name)",
			doc:   "removes all fields of that name and returns how many there were",
		},
		{name: "subject", call: msgSubject, sig: "subject()", doc: "the decoded subject, or nil"},
		{name: "from", call: msgFrom, sig: "from()", doc: "the first address of From, or nil"},
		{
			name: "addresses",
			call: msgAddresses,
			sig:  "addresses(name, ...)",
			doc:  "a list of the addresses in all fields of these names, such as From or To, at most 1000",
		},
		{name: "from_display", call: msgFromDisplay, sig: "from_display()", doc: "the decoded display name of From, or nil"},
		{name: "date", call: msgDate, sig: "date()", doc: "Date as Unix seconds, or nil"},
		{name: "message_id", call: msgMessageID, sig: "message_id()", doc: "Message-ID with its brackets, or nil"},
		{name: "parts", call: msgParts, sig: "parts()", doc: "iterates over the parts that have content"},
		{
			name: "text",
			call: msgText,
			sig:  "text([max])",
			doc:  "the text of all text parts as UTF-8, HTML without its tags; at most max octets, 256 KiB by default",
		},
		{
			name: "raw",
			call: msgRaw,
			sig:  "raw([max])",
			doc:  "the message unchanged, header section and body; at most max octets, 256 KiB by default",
		},
		{
			name:  "append_text",
			call:  msgAppendText,
			edits: hooks.ChangeMessage,
			sig:   "append_text(text, [marks])",
			doc: "adds a text at the end: below a plain text, else as a part of its own. Signed and encrypted content is not changed. marks " +
				`is a table of placeholders: "%(NAME)" in the text becomes the value of NAME, or the value that a copy has in its fill`,
		},
		{
			name: "report",
			call: msgReport,
			sig:  "report()",
			doc: "what a delivery status notification (DSN) reports: a list of { address, original, action, status, class, diagnostic }, " +
				`where class is "hard", "soft" or nil; nil for other mail`,
		},
		{name: "find", call: msgFind, sig: "find(re)", doc: "the first match of an RE2 pattern in the subject and the text, or nil"},
		{name: "urls", call: msgURLs, sig: "urls()", doc: "a list of the different http, https and mailto links, at most 500"},
		{
			name: "auth",
			call: msgAuth,
			sig:  "auth()",
			doc: "the results of sender authentication: tables spf, dkim, dmarc and arc, each with result and domain; dmarc also has policy, " +
				"dkim has signatures, arc has the domain that sealed last. May query the DNS",
		},
		{
			name:  "score",
			call:  msgScore,
			edits: hooks.ChangeScore,
			from:  1,
			sig:   "score([name, points, note])",
			doc:   "adds points to the spam score; returns the total, which is kept with the message",
		},
		{name: "scores", call: msgScores, sig: "scores()", doc: "a list of { name, points, note }; at receive.data"},
		{
			name:  "priority",
			call:  msgPriority,
			edits: hooks.ChangeScore,
			from:  1,
			sig:   "priority([n])",
			doc:   "sets and returns the priority, -9 to 9",
		},
		{
			name: "is_auto",
			call: msgIsAuto,
			sig:  "is_auto()",
			doc: "whether no machine should answer the message (RFC 3834): it has a null sender, a sender that is not a person, or the field " +
				"Auto-Submitted, List-* or Precedence. If the hook has a recipient, the recipient's own sender and fields count too",
		},
		{
			name: "addressed_to",
			call: msgAddressedTo,
			sig:  "addressed_to(address)",
			doc: "whether To, Cc, Bcc or their Resent forms name the address, with any tag, or an alias that leads to it (RFC 5230 4.5); a " +
				"catch-all does not count",
			bounds: bounds{"address": whereRead},
		},
	},
}

// msgSender returns the sender as the handlers before left it.
func msgSender(o *object) envelope.Address {
	if tx := o.call.event.Tx; tx != nil {
		return tx.Sender
	}
	return msgOf(o).Sender
}

func headerName(L *glua.LState, what string) string {
	s, ok := L.Get(2).(glua.LString)
	if !ok {
		L.RaiseError("%s: name must be a string, got %s", what, typeOf(L.Get(2)))
	}
	return string(s)
}

// msgArgument returns an argument that must be the msg; what begins the complaint.
func msgArgument(L *glua.LState, v glua.LValue, what string) *object {
	st := stateOf(L)
	if ud, ok := v.(*glua.LUserData); ok {
		if o, ok := ud.Value.(*object); ok && o.class == &msgClass {
			st.requireAlive(o)
			return o
		}
	}
	L.RaiseError("%s the msg expected, got %s", what, typeOf(v))
	return nil
}

// readableSelf returns the msg that a method is called on, whose header section the
// bundle may read.
func readableSelf(L *glua.LState, what string) (*state, *object) {
	st, o := self(L, "msg")
	st.source.requireMessageRight(L, hooks.HeadersRead, what)
	return st, o
}

func msgHeader(L *glua.LState) int {
	_, o := readableSelf(L, "header")
	if v, ok := msgOf(o).Header.Get(headerName(L, "msg:header")); ok {
		L.Push(glua.LString(v))
	} else {
		L.Push(glua.LNil)
	}
	return 1
}

func msgHeaders(L *glua.LState) int {
	st, o := readableSelf(L, "headers")
	L.Push(st.strings(L, msgOf(o).Header.All(headerName(L, "msg:headers"))))
	return 1
}

// headerValue is argument 3, a value for a field.
func headerValue(L *glua.LState, what string) string {
	v := stringArgument(L, 3, what, "value")
	if len(v) > maxValue {
		L.RaiseError("%s: value has more than %d KiB", what, maxValue>>10)
	}
	return v
}

// editHeader makes one change through the Event.
func editHeader(L *glua.LState, what string, change func(h *mime.Header, name string) error) {
	st, o := self(L, "msg")
	name := headerName(L, "msg:"+what)
	st.source.requireFieldRight(L, name, "msg:"+what)
	if what != "remove_header" {
		confineField(L, "msg:"+what, name, headerValue(L, "msg:"+what), msgOf(o).Header)
	}
	st.budget.chargeMemory(L, 64*int64(len(msgOf(o).Header.Fields()))+1024)
	err := o.call.event.EditHeader(msgOf(o), what+" "+name, func(h *mime.Header) error { return change(h, name) })
	if err != nil {
		L.RaiseError("msg:%s: %s", what, err.Error())
	}
}

func msgAdd(L *glua.LState) int {
	editHeader(L, "add_header", func(h *mime.Header, name string) error { return h.Append(name, headerValue(L, "msg:add_header")) })
	return 0
}

func msgPrepend(L *glua.LState) int {
	editHeader(L, "prepend_header", func(h *mime.Header, name string) error { return h.Prepend(name, headerValue(L, "msg:prepend_header")) })
	return 0
}

func msgSet(L *glua.LState) int {
	editHeader(L, "set_header", func(h *mime.Header, name string) error { return h.Set(name, headerValue(L, "msg:set_header")) })
	return 0
}

func msgRemove(L *glua.LState) int {
	n := 0
	editHeader(L, "remove_header", func(h *mime.Header, name string) error {
		if n = h.Remove(name); n == 0 {
			return hooks.ErrSame
		}
		return nil
	})
	L.Push(glua.LNumber(n))
	return 1
}

func msgSubject(L *glua.LState) int {
	st, o := readableSelf(L, "subject")
	v, ok := msgOf(o).Header.Get("Subject")
	if !ok {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(st.budget.newString(L, mime.DecodeWords(v)))
	return 1
}

func fromMailbox(o *object) (mime.Mailbox, bool) {
	list := msgOf(o).Header.Addresses("From")
	if len(list) == 0 {
		return mime.Mailbox{}, false
	}
	return list[0], true
}

func msgFrom(L *glua.LState) int {
	_, o := readableSelf(L, "from")
	m, _ := fromMailbox(o)
	L.Push(optional(string(m.Address)))
	return 1
}

func msgFromDisplay(L *glua.LState) int {
	_, o := readableSelf(L, "from_display")
	m, _ := fromMailbox(o)
	L.Push(optional(m.Display))
	return 1
}

func msgDate(L *glua.LState) int {
	_, o := readableSelf(L, "date")
	v, _ := msgOf(o).Header.Get("Date")
	if t, err := mail.ParseDate(v); err == nil {
		L.Push(glua.LNumber(t.Unix()))
	} else {
		L.Push(glua.LNil)
	}
	return 1
}

func msgMessageID(L *glua.LState) int {
	_, o := readableSelf(L, "message_id")
	v, _ := msgOf(o).Header.Get("Message-ID")
	L.Push(optional(strings.TrimSpace(v)))
	return 1
}

func msgScore(L *glua.LState) int {
	st, o := self(L, "msg")
	if L.GetTop() > 1 {
		name := stringArgument(L, 2, "msg:score", "name")
		points, ok := L.Get(3).(glua.LNumber)
		if !ok || points != points || points > 1e6 || points < -1e6 {
			L.RaiseError("msg:score: points must be a number, got %s", tostringPlain(L.Get(3)))
		}
		s := hooks.Score{Name: name, Points: float64(points)}
		if L.Get(4) != glua.LNil {
			s.Note = lineArgument(L, "msg:score: note", stringArgument(L, 4, "msg:score", "note"))
		}
		lineArgument(L, "msg:score: name", name)
		if len(name) > 60 || len(s.Note) > 400 || len(msgOf(o).Scores) >= 500 {
			L.RaiseError("msg:score: at most 500 scores, names of 60 and notes of 400 octets")
		}
		raiseIf(L, o.call.event.AddScore(s))
	}
	L.Push(st.number(msgOf(o).Total()))
	return 1
}

func msgScores(L *glua.LState) int {
	st, o := self(L, "msg")
	list := make([]any, 0, len(msgOf(o).Scores))
	for _, s := range msgOf(o).Scores {
		list = append(list, map[string]any{"name": s.Name, "points": s.Points, "note": s.Note})
	}
	L.Push(st.toLua(L, list))
	return 1
}

// priorityArgument reads -9..9.
func priorityArgument(L *glua.LState, v glua.LValue, what string) envelope.Priority {
	n, ok := wholeNumber(v)
	if !ok || n < -9 || n > 9 {
		L.RaiseError("%s: priority must be a whole number from -9 to 9, got %s", what, tostringPlain(v))
	}
	return envelope.Priority(n)
}

func msgPriority(L *glua.LState) int {
	_, o := self(L, "msg")
	if L.Get(2) != glua.LNil {
		raiseIf(L, o.call.event.SetPriority(priorityArgument(L, L.Get(2), "msg:priority")))
	}
	L.Push(glua.LNumber(msgOf(o).Priority))
	return 1
}

func msgIsAuto(L *glua.LState) int {
	_, o := readableSelf(L, "is_auto")
	auto := isAuto(msgOf(o).Header, msgSender(o))
	if r := o.call.event.Rcpt; r != nil && !auto {
		sender := msgSender(o)
		if r.Sender != nil {
			sender = *r.Sender
		}
		auto = isAuto(mime.ParseHeader([]byte(r.Edit.Prepend)), sender)
	}
	L.Push(glua.LBool(auto))
	return 1
}

// isAuto tells mail that no machine must answer (RFC 3834 section 2, RFC 5230
// 4.6).
func isAuto(h *mime.Header, sender envelope.Address) bool {
	if sender == "" {
		return true
	}
	if v, ok := h.Get("Auto-Submitted"); ok {
		word, _, _ := strings.Cut(strings.ToLower(v), ";")
		if strings.TrimSpace(word) != "no" {
			return true
		}
	}
	if v, ok := h.Get("Precedence"); ok {
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "bulk", "list", "junk", "auto_reply":
			return true
		}
	}
	for _, f := range h.Fields() {
		if name := f.Name(); len(name) > 5 && strings.EqualFold(name[:5], "list-") {
			return true
		}
	}
	return isRobot(sender)
}

// isRobot tells senders that are no people by their name.
func isRobot(a envelope.Address) bool {
	local, _, _ := strings.Cut(strings.ToLower(a.Local()), "+") // bounces name their recipient in the tag
	return local == "mailer-daemon" || local == "listserv" || local == "majordomo" || local == "noreply" || local == "no-reply" ||
		strings.HasPrefix(local, "owner-") || strings.HasSuffix(local, "-owner") || strings.HasSuffix(local, "-request") ||
		strings.HasSuffix(local, "-bounces")
}

func msgAddressedTo(L *glua.LState) int {
	_, o := readableSelf(L, "addressed_to")
	want := addressArgument(L, L.Get(2), "msg:addressed_to").Base()
	var list []envelope.Address
	for _, m := range msgOf(o).Header.Addresses("To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc") {
		list = append(list, m.Address)
	}
	L.Push(glua.LBool(namesAccount(L, list, want)))
	return 1
}

// maxAddresses is what msg:addresses gives at most.
const maxAddresses = 1000

func msgAddresses(L *glua.LState) int {
	st, o := readableSelf(L, "addresses")
	var names []string
	for i := 2; i <= max(2, L.GetTop()); i++ {
		names = append(names, stringArgument(L, i, "msg:addresses", "name"))
	}
	var list []string
	for _, m := range msgOf(o).Header.Addresses(names...) {
		if len(list) == maxAddresses {
			break
		}
		list = append(list, string(m.Address))
	}
	L.Push(st.strings(L, list))
	return 1
}
