package smtpin

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

const xclientAttributes = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

// xclient is what a proxy of ours says about its client (Postfix's
// XCLIENT_README). Nil and invalid fields were not given; empty texts were
// given as not available.
type xclient struct {
	name, helo, login    *string
	esmtp                *bool
	addr, destAddr       netip.Addr
	port, destPort       uint16
	hasPort, hasDestPort bool
}

// XCLIENT replaces what is known about the client. The session is then
// as new: greeted again, without HELO, login or transaction.
func (s *session) XCLIENT(ctx context.Context, arg string) *envelope.Status {
	switch {
	case !s.xclient:
		s.log.Info("command refused", "reason", "XCLIENT from an address that is no proxy of ours")
		return s.protocolError(550, "5.7.0", "XCLIENT is not allowed for you")
	case s.tx != nil:
		return s.protocolError(503, "5.5.1", "Not during a mail transaction")
	}
	x, err := parseXclient(arg)
	if err != nil {
		return s.protocolError(501, "5.5.4", strings.TrimPrefix(err.Error(), errSyntax.Error()+": "))
	}
	s.greeted, s.s.ESMTP, s.s.Helo, s.s.Identity = false, false, "", nil
	x.apply(s)
	return s.banner(ctx)
}

func (x xclient) apply(s *session) {
	remote, local := s.s.Remote, s.s.Local
	if x.addr.IsValid() {
		remote = netip.AddrPortFrom(x.addr, 0)
		s.s.RDNS = ""
	}
	if x.hasPort {
		remote = netip.AddrPortFrom(remote.Addr(), x.port)
	}
	if x.destAddr.IsValid() {
		local = netip.AddrPortFrom(x.destAddr, local.Port())
	}
	if x.hasDestPort {
		local = netip.AddrPortFrom(local.Addr(), x.destPort)
	}
	if x.name != nil {
		s.s.RDNS = *x.name
	}
	if x.helo != nil {
		s.s.Helo = *x.helo
	}
	if x.esmtp != nil {
		s.s.ESMTP = *x.esmtp
	}
	if x.login != nil && *x.login != "" {
		s.s.Identity = &envelope.Identity{User: envelope.Address(*x.login)}
	}
	s.setClient(remote, local)
}

// parseXclient reads "NAME=value ...", the values in xtext. It returns
// errSyntax.
func parseXclient(arg string) (xclient, error) {
	var x xclient
	if arg == "" {
		return x, syntax("XCLIENT needs attributes")
	}
	err := eachParam(arg, func(key, value string, hasValue bool) error {
		if !hasValue {
			return syntax("malformed attribute")
		}
		text, err := decodeXtext(value)
		if err != nil || text == "" || !printable.IsASCII(text) {
			return syntax("bad value")
		}
		if strings.EqualFold(text, "[UNAVAILABLE]") || strings.EqualFold(text, "[TEMPUNAVAIL]") {
			text = ""
		}
		return x.set(key, text)
	})
	return x, err
}

func (x *xclient) set(key, text string) error {
	var err error
	switch key {
	case "NAME", "HELO":
		if text != "" && envelope.CheckDomain(text) != nil {
			return syntax("bad %s", key)
		}
		if key == "NAME" {
			x.name = &text
		} else {
			x.helo = &text
		}
	case "ADDR":
		x.addr, err = xclientAddr(text)
	case "DESTADDR":
		x.destAddr, err = xclientAddr(text)
	case "PORT":
		x.port, err = xclientPort(text)
		x.hasPort = text != ""
	case "DESTPORT":
		x.destPort, err = xclientPort(text)
		x.hasDestPort = text != ""
	case "PROTO":
		esmtp := strings.EqualFold(text, "ESMTP")
		if !esmtp && text != "" && !strings.EqualFold(text, "SMTP") {
			return syntax("bad PROTO")
		}
		x.esmtp = &esmtp
	case "LOGIN":
		if text != "" {
			a, perr := envelope.ParseAddress(text)
			if perr != nil {
				return syntax("bad LOGIN")
			}
			text = string(a)
		}
		x.login = &text
	default:
		return syntax("unknown attribute")
	}
	return err
}

// xclientAddr reads an address, IPv6 with or without Postfix's "IPV6:".
func xclientAddr(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	if len(text) > 5 && strings.EqualFold(text[:5], "IPV6:") {
		text = text[5:]
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, syntax("bad address")
	}
	return a.Unmap(), nil
}

func xclientPort(text string) (uint16, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || text[0] == '+' {
		return 0, syntax("bad port")
	}
	return uint16(n), nil
}
