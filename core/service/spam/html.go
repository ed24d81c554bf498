package spam

import (
	"strings"

	"golang.org/x/net/html"
)

// hypertext appends the text that a reader of the HTML sees, and marks what
// the HTML is made of.
func (x *extractor) hypertext(out []byte, s string) []byte {
	z := html.NewTokenizer(strings.NewReader(s))
	var hidden hiding
	for {
		switch z.Next() {
		case html.ErrorToken:
			return out
		case html.TextToken:
			if hidden.depth == 0 {
				at := len(out)
				out = append(out, dropInvisible(string(z.Text()))...)
				x.plainLinks(string(out[at:]))
			}
		case html.CommentToken:
			x.mark("comment")
		case html.StartTagToken:
			name, more := z.TagName()
			tag := string(name)
			if x.element(z, tag, more) && !isVoidElement(tag) {
				x.mark("hidden text")
				hidden.enter(tag)
			} else {
				hidden.open(tag)
			}
			out = line(out, tag)
		case html.SelfClosingTagToken:
			name, more := z.TagName()
			x.element(z, string(name), more)
			out = line(out, string(name))
		case html.EndTagToken:
			name, _ := z.TagName()
			hidden.close(string(name))
		}
	}
}

// hiding follows one element that is not shown: what is inside of it is not
// either.
type hiding struct {
	tag   string
	depth int
}

func (h *hiding) enter(tag string) {
	if h.depth == 0 {
		h.tag, h.depth = tag, 1
	} else {
		h.open(tag)
	}
}

func (h *hiding) open(tag string) {
	switch {
	case h.depth > 0 && tag == h.tag:
		h.depth++
	case h.depth == 0 && (tag == "script" || tag == "style" || tag == "title"):
		h.tag, h.depth = tag, 1
	}
}

func (h *hiding) close(tag string) {
	if h.depth > 0 && tag == h.tag {
		h.depth--
	}
}

// isVoidElement elements have no end and so hide nothing.
func isVoidElement(tag string) bool {
	switch tag {
	case "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr":
		return true
	}
	return false
}

func line(out []byte, tag string) []byte {
	switch tag {
	case "p", "div", "br", "tr", "td", "li", "h1", "h2", "h3", "table":
		return append(out, '\n')
	}
	return out
}

// element marks a tag with its attributes and reports whether it hides its
// content.
func (x *extractor) element(z *html.Tokenizer, tag string, more bool) (hides bool) {
	x.mark("tag", tag)
	for more {
		var k, v []byte
		k, v, more = z.TagAttr()
		key, value := string(k), strings.ToLower(strings.TrimSpace(string(v)))
		x.mark("attribute", tag, key)
		switch key {
		case "href", "src", "action", "background":
			x.link(value, tag)
		case "hidden":
			hides = true
		case "style":
			hides = hides || isHiddenStyle(value)
			fallthrough
		case "color", "bgcolor", "size", "face", "width", "height", "align", "border", "method", "type", "http-equiv", "content", "name":
			if len(value) < 60 {
				x.mark("value", tag, key, value)
			}
		}
	}
	return hides
}

// isHiddenStyle reports a style that shows nothing.
func isHiddenStyle(style string) bool {
	style = strings.ReplaceAll(style, " ", "")
	for _, s := range []string{"display:none", "visibility:hidden", "font-size:0", "opacity:0;", "max-height:0", "mso-hide:all"} {
		if strings.Contains(style, s) {
			return true
		}
	}
	return strings.HasSuffix(style, "opacity:0")
}
