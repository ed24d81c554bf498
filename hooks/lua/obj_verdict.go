package lua

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

// verdictFunctions make verdicts. A verdict counts when a handler returns it.
var verdictFunctions = []function{
	{
		name:   "accept",
		call:   verdictAccept,
		sig:    "accept([identity])",
		doc:    "ends this tier and the tiers below it; at receive.auth, identity says who logged in",
		bounds: bounds{"identity": asUser},
	},
	{name: "reject", call: verdictReject, sig: "reject([code, enhanced,] text)", doc: "refuses permanently, 550 5.7.1 by default"},
	{name: "defer", call: verdictDefer, sig: "defer([code, enhanced,] text)", doc: "refuses temporarily, 451 4.7.1 by default"},
	{name: "disconnect", call: verdictDisconnect, sig: "disconnect([text])", doc: "replies 421 and closes the connection"},
	{name: "discard", call: verdictDiscard, sig: "discard(reason)", doc: "accepts the mail and deletes it"},
	{name: "quarantine", call: verdictQuarantine, sig: "quarantine(reason)", doc: "accepts the mail and keeps it in quarantine until an " +
		"admin releases it"},
	{name: "hold", call: verdictHold, sig: "hold(reason)", doc: "keeps the mail in the queue until an operator releases it"},
	{name: "schedule", call: verdictSchedule, sig: "schedule(time)", doc: "no delivery attempt before that time"},
	{name: "keep", call: verdictKeep, sig: "keep([flags])", doc: "delivers into the default folder"},
	{name: "fileinto", call: verdictFileInto, sig: "fileinto(folder, [flags])", doc: "delivers into that folder"},
	{name: "redirect", call: verdictRedirect, sig: "redirect(address)", doc: "sends the mail to that address instead"},
	{
		name: "route",
		call: verdictRoute,
		sig:  "route{ hosts =, port =, tls =, lmtp =, source =, user =, ttl = }",
		doc: `the next hop; tls is "may", "verify" or "none". Without hosts, the hosts of the configuration or of the MX records are used, ` +
			"in their order and with the server's checks, and source, tls, user, password and port apply to them",
	},
	{name: "reroute", call: verdictReroute, sig: "reroute{ hosts =, ... }", doc: "like route, for mail that is already queued"},
	{name: "retry", call: verdictRetry, sig: "retry(seconds)", doc: "tries again after so many seconds"},
	{name: "fail", call: verdictFail, sig: "fail(text)", doc: "gives up; the DSN says why"},
	{name: "nodsn", call: verdictNoDSN, sig: "nodsn()", doc: "sends no DSN for this outcome"},
	{
		name: "response",
		call: verdictResponse,
		sig:  "response{ status = 200, type = \"text/html\", body = \"\", headers = {} }",
		doc: "the answer to an HTTP request or to a command. For a command the default type is text/plain, and a status of 400 or more " +
			"means that it failed, with the body as the reason",
	},
}

// verdictActions finds the action of a verdict function.
var verdictActions = map[string]hooks.Action{"accept": hooks.Accept, "reject": hooks.Reject, "defer": hooks.Defer,
	"disconnect": hooks.Disconnect, "discard": hooks.Discard, "quarantine": hooks.Quarantine, "hold": hooks.Hold,
	"schedule": hooks.Schedule, "keep": hooks.Keep, "fileinto": hooks.FileInto, "redirect": hooks.Redirect,
	"route": hooks.RouteTo, "reroute": hooks.Reroute, "retry": hooks.Retry, "fail": hooks.Fail, "nodsn": hooks.NoDSN,
	"response": hooks.Respond}

// verdictOf reads what a handler returned.
func verdictOf(v glua.LValue) (*hooks.Verdict, error) {
	if v == glua.LNil {
		return nil, nil
	}
	if ud, ok := v.(*glua.LUserData); ok {
		if v, ok := ud.Value.(*hooks.Verdict); ok {
			return v, nil
		}
	}
	if v == glua.LFalse || v == glua.LTrue {
		return nil, fmt.Errorf("a handler returns a verdict or nothing, not %s", v.String())
	}
	return nil, fmt.Errorf("a handler returns a verdict such as reject(...) or nothing, not a %s", typeOf(v))
}

func pushVerdict(L *glua.LState, v hooks.Verdict) int {
	if c := stateOf(L).call; c != nil && !c.handler.spec.Allows(v.Action) {
		c.wrongVerdictAt = caller(L, 1)
	}
	L.Push(&glua.LUserData{Value: &v, Metatable: stateOf(L).metatable, Env: L.Env})
	return 1
}

// statusArguments reads ([code, enhanced,] text) and checks the code's class.
func statusArguments(L *glua.LState, name string, code int, enhanced, text string) envelope.Status {
	s := envelope.Status{Code: code, Enhanced: enhanced, Text: text}
	class := code / 100
	n := L.GetTop()
	if _, ok := L.Get(1).(glua.LNumber); ok {
		c, ok := wholeNumber(L.Get(1))
		if !ok || int(c)/100 != class || c < 0 {
			L.RaiseError("%s: code must be %d00..%d99, got %s", name, class, class, tostringPlain(L.Get(1)))
		}
		s.Code = int(c)
		s.Enhanced = ""
		if n >= 3 {
			s.Enhanced = stringArgument(L, 2, name, "enhanced code")
			if !envelope.ValidEnhanced(s.Enhanced) || int(s.Enhanced[0]-'0') != class {
				L.RaiseError("%s: enhanced code must be like %d.7.1, got %q", name, class, s.Enhanced)
			}
		}
	} else if n > 1 {
		L.RaiseError("%s: expected %s([code, enhanced,] text)", name, name)
	}
	if n > 0 {
		s.Text = oneLine(L, n, name)
	}
	return s
}

// oneLine is argument n as a text that fits into a reply.
func oneLine(L *glua.LState, n int, name string) string {
	s := stringArgument(L, n, name, "text")
	lineArgument(L, name+": text", s)
	if len(s) > 400 {
		L.RaiseError("%s: text has %d octets, 400 are allowed", name, len(s))
	}
	return s
}

// stringArgument is argument n, a string.
func stringArgument(L *glua.LState, n int, name, what string) string {
	v := L.Get(n)
	if !stringable(v) {
		L.RaiseError("%s: %s must be a string, got %s", name, what, typeOf(v))
	}
	return tostringPlain(v)
}

func verdictReject(L *glua.LState) int {
	return pushVerdict(L, hooks.Verdict{Action: hooks.Reject, Status: statusArguments(L, "reject", 550, "5.7.1", "refused by local policy")})
}

func verdictDefer(L *glua.LState) int {
	return pushVerdict(L, hooks.Verdict{Action: hooks.Defer, Status: statusArguments(L, "defer", 451, "4.7.1", "deferred by local policy")})
}

func verdictDisconnect(L *glua.LState) int {
	s := envelope.Status{Code: 421, Enhanced: "4.7.0", Text: "closing the connection", Close: true}
	if L.GetTop() > 0 {
		s.Text = oneLine(L, 1, "disconnect")
	}
	return pushVerdict(L, hooks.Verdict{Action: hooks.Disconnect, Status: s})
}

func verdictFail(L *glua.LState) int {
	s := envelope.Status{Code: 550, Enhanced: "5.7.1", Text: oneLine(L, 1, "fail")}
	return pushVerdict(L, hooks.Verdict{Action: hooks.Fail, Status: s})
}

func verdictAccept(L *glua.LState) int {
	v := hooks.Verdict{Action: hooks.Accept}
	switch a := L.Get(1).(type) {
	case *glua.LNilType:
	case glua.LString:
		v.Identity = map[string]any{"user": string(a)}
	case *glua.LTable:
		x, err := toPlain(a)
		m, ok := x.(map[string]any)
		if err != nil || !ok || plainSize(m) > 16<<10 {
			L.RaiseError("accept: identity must be a table of plain data")
		}
		v.Identity = m
	default:
		L.RaiseError("accept: identity must be a table or an address, got %s", typeOf(a))
	}
	if user, ok := v.Identity["user"]; ok {
		s, ok := user.(string)
		if !ok || s == "" {
			L.RaiseError("accept: identity.user must be an address")
		}
		lineArgument(L, "accept: identity.user", s)
	}
	return pushVerdict(L, v)
}

func verdictDiscard(L *glua.LState) int    { return pushWithReason(L, "discard", hooks.Discard) }
func verdictQuarantine(L *glua.LState) int { return pushWithReason(L, "quarantine", hooks.Quarantine) }
func verdictHold(L *glua.LState) int       { return pushWithReason(L, "hold", hooks.Hold) }

func pushWithReason(L *glua.LState, name string, a hooks.Action) int {
	return pushVerdict(L, hooks.Verdict{Action: a, Reason: oneLine(L, 1, name)})
}

func verdictSchedule(L *glua.LState) int {
	n, ok := L.Get(1).(glua.LNumber)
	if !ok || float64(n) != float64(n) || n < 0 || n > 1e11 {
		L.RaiseError("schedule: time must be Unix seconds, got %s", tostringPlain(L.Get(1)))
	}
	return pushVerdict(L, hooks.Verdict{Action: hooks.Schedule, At: unixTime(float64(n))})
}

func unixTime(f float64) time.Time {
	sec, frac := math.Modf(f)
	return time.Unix(int64(sec), int64(frac*1e9))
}

func verdictRetry(L *glua.LState) int {
	d := durationArgument(L, L.Get(1), "retry")
	if d < time.Second {
		L.RaiseError("retry: at least a second, got %s", tostringPlain(L.Get(1)))
	}
	return pushVerdict(L, hooks.Verdict{Action: hooks.Retry, Delay: d})
}

// durationArgument reads "5m" or seconds; at most ten years.
func durationArgument(L *glua.LState, v glua.LValue, name string) time.Duration {
	d, err := parseDuration(v)
	if err != nil {
		L.RaiseError("%s: %s", name, err.Error())
	}
	return d
}

func parseDuration(v glua.LValue) (time.Duration, error) {
	const most = 10 * 366 * 24 * time.Hour
	var d time.Duration
	switch v := v.(type) {
	case glua.LNumber:
		if float64(v) != float64(v) || v < 0 || float64(v) > most.Seconds() {
			return 0, fmt.Errorf("a duration must be from 0 to ten years, got %s s", formatNumber(float64(v)))
		}
		return time.Duration(float64(v) * float64(time.Second)), nil
	case glua.LString:
		s := string(v)
		if n, ok := strings.CutSuffix(s, "d"); ok {
			f, err := strconv.ParseFloat(n, 64)
			if err != nil || f != f {
				return 0, fmt.Errorf("a duration is like \"5m\", \"36h\" or \"7d\", got %q", s)
			}
			d = time.Duration(math.Min(f, 1e5) * 24 * float64(time.Hour))
		} else if x, err := time.ParseDuration(s); err == nil {
			d = x
		} else {
			return 0, fmt.Errorf("a duration is like \"5m\", \"36h\" or \"7d\", got %q", s)
		}
	default:
		return 0, fmt.Errorf("a duration must be seconds or a text like \"5m\", got %s", typeOf(v))
	}
	if d < 0 || d > most {
		return 0, fmt.Errorf("a duration must be from 0 to ten years, got %s", d)
	}
	return d, nil
}

func verdictKeep(L *glua.LState) int {
	return pushVerdict(L, hooks.Verdict{Action: hooks.Keep, Flags: flagsArgument(L, 1, "keep")})
}

func verdictFileInto(L *glua.LState) int {
	folder := oneLine(L, 1, "fileinto")
	if !validFolder(folder) {
		L.RaiseError("fileinto: %q is not the name of a folder", folder)
	}
	return pushVerdict(L, hooks.Verdict{Action: hooks.FileInto, Folder: folder, Flags: flagsArgument(L, 2, "fileinto")})
}

// validFolder: one or more names separated by "/", without control characters.
func validFolder(s string) bool {
	if s == "" || len(s) > 200 {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

// flagsArgument reads a flag or a list of flags such as "\\Seen".
func flagsArgument(L *glua.LState, n int, name string) []string {
	if L.Get(n) == glua.LNil {
		return nil
	}
	list := stringList(L, L.Get(n), name+": flags")
	for _, f := range list {
		if f == "" || len(f) > 60 || strings.ContainsAny(f, " \t(){%*\"]") || controlIndex(f) >= 0 {
			L.RaiseError("%s: %q is not a flag", name, f)
		}
	}
	return list
}

// stringList reads a string or a list of strings, at most 1000.
func stringList(L *glua.LState, v glua.LValue, name string) []string {
	return longList(L, v, name, hooks.FreeRecipients)
}

// longList is stringList with another limit.
func longList(L *glua.LState, v glua.LValue, name string, most int) []string {
	switch v := v.(type) {
	case glua.LString:
		return []string{string(v)}
	case *glua.LTable:
		n := length(stateOf(L), v)
		if n > most {
			L.RaiseError("%s: more than %d entries", name, most)
		}
		list := make([]string, n)
		for i := range n {
			s, ok := at(v, i+1).(glua.LString)
			if !ok {
				L.RaiseError("%s: entry %d must be a string, got %s", name, i+1, typeOf(at(v, i+1)))
			}
			list[i] = string(s)
		}
		return list
	}
	L.RaiseError("%s must be a string or a list of strings, got %s", name, typeOf(v))
	return nil
}

func verdictRedirect(L *glua.LState) int {
	stateOf(L).source.requireRight(L, hooks.RecipientsAdd, "redirect")
	return pushVerdict(L, hooks.Verdict{Action: hooks.Redirect, Address: addressArgument(L, L.Get(1), "redirect")})
}

// addressArgument reads an address in canonical form.
func addressArgument(L *glua.LState, v glua.LValue, name string) envelope.Address {
	s, ok := v.(glua.LString)
	if !ok {
		L.RaiseError("%s: address must be a string, got %s", name, typeOf(v))
	}
	a, err := envelope.ParseAddress(string(s))
	if err != nil {
		L.RaiseError("%s: %q: %s", name, string(s), err.Error())
	}
	return a
}

// senderArgument reads an address or "", the null sender.
func senderArgument(L *glua.LState, v glua.LValue, name string) envelope.Address {
	if v == glua.LString("") {
		return ""
	}
	return addressArgument(L, v, name)
}

func verdictRoute(L *glua.LState) int {
	return pushVerdict(L, hooks.Verdict{Action: hooks.RouteTo, Route: routeArgument(L, "route")})
}

func verdictReroute(L *glua.LState) int {
	return pushVerdict(L, hooks.Verdict{Action: hooks.Reroute, Route: routeArgument(L, "reroute")})
}

// routeArgument reads the table of route and reroute.
func routeArgument(L *glua.LState, name string) *hooks.Route {
	t, ok := L.Get(1).(*glua.LTable)
	if !ok {
		L.RaiseError("%s: expected %s{ hosts = {...} }, got %s", name, name, typeOf(L.Get(1)))
	}
	r := &hooks.Route{}
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		key := tostringPlain(k)
		switch key {
		case "hosts", "host":
			r.Hosts = stringList(L, v, name+": hosts")
		case "port":
			n, ok := wholeNumber(v)
			if !ok || n < 1 || n > 65535 {
				L.RaiseError("%s: port must be 1..65535, got %s", name, tostringPlain(v))
			}
			r.Port = int(n)
		case "tls":
			r.TLS = tostringPlain(v)
			if r.TLS != "may" && r.TLS != "verify" && r.TLS != "none" {
				L.RaiseError(`%s: tls must be "may", "verify" or "none", got %s`, name, tostringPlain(v))
			}
		case "lmtp":
			r.LMTP = glua.LVAsBool(v)
		case "source":
			if _, err := netip.ParseAddr(tostringPlain(v)); err != nil {
				L.RaiseError("%s: source must be an IP address, got %s", name, tostringPlain(v))
			}
			r.Source = tostringPlain(v)
		case "user":
			r.User = lineArgument(L, name+": user", tostringPlain(v))
		case "password":
			if name == "reroute" { // it is stored with the recipient, where no password belongs
				L.RaiseError("reroute cannot have a password; use route, or a nexthop of the configuration")
			}
			r.Password = lineArgument(L, name+": password", tostringPlain(v))
		case "ttl":
			r.TTL = durationArgument(L, v, name+": ttl")
		default:
			L.RaiseError("%s: unknown field %s%s", name, key, hooks.Suggestion(key, []string{"hosts", "port", "tls", "lmtp", "source", "user",
				"password", "ttl"}))
		}
	}
	if len(r.Hosts) == 0 && (t.RawGetString("hosts") != glua.LNil || t.RawGetString("host") != glua.LNil) {
		L.RaiseError("%s: hosts must name at least one host", name)
	}
	if amends := r.Source != "" || r.TLS != "" || r.User != "" || r.Port != 0; len(r.Hosts) == 0 && (!amends || r.LMTP) {
		L.RaiseError("%s: without hosts it needs source, tls, user or port; the hosts of the server are used then", name)
	}
	for _, h := range r.Hosts {
		if h == "" || strings.ContainsAny(h, " \t") || controlIndex(h) >= 0 || len(h) > 260 {
			L.RaiseError("%s: %q is not a host", name, h)
		}
		if host, port, err := net.SplitHostPort(h); err == nil {
			if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" {
				L.RaiseError("%s: %q is not a host and port", name, h)
			}
		}
	}
	return r
}

func verdictNoDSN(L *glua.LState) int { return pushVerdict(L, hooks.Verdict{Action: hooks.NoDSN}) }
