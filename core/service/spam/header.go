package spam

import (
	"strconv"
	"strings"

	"carteiro/core/message/mime"
)

// kept returns the fields that say something about the message rather than about
// the way that it took. Their words count among those of the text, and a
// message stripped of all others is judged as before.
func kept(name string) bool {
	switch name {
	case "subject", "from", "reply-to", "mime-version", "x-mailer":
		return true
	}
	return strings.HasPrefix(name, "content-")
}

// ignored are fields that mailboxes, filters and we ourselves add: a model
// that learns them learns the verdict.
func ignored(name string) bool {
	switch name {
	case "status", "x-status", "x-keywords", "x-uid", "lines", "content-length", "authentication-results", "x-bogosity", "dkim-signature",
		"arc-seal", "arc-message-signature", "arc-authentication-results":
		return true
	}
	return strings.HasPrefix(name, "x-spam") || strings.HasPrefix(name, "x-rspamd") || strings.HasPrefix(name, "x-virus") ||
		strings.HasPrefix(name, "x-carteiro")
}

// ours reports whether a field says to whom a message went and through which list.
// Such fields distinguish the mail of one account from that of others, and mislead as
// soon as mail comes by another route. A sender can write them at will.
func ours(name string) bool {
	switch name {
	case "to", "cc", "bcc", "apparently-to", "delivered-to", "envelope-to", "x-envelope-to", "x-original-to", "x-rcpt-to",
		"resent-to", "resent-cc", "return-path", "sender", "errors-to", "precedence", "mailing-list", "x-mailing-list",
		"x-beenthere", "x-loop":
		return true
	}
	return strings.HasPrefix(name, "list-") || strings.HasPrefix(name, "x-mailman-")
}

// header reads the header section: the fields that are kept as words, all
// others as sequences of letters.
func (x *extractor) header(h *mime.Header) {
	x.letter = append(x.letter[:0], ' ')
	seen := map[string]bool{}
	others := false
	for i, f := range h.Fields() {
		name := strings.ToLower(f.Name())
		if i >= maxFields {
			break
		}
		if name == "" || ignored(name) || ours(name) {
			continue
		}
		value := mime.DecodeWords(f.Value())
		if kept(name) {
			seen[name] = true
			x.keptField(name, value)
			value = ""
		} else {
			others = true
		}
		x.letter = squeeze(x.letter, []byte(name+":"+value[:min(len(value), maxField)]+"\n"), maxHead)
	}
	if others {
		x.gram5(x.letter)
	}
	for _, name := range []string{"x-mailer", "mime-version", "content-type", "reply-to", "subject", "from", "content-transfer-encoding"} {
		if !seen[name] {
			x.tag("without", name)
		}
	}
}

func (x *extractor) keptField(name, value string) {
	switch name {
	case "subject":
		x.subject(value)
	case "from", "reply-to":
		x.mailbox(name, value)
	case "content-type", "content-transfer-encoding", "mime-version", "content-disposition", "x-mailer", "content-class", "content-language":
		v := strings.ToLower(value)
		if i := strings.Index(v, "boundary="); i >= 0 {
			x.tag("boundary", shape(strings.Trim(v[i+9:], `"`)))
			v = v[:i]
		}
		x.tag("has", name)
		v = zeros(v[:min(len(v), maxField)])
		x.tag(name, "=", v)
		x.fieldWords(name, v)
	default:
		x.tag("has", name)
	}
}

func (x *extractor) fieldWords(name, value string) {
	eachWord([]byte(value), func(w []byte, _ bool) bool {
		x.word = appendNormal(x.word[:0], w)
		x.sets[words].add(hashStart.text(name).text(string(x.word)).id())
		return true
	})
}

func (x *extractor) subject(value string) {
	value = dropInvisible(value[:min(len(value), 2000)])
	before, any := hashStart, false
	eachWord([]byte(value), func(w []byte, loud bool) bool {
		x.word = appendNormal(x.word[:0], w)
		word := string(x.word)
		x.tag("subject", word)
		x.sets[words].add(hashStart.text(word).id())
		if any {
			x.sets[words].add(before.text(word).id())
		}
		before, any = hashStart.text("subject2").text(word), true
		if loud {
			x.tag("subject", "LOUD")
		}
		return true
	})
	trimmed := strings.TrimSpace(value)
	if any && strings.ToUpper(value) == value {
		x.tag("subject", "ALL LOUD")
	}
	if trimmed != "" {
		x.tag("subject", "ends", trimmed[len(trimmed)-1:])
	}
	if strings.Contains(value, "     ") {
		x.tag("subject", "gap")
	}
	x.fieldLetters(value, 's')
}

// mailbox reads From or Reply-To.
func (x *extractor) mailbox(name, value string) {
	value = value[:min(len(value), 1000)]
	display, address := value, ""
	if i := strings.LastIndexByte(value, '<'); i >= 0 {
		display, address = value[:i], strings.Trim(value[i:], "<> ")
	} else if strings.Contains(value, "@") {
		address, display, _ = strings.Cut(value, "(")
	}
	x.fieldWords(name, dropInvisible(display))
	switch {
	case strings.TrimSpace(display) == "":
		x.tag(name, "no name")
	case strings.Contains(display, `"`):
		x.tag(name, "quoted")
	}
	address = strings.ToLower(strings.TrimSpace(address))
	local, domain, _ := strings.Cut(address, "@")
	x.tag(name, "address", address)
	x.tag(name, "local", shape(local))
	for rest := domain; rest != ""; {
		x.tag(name, "domain", rest)
		_, rest, _ = strings.Cut(rest, ".")
	}
	x.fieldLetters(value, uint32(name[0]))
}

func (x *extractor) fieldLetters(value string, salt uint32) {
	b := append(make([]byte, 0, len(value)+2), ' ')
	b = append(squeeze(b, []byte(value), 2000), ' ')
	x.gram4(b, salt)
}

// shape returns the form of a made-up text: runs of letters and of digits as one,
// the other characters as they are, 12 at most.
func shape(s string) string {
	var b []byte
	for i := 0; i < len(s) && len(b) < 12; i++ {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			c = '9'
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			c = 'a'
		}
		if len(b) == 0 || b[len(b)-1] != c {
			b = append(b, c)
		}
	}
	return string(b)
}

// zeros makes every digit a zero.
func zeros(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '0'
		}
		return r
	}, s)
}

// magnitude returns the number of binary digits of n.
func magnitude(n int) string {
	b := 0
	for ; n > 0; n /= 2 {
		b++
	}
	return strconv.Itoa(b)
}
