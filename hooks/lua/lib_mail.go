package lua

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/hooks"
)

// Limits of mail that policies send.
const (
	maxSubmitRcpts = 100
	maxSubmitBody  = 1 << 20
	maxReferences  = 900 // octets of References that are carried on
)

var mailModule = module{
	name: "mail",
	doc:  "sends mail. It is queued in the commit of the current message, exactly once. At most 10 messages per call",
	functions: []function{
		{
			name: "submit",
			call: mailSubmit,
			sig: "submit{ sender = \"\", from =, to =, cc =, subject =, text =, html =, or raw =, headers =, auto =, in_reply_to = msg, " +
				"copy = folder }",
			doc: "sends a new message; with text and html it has both forms; copy also files it in that folder of the sender's mailbox here; " +
				`auto is "auto-generated" (default) or "auto-replied"; to and cc are addresses or lists; raw is a whole message`,
			bounds: bounds{"sender": inForce, "from": asAuthor, "raw": asMessage, "headers": asFields},
		},
		{
			name: "file",
			call: mailFile,
			sig:  "file(msg, address, folder, [flags])",
			doc: "files a copy of the current message in a folder of a mailbox here, once, whatever else the mailbox gets; no policy is asked " +
				"about the copy",
			bounds: bounds{"address": inForce},
		},
		{
			name:   "forward",
			call:   mailForward,
			sig:    "forward(msg, address, { srs = true, sender =, headers = })",
			doc:    "sends the current message to another address; srs rewrites the sender",
			bounds: bounds{"headers": keepFields, "sender": asSender},
		},
	},
}

// newMail is a message in the making.
type newMail struct {
	sender        envelope.Address
	from          string
	fromAddress   envelope.Address
	to, cc        []string
	subject, text string
	html          string
	raw           string
	folder        string // of from, for a copy
	headers       glua.LValue
	auto          string
	replyTo       *hooks.Message
}

func beginSubmit(L *glua.LState, what string) *call {
	st := stateOf(L)
	c := st.currentCall(L, what)
	if !c.event.Allowed(hooks.ChangeEffects) {
		L.RaiseError("%s: not at %s", what, c.event.Point)
	}
	st.budget.spendOne(L, &st.budget.submits, "messages")
	takeSubmitRate(L, c, what)
	c.submits++
	return c
}

// takeSubmitRate takes one from what the bundle may send for the current domain.
// It lasts over restarts as rate.take does, and is given back when the handler
// fails.
func takeSubmitRate(L *glua.LState, c *call, what string) {
	st := stateOf(L)
	g := c.source.src.Grants
	if g == nil {
		return
	}
	if !g.MaySubmit() {
		L.RaiseError("%s: %s may not send mail (capabilities.submit)", what, c.source.bundleName())
	}
	if st.generation.engine.KV == nil {
		L.RaiseError("%s: the server has no kv to count in", what)
	}
	ok, wait, _, err := st.generation.engine.takeRate(c, "#submit", "all", st.now(), gcra{
		interval: g.Submit.Per / time.Duration(g.Submit.N),
		burst:    float64(g.Submit.N),
		cost:     1,
	})
	raiseIf(L, err)
	if !ok {
		L.RaiseError("%s: %s sent %s (capabilities.submit), more in %d s", what, c.source.bundleName(), g.Submit, int(wait))
	}
}

func mailSubmit(L *glua.LState) int {
	const what = "mail.submit"
	st := stateOf(L)
	c := beginSubmit(L, what)
	t, ok := L.Get(1).(*glua.LTable)
	if !ok {
		L.RaiseError("%s: a table expected, got %s", what, typeOf(L.Get(1)))
	}
	l := newMail{auto: "auto-generated", headers: glua.LNil}
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		l.field(L, st, tostringPlain(k), v)
	}
	s := hooks.Submit{Sender: l.sender, Space: c.space(), Domain: c.domain, Rcpts: l.recipients(L)}
	if l.raw != "" {
		l.fromRaw(L, st, &s)
	} else {
		l.compose(L, st, &s)
	}
	if l.folder != "" {
		s.Copies = []hooks.Copy{{Owner: l.fromAddress, Filing: envelope.Filing{Folder: l.folder, Flags: []string{seen}}}}
	}
	st.budget.chargeMemory(L, int64(len(s.Header)+len(s.Body)))
	raiseIf(L, c.event.AddSubmit(s))
	return 0
}

// field reads one field of the table.
func (l *newMail) field(L *glua.LState, st *state, key string, v glua.LValue) {
	what := "mail.submit: " + key
	one := func(limit int) string {
		s, ok := v.(glua.LString)
		if !ok {
			L.RaiseError("%s must be a string, got %s", what, typeOf(v))
		}
		if len(s) > limit {
			L.RaiseError("%s has more than %d octets", what, limit)
		}
		return string(s)
	}
	switch key {
	case "sender":
		l.sender = senderArgument(L, v, what)
	case "from":
		l.from = one(500)
		list, complete := mime.ParseAddressList(l.from)
		if !complete || len(list) != 1 {
			L.RaiseError("%s: %q is not an address", what, l.from)
		}
		l.fromAddress = list[0].Address
		l.from = mime.FormatMailbox(list[0])
	case "to":
		l.to = stringList(L, v, what)
	case "cc":
		l.cc = stringList(L, v, what)
	case "subject":
		l.subject = strings.Map(func(r rune) rune {
			if r == '\r' || r == '\n' || r == 0 {
				return ' '
			}
			return r
		}, one(2000))
	case "text":
		l.text = one(maxSubmitBody)
	case "html":
		l.html = one(maxSubmitBody)
	case "raw":
		l.raw = one(maxSubmitBody)
	case "copy":
		if l.folder = one(1000); !validFolder(l.folder) {
			L.RaiseError("%s: %q is not the name of a folder", what, l.folder)
		}
	case "headers":
		l.headers = v
	case "auto":
		l.auto = one(40)
		if l.auto != "auto-replied" && l.auto != "auto-generated" {
			L.RaiseError(`%s must be "auto-replied" or "auto-generated", got %q`, what, l.auto)
		}
	case "in_reply_to":
		l.replyTo = msgOf(msgArgument(L, v, what))
	default:
		L.RaiseError("mail.submit: unknown field %s%s", key,
			hooks.Suggestion(key, []string{"sender", "from", "to", "cc", "subject", "text", "html", "raw", "headers", "auto", "in_reply_to",
				"copy"}))
	}
}

// recipients returns those of to and cc, each once.
func (l *newMail) recipients(L *glua.LState) []envelope.Address {
	var out []envelope.Address
	seen := map[envelope.Address]bool{}
	for _, s := range append(append([]string(nil), l.to...), l.cc...) {
		a := addressArgument(L, glua.LString(s), "mail.submit: to")
		if !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	if len(out) == 0 || len(out) > maxSubmitRcpts {
		L.RaiseError("mail.submit: 1 to %d recipients expected, got %d", maxSubmitRcpts, len(out))
	}
	return out
}

// fieldWriter builds a header section, refusing what is not a field.
type fieldWriter struct {
	L   *glua.LState
	out strings.Builder
}

func (b *fieldWriter) add(name, value string) {
	line, err := mime.FormatField(name, value)
	if err != nil {
		b.L.RaiseError("mail.submit: %s", err.Error())
	}
	b.out.WriteString(line)
}

// writeCommonFields writes the fields that every message of a policy has. Replies name
// what they reply to (RFC 5322 3.6.4); Auto-Submitted keeps machines from
// answering each other (RFC 3834 section 5).
func (l *newMail) writeCommonFields(b *fieldWriter, st *state) {
	now := st.now()
	b.add("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	host := st.generation.engine.Hostname
	if host == "" {
		host = l.fromAddress.Domain()
	}
	b.add("Message-ID", "<"+envelope.NewID(now).String()+"@"+host+">")
	b.add("Auto-Submitted", l.auto)
	if l.replyTo == nil {
		return
	}
	id, _ := l.replyTo.Header.Get("Message-ID")
	if id = strings.TrimSpace(id); id == "" {
		return
	}
	b.add("In-Reply-To", cleanField(id))
	refs, ok := l.replyTo.Header.Get("References")
	if !ok {
		refs, _ = l.replyTo.Header.Get("In-Reply-To")
	}
	refs = strings.Join(strings.Fields(cleanField(refs)), " ")
	for len(refs) > maxReferences {
		_, rest, more := strings.Cut(refs, " ")
		if !more {
			rest = ""
		}
		refs = rest
	}
	b.add("References", strings.TrimSpace(refs+" "+cleanField(id)))
}

// cleanField drops what must not stand in a field of ours.
func cleanField(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func (l *newMail) compose(L *glua.LState, st *state, s *hooks.Submit) {
	if l.fromAddress == "" {
		L.RaiseError("mail.submit: from is missing")
	}
	b := &fieldWriter{L: L}
	b.add("From", l.from)
	if len(l.to) > 0 {
		b.add("To", strings.Join(l.to, ", "))
	}
	if len(l.cc) > 0 {
		b.add("Cc", strings.Join(l.cc, ", "))
	}
	b.add("Subject", l.subject)
	l.writeCommonFields(b, st)
	b.add("MIME-Version", "1.0")
	boundary := "=_" + envelope.NewID(st.now()).String() // "=_" stands in no quoted-printable text (RFC 2045 6.7)
	if l.html == "" {
		b.add("Content-Type", "text/plain; charset=utf-8")
		b.add("Content-Transfer-Encoding", "quoted-printable")
	} else {
		b.add("Content-Type", `multipart/alternative; boundary="`+boundary+`"`)
	}
	l.writeExtraFields(L, st, b, "from", "to", "cc", "bcc", "sender", "subject", "date", "message-id", "auto-submitted", "in-reply-to",
		"references",
		"mime-version", "content-type", "content-transfer-encoding", "received", "return-path")
	s.Header = append([]byte(b.out.String()), "\r\n"...)
	if l.html == "" {
		s.Body = quotedPrintable(l.text)
		return
	}
	const part = "--%s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s"
	s.Body = fmt.Appendf(nil, part+part+"--%s--\r\n", boundary, "plain", quotedPrintable(l.text), boundary, "html", quotedPrintable(l.html),
		boundary)
}

// quotedPrintable returns a text in quoted-printable, with a line end.
func quotedPrintable(s string) []byte {
	b := mime.QuotedPrintable(strings.ToValidUTF8(s, "\uFFFD"))
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		b = append(b, "\r\n"...)
	}
	return b
}

// writeExtraFields adds the script's own fields; those that the message has already are
// refused.
func (l *newMail) writeExtraFields(L *glua.LState, st *state, b *fieldWriter, taken ...string) {
	if l.headers == glua.LNil {
		return
	}
	added := fieldLines(L, st, l.headers, "mail.submit")
	for _, f := range mime.ParseHeader([]byte(added)).Fields() {
		if oneOf(strings.ToLower(f.Name()), taken...) {
			L.RaiseError("mail.submit: headers: the server sets %s, or it is a field of mail.submit", f.Name())
		}
	}
	b.out.WriteString(added)
}

// fromRaw takes a whole message and adds what it lacks.
func (l *newMail) fromRaw(L *glua.LState, st *state, s *hooks.Submit) {
	if l.text != "" || l.html != "" || l.folder != "" || l.subject != "" || l.from != "" {
		L.RaiseError("mail.submit: raw is a whole message and cannot be combined with from, subject, text, html or copy")
	}
	h, body, err := parseRawMail(l.raw)
	if err != nil {
		L.RaiseError("mail.submit: raw: %s", err.Error())
	}
	b := &fieldWriter{L: L}
	l.writeCommonFields(b, st)
	for _, f := range mime.ParseHeader([]byte(b.out.String())).Fields() {
		if !h.Has(f.Name()) {
			h.Append(f.Name(), f.Value())
		}
	}
	more := &fieldWriter{L: L}
	l.writeExtraFields(L, st, more, "received", "return-path")
	h.PrependRaw(more.out.String())
	if err := checkSingleFields(h); err != nil {
		L.RaiseError("mail.submit: raw: %s", err.Error())
	}
	s.Header, s.Body = h.Bytes(), []byte(body)
}

// seen is the flag of what its owner knows already (RFC 9051 2.3.2).
const seen = `\Seen`

func mailFile(L *glua.LState) int {
	const what = "mail.file"
	st := stateOf(L)
	c := st.currentCall(L, what)
	o := msgArgument(L, L.Get(1), what+":")
	st.source.requireRight(L, hooks.RecipientsAdd, what)
	if st.budget.added--; st.budget.added < 0 {
		L.RaiseError("%s: too many recipients added in one call", what)
	}
	filing := envelope.Filing{Folder: oneLine(L, 3, what), Flags: flagsArgument(L, 4, what)}
	if !validFolder(filing.Folder) {
		L.RaiseError("%s: %q is not the name of a folder", what, filing.Folder)
	}
	s := hooks.Submit{
		Forward: true,
		Sender:  msgSender(o),
		Space:   c.space(),
		Copies:  []hooks.Copy{{Owner: addressArgument(L, L.Get(2), what), Filing: filing}},
	}
	raiseIf(L, c.event.AddSubmit(s))
	return 0
}

func mailForward(L *glua.LState) int {
	const what = "mail.forward"
	st := stateOf(L)
	c := beginSubmit(L, what)
	o := msgArgument(L, L.Get(1), what+":")
	st.source.requireRight(L, hooks.RecipientsAdd, what)
	s := hooks.Submit{Forward: true, Sender: msgSender(o), Space: c.space()}
	if r := c.event.Rcpt; r != nil {
		by := c.handler.info.Change()
		by.Address = r.Address
		s.From = append(slices.Clone(r.From), by)
	}
	for _, a := range stringList(L, L.Get(2), what) {
		s.Rcpts = append(s.Rcpts, addressArgument(L, glua.LString(a), what))
	}
	if len(s.Rcpts) == 0 || len(s.Rcpts) > maxSubmitRcpts {
		L.RaiseError("%s: 1 to %d recipients expected, got %d", what, maxSubmitRcpts, len(s.Rcpts))
	}
	if t, ok := L.Get(3).(*glua.LTable); ok {
		for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
			switch tostringPlain(k) {
			case "srs":
				if glua.LVAsBool(v) {
					e := requireSigningKey(L, what)
					s.Sender = e.srs(s.Sender, e.Hostname, st.now())
				}
			case "sender":
				s.Sender = senderArgument(L, v, what+": sender")
			case "headers":
				s.Edit.Prepend = writableFields(L, v, what)
			default:
				L.RaiseError("%s: unknown option %s%s", what, tostringPlain(k),
					hooks.Suggestion(tostringPlain(k), []string{"srs", "sender", "headers"}))
			}
		}
	} else if L.Get(3) != glua.LNil {
		L.RaiseError("%s: options must be a table, got %s", what, typeOf(L.Get(3)))
	}
	raiseIf(L, c.event.AddSubmit(s))
	return 0
}
