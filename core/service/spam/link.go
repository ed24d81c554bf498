package spam

import (
	"strconv"
	"strings"
)

// plainLinks finds the links in text.
func (x *extractor) plainLinks(s string) {
	for {
		i := strings.Index(s, "://")
		if i < 0 || x.links > maxLinks {
			return
		}
		start := i
		for start > 0 && start > i-5 && (s[start-1]|0x20) >= 'a' && (s[start-1]|0x20) <= 'z' {
			start--
		}
		end := i + 3
		for end < len(s) && s[end] > ' ' && strings.IndexByte(`<>"')`, s[end]) < 0 {
			end++
		}
		x.link(strings.ToLower(s[start:end]), "text")
		s = s[end:]
	}
}

// link adds features for the target of a link, in lower case, and for tricks in it.
func (x *extractor) link(u, tag string) {
	x.links++
	scheme, rest, ok := strings.Cut(u, ":")
	if !ok {
		x.mark("relative", tag)
		return
	}
	x.mark("link", tag, scheme)
	switch scheme {
	case "mailto":
		_, domain, _ := strings.Cut(rest, "@")
		domain, _, query := strings.Cut(domain, "?")
		x.mark("mailto", domain)
		if query {
			x.mark("mailto query")
		}
	case "http", "https":
		rest = strings.TrimLeft(rest, "/")
		end := len(rest)
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			end = i
		}
		x.host(rest[:end], tag)
		x.path(rest[end:], tag)
	}
}

func (x *extractor) host(host, tag string) {
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		x.mark("link with user")
		host = host[i+1:]
	}
	host, port, ok := strings.Cut(host, ":")
	if ok {
		x.mark("port", port)
	}
	if strings.Trim(host, "0123456789.") == "" {
		x.mark("link to address", tag)
	}
	if strings.Contains(host, "%") {
		x.mark("escaped host")
	}
	n := 1
	for rest, more := host, true; more && n <= 10; n++ {
		x.mark("host", rest)
		_, rest, more = strings.Cut(rest, ".")
	}
	x.mark("labels", strconv.Itoa(n))
}

func (x *extractor) path(path, tag string) {
	if strings.Contains(path, "?") {
		x.mark("query", tag)
	}
	start := -1
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] >= 'a' && path[i] <= 'z' {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 && i-start > 1 && i-start < 20 {
			x.mark("path", path[start:i])
		}
		start = -1
	}
}
