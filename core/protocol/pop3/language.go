package pop3

import "strings"

// UTF8 is UTF8 (RFC 6856 2.1): the client takes messages with UTF-8 in their
// header sections. They are sent as they are in any case, so that this is all.
func (s *session) UTF8(cmd command) bool {
	if cmd.hasArg {
		return s.protocolError("UTF8 takes no argument")
	}
	return s.ok("UTF-8 is enabled")
}

// LANG is LANG (RFC 6856 3): the texts of replies are English.
func (s *session) LANG(cmd command) bool {
	if !cmd.hasArg {
		s.ok("languages follow")
		s.c.Writer().WriteString("en English\r\ni-default i-default\r\n.\r\n")
		return true
	}
	tag, _, _ := strings.Cut(strings.ToLower(cmd.arg), "-")
	switch {
	case strings.Contains(cmd.arg, " "):
		return s.protocolError("syntax: LANG [language]")
	case cmd.arg == "*" || strings.EqualFold(cmd.arg, "i-default"):
		return s.ok("i-default language is English")
	case tag == "en":
		return s.ok("en language is English")
	}
	return s.protocolError("this language is not available")
}
