package hooks

import (
	"fmt"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// mailbox reads an address with or without a name.
func mailbox(text string) (envelope.Address, bool) {
	list, complete := mime.ParseAddressList(text)
	if !complete || len(list) != 1 {
		return "", false
	}
	return list[0].Address, true
}

// forwardFile reads the addresses in the text of a .forward file: between
// commas and line ends, a name alone being one of the owner's domain, \name the
// owner. # begins a comment; programs, files and :include: count for nothing.
// bad is the first item that is nothing of that.
func forwardFile(owner envelope.Address, text string) (list []envelope.Address, bad string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			continue
		}
		for item := range strings.SplitSeq(line, ",") {
			item = strings.TrimSpace(item)
			if len(item) > 1 && item[0] == '"' && item[len(item)-1] == '"' {
				item = item[1 : len(item)-1]
			}
			if item == "" || strings.ContainsRune("|/:", rune(item[0])) {
				continue
			}
			if item[0] == '\\' {
				list = append(list, owner)
				continue
			}
			full := item
			if !strings.Contains(item, "@") {
				full += "@" + owner.Domain()
			}
			a, ok := mailbox(full)
			if !ok {
				return nil, item
			}
			list = append(list, a)
		}
	}
	return list, ""
}

// others tells whether a value names nobody but the account itself.
func (f Field) others(owner envelope.Address, name string, v any) error {
	var list []envelope.Address
	switch v := v.(type) {
	case string:
		if f.Type == "addresses" {
			list, _ = forwardFile(owner, v)
		} else if a, ok := mailbox(v); ok {
			list = []envelope.Address{a}
		}
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok {
				if a, ok := mailbox(s); ok {
					list = append(list, a)
				}
			}
		}
	}
	for _, a := range list {
		if a.Base() != owner.Base() {
			return nil
		}
	}
	return fmt.Errorf("%w: %s names nobody but %s itself", ErrSetting, name, owner.Base())
}
