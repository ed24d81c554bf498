package lua

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"regexp"
	"strings"

	glua "github.com/yuin/gopher-lua"
	"golang.org/x/net/html"

	"carteiro/core/message/mime"
	"carteiro/core/message/qrcode"
	"carteiro/hooks"
)

// Limits of text taken from a message, in octets.
const (
	defaultText = 256 << 10
	maxText     = 4 << 20
	maxURLs     = 500
)

// Limits of pictures that are searched for codes: the largest in octets, and
// the pixels of all in one call.
const (
	maxPicture = 2 << 20
	maxPixels  = 2 * qrcode.MaxPixels
)

// part is one leaf of a message.
type part struct {
	msg *hooks.Message
	n   int // in the index
	mime.Part
}

func partOf(o *object) *part { return o.v.(*part) }

var partClass = class{name: "part", doc: "one part of a message that has content",
	fields: []field{
		textField("type", "\"text/plain\", in lower case", func(o *object) string { return partOf(o).Type }),
		optionalField("charset", "declared charset or nil", func(o *object) string { return partOf(o).Charset }),
		optionalField("filename", "decoded name without folders, or nil", func(o *object) string { return partOf(o).Filename }),
		optionalField("disposition", "\"inline\", \"attachment\" or nil", func(o *object) string { return partOf(o).Disposition }),
		numberField("size", "octets, still in the transfer encoding",
			func(o *object) float64 { return float64(partOf(o).End - partOf(o).Start) }),
	},
	methods: []function{
		{name: "text", call: partText, sig: "text([max])", doc: "content as UTF-8 text"},
		{name: "bytes", call: partBytes, sig: "bytes([max])", doc: "content, without the transfer encoding"},
		{name: "sha256", call: partSHA256, sig: "sha256()", doc: "hexadecimal SHA-256 of the content"},
		{
			name: "qr_code",
			call: partQRCode,
			sig:  "qr_code()",
			doc: "the text of the QR code in a picture (PNG, JPEG, GIF), or nil; skips pictures of more than 2 MiB or one million pixels, and " +
				"all pictures after two million pixels in one call",
		},
		{name: "replace", call: partReplace, sig: "replace(text)", doc: "replaces the part by a text"},
		{name: "remove", call: partRemove, sig: "remove()", doc: "replaces the part by an empty text"},
	}}

// bodyIndex reads the structure of the body.
func bodyIndex(L *glua.LState, m *hooks.Message) *mime.Index {
	st := stateOf(L)
	if m.Body == nil {
		L.RaiseError("the body is still coming at %s", st.call.event.Point)
	}
	index, err := m.Parts()
	if err != nil {
		L.RaiseError("the body cannot be read: %s", err.Error())
	}
	return index
}

// bodyOf returns the msg that a method is called on, whose body the bundle may
// read.
func bodyOf(L *glua.LState, what string) (*state, *object) {
	st, o := self(L, "msg")
	st.source.requireMessageRight(L, hooks.BodyRead, what)
	return st, o
}

func msgParts(L *glua.LState) int {
	st, o := bodyOf(L, "parts")
	m := msgOf(o)
	index := bodyIndex(L, m)
	i := 0
	L.Push(L.NewFunction(func(L *glua.LState) int {
		st.requireAlive(o)
		for i < len(index.Parts) {
			i++
			if p := index.Parts[i-1]; p.Leaf() {
				L.Push(st.newObject(&partClass, &part{msg: m, n: i - 1, Part: p}))
				return 1
			}
		}
		L.Push(glua.LNil)
		return 1
	}))
	return 1
}

// maxArgument reads an optional limit and pays for that much.
func maxArgument(L *glua.LState, st *state, n int, available int64) int64 {
	limit := int64(optInteger(L, n, defaultText))
	if limit < 0 || limit > maxText {
		L.RaiseError("max must be from 0 to %d octets", maxText)
	}
	st.budget.chargeMemory(L, min(limit, 4*available+64))
	st.budget.chargeSteps(L, min(limit, available)/64)
	return limit
}

func (p *part) read(L *glua.LState, f func(body io.Reader) error) {
	body, err := p.msg.Body()
	if err != nil {
		L.RaiseError("the body cannot be read: %s", err.Error())
	}
	defer body.Close()
	if err := f(body); err != nil {
		L.RaiseError("the part cannot be read: %s", err.Error())
	}
}

func partText(L *glua.LState) int {
	st, o := self(L, "part")
	p := partOf(o)
	limit := maxArgument(L, st, 2, p.End-p.Start)
	var s string
	p.read(L, func(body io.Reader) (err error) { s, err = p.Text(body, limit); return err })
	L.Push(glua.LString(s))
	return 1
}

func partBytes(L *glua.LState) int {
	st, o := self(L, "part")
	p := partOf(o)
	limit := maxArgument(L, st, 2, p.End-p.Start)
	var b []byte
	p.read(L, func(body io.Reader) error {
		r, err := p.Open(body)
		if err != nil {
			return err
		}
		b, err = io.ReadAll(io.LimitReader(r, limit))
		if len(b) > 0 {
			err = nil // what could be decoded
		}
		return err
	})
	L.Push(glua.LString(b))
	return 1
}

func partSHA256(L *glua.LState) int {
	st, o := self(L, "part")
	p := partOf(o)
	st.budget.chargeSteps(L, (p.End-p.Start)/64)
	h := sha256.New()
	p.read(L, func(body io.Reader) error {
		r, err := p.Open(body)
		if err != nil {
			return err
		}
		io.Copy(h, r) // a broken encoding: the digest of what could be decoded
		return nil
	})
	L.Push(glua.LString(hex.EncodeToString(h.Sum(nil))))
	return 1
}

func partQRCode(L *glua.LState) int {
	st, o := self(L, "part")
	if text := partOf(o).qrCode(L, st); text == "" {
		L.Push(glua.LNil)
	} else {
		L.Push(st.budget.newString(L, strings.ToValidUTF8(text, "\uFFFD")))
	}
	return 1
}

// qrCode returns the text of the code in a picture; "" where there is none, or
// where it would cost more than one call may.
func (p *part) qrCode(L *glua.LState, st *state) string {
	st.budget.chargeMemory(L, min(maxPicture, p.End-p.Start))
	var raw []byte
	p.read(L, func(body io.Reader) error {
		r, err := p.Open(body)
		if err == nil {
			raw, err = io.ReadAll(io.LimitReader(r, maxPicture+1))
		}
		if len(raw) > 0 {
			err = nil // what could be decoded
		}
		return err
	})
	n, err := qrcode.Pixels(raw)
	if err != nil || len(raw) > maxPicture || n > qrcode.MaxPixels || st.call.pixels+n > maxPixels {
		return ""
	}
	st.call.pixels += n
	st.budget.chargeSteps(L, n/64)
	text, err := qrcode.Read(raw)
	if err != nil {
		return ""
	}
	return text
}

func partReplace(L *glua.LState) int {
	st, o := self(L, "part")
	st.source.requireRight(L, hooks.BodyWrite, "part:replace")
	s := stringArgument(L, 2, "part:replace", "text")
	raiseIf(L, o.call.event.EditPart(partOf(o).msg, "part replaced",
		mime.PartEdit{Part: partOf(o).n, Text: strings.ToValidUTF8(s, "\uFFFD")}))
	return 0
}

func partRemove(L *glua.LState) int {
	st, o := self(L, "part")
	st.source.requireRight(L, hooks.BodyWrite, "part:remove")
	raiseIf(L, o.call.event.EditPart(partOf(o).msg, "part removed", mime.PartEdit{Part: partOf(o).n, Remove: true}))
	return 0
}

// eachTextPart calls f with the decoded text of each text part until it returns
// false.
func eachTextPart(L *glua.LState, m *hooks.Message, limit int64, f func(isHTML bool, text string) bool) {
	st := stateOf(L)
	index := bodyIndex(L, m)
	for i, leaf := range index.Parts {
		if !leaf.Leaf() || !strings.HasPrefix(leaf.Type, "text/") || leaf.Disposition == "attachment" {
			continue
		}
		st.budget.chargeMemory(L, min(limit, 4*(leaf.End-leaf.Start)))
		st.budget.chargeSteps(L, min(limit, leaf.End-leaf.Start)/32)
		p := part{msg: m, n: i, Part: leaf}
		var s string
		p.read(L, func(body io.Reader) error { s, _ = p.Text(body, limit); return nil })
		if !f(leaf.Type == "text/html", s) {
			return
		}
	}
}

// textOf returns the text of a message, cached for the call.
func textOf(L *glua.LState, m *hooks.Message, limit int64) string {
	st := stateOf(L)
	c := st.call
	if c.hasText && c.textMax == limit {
		return c.text
	}
	var out strings.Builder
	eachTextPart(L, m, limit, func(isHTML bool, s string) bool {
		if isHTML {
			s = stripHTML(s)
		}
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(s[:min(len(s), max(int(limit)-out.Len(), 0))])
		return int64(out.Len()) < limit
	})
	c.text, c.textMax, c.hasText = strings.ToValidUTF8(out.String(), ""), limit, true
	return c.text
}

// stripHTML returns the text a reader would see, roughly.
func stripHTML(s string) string {
	var out strings.Builder
	z := html.NewTokenizer(strings.NewReader(s))
	hidden := 0
	for {
		switch z.Next() {
		case html.ErrorToken:
			return out.String()
		case html.TextToken:
			if hidden == 0 {
				out.Write(z.Text())
			}
		case html.StartTagToken:
			name, _ := z.TagName()
			switch string(name) {
			case "script", "style", "head", "title":
				hidden++
			case "p", "div", "br", "tr", "td", "li", "h1", "h2", "h3":
				out.WriteByte('\n')
			}
		case html.SelfClosingTagToken:
			out.WriteByte('\n')
		case html.EndTagToken:
			name, _ := z.TagName()
			switch string(name) {
			case "script", "style", "head", "title":
				hidden = max(hidden-1, 0)
			}
		}
	}
}

func msgText(L *glua.LState) int {
	_, o := bodyOf(L, "text")
	limit := int64(optInteger(L, 2, defaultText))
	if limit < 0 || limit > maxText {
		L.RaiseError("msg:text: max must be from 0 to %d octets", maxText)
	}
	L.Push(glua.LString(textOf(L, msgOf(o), limit)))
	return 1
}

func msgFind(L *glua.LState) int {
	st, o := bodyOf(L, "find")
	st.source.requireRight(L, hooks.HeadersRead, "msg:find") // it looks into the subject too
	re := regexArgument(L, 2, "msg:find")
	subject, _ := msgOf(o).Header.Get("Subject")
	s := mime.DecodeWords(subject) + "\n"
	if msgOf(o).Body != nil {
		s += textOf(L, msgOf(o), defaultText)
	}
	re.pay(L, st, len(s))
	if m := re.FindString(s); m != "" || re.MatchString(s) {
		L.Push(st.budget.newString(L, m))
	} else {
		L.Push(glua.LNil)
	}
	return 1
}

var (
	linkText = regexp.MustCompile(`(?i)\bhttps?://[^\s<>"'\x60]{1,1000}`)
	linkAttr = regexp.MustCompile(`(?i)\b(?:href|src|action)\s*=\s*["']?\s*((?:https?:|mailto:)[^\s<>"']{1,1000})`)
)

func msgURLs(L *glua.LState) int {
	st, o := bodyOf(L, "urls")
	var list []string
	seen := map[string]bool{}
	add := func(u string) {
		u = strings.TrimRight(u, ".,;:!?)]}")
		if u != "" && !seen[u] && len(list) < maxURLs {
			seen[u] = true
			list = append(list, u)
		}
	}
	eachTextPart(L, msgOf(o), defaultText, func(isHTML bool, s string) bool {
		if isHTML {
			for _, m := range linkAttr.FindAllStringSubmatch(s, maxURLs) {
				add(html.UnescapeString(m[1]))
			}
			s = stripHTML(s)
		}
		for _, u := range linkText.FindAllString(s, maxURLs) {
			add(u)
		}
		return len(list) < maxURLs
	})
	L.Push(st.strings(L, list))
	return 1
}
