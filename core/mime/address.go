package mime

import (
	"net/mail"
	"strings"

	core "carteiro/core/mail"

	stdmime "mime"
)

// Mailbox is one address of a header field with its display name.
type Mailbox struct {
	Address core.Address
	Display string // decoded
}

// ParseAddressList reads the value of From, To, Cc and their like (RFC 5322
// 3.4), groups included; an empty group gives no mailbox. Mailboxes whose
// address is not valid by RFC 5321 are left out, and complete is false.
func ParseAddressList(value string) (list []Mailbox, complete bool) {
	if strings.TrimSpace(value) == "" {
		return nil, true
	}
	p := mail.AddressParser{WordDecoder: &stdmime.WordDecoder{CharsetReader: charsetReader}}
	found, err := p.ParseList(value)
	if err != nil {
		return nil, emptyGroup(value)
	}
	complete = true
	for _, a := range found {
		addr, err := core.ParseAddress(quoteAddress(a.Address))
		if err != nil {
			complete = false
			continue
		}
		list = append(list, Mailbox{Address: addr, Display: a.Name})
	}
	return list, complete
}

// emptyGroup recognises "undisclosed-recipients:;" (RFC 5322 3.4).
func emptyGroup(value string) bool {
	name, rest, ok := strings.Cut(value, ":")
	return ok && !strings.ContainsAny(name, "@<>,;") && strings.TrimSpace(rest) == ";"
}

// quoteAddress puts a local part back in quotes that net/mail took off.
func quoteAddress(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	return core.QuoteLocal(s[:i]) + s[i:]
}

// Addresses are the mailboxes of all fields of the given names.
func (h *Header) Addresses(names ...string) []Mailbox {
	var out []Mailbox
	for _, name := range names {
		for _, v := range h.All(name) {
			list, _ := ParseAddressList(v)
			out = append(out, list...)
		}
	}
	return out
}

// FormatMailbox writes a mailbox for a header field.
func FormatMailbox(m Mailbox) string {
	if m.Display == "" {
		return string(m.Address)
	}
	display := EncodeWords(m.Display)
	if display == m.Display && strings.ContainsAny(display, `()<>[]:;@\,."`) {
		display = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(display) + `"`
	}
	return display + " " + m.Address.Path()
}
