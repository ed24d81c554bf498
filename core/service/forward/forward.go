// Package forward reads the addresses to which an account forwards its mail: of
// one address, or of the text of a .forward file.
package forward

import (
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
)

// ParseAddress reads one address, with or without a display name.
func ParseAddress(text string) (envelope.Address, bool) {
	list, complete := mime.ParseAddressList(text)
	if !complete || len(list) != 1 {
		return "", false
	}
	return list[0].Address, true
}

// ParseFile reads the addresses in the text of a .forward file. Commas and line
// ends separate them; # at the beginning of a line makes it a comment. A name
// without a domain is one of the owner's domain, and \name is the owner. Pipes,
// files and :include: are ignored. bad is the first item that is not valid.
func ParseFile(owner envelope.Address, text string) (list []envelope.Address, bad string) {
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
			a, ok := ParseAddress(full)
			if !ok {
				return nil, item
			}
			list = append(list, a)
		}
	}
	return list, ""
}
