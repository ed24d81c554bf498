package policytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
)

var (
	sessionShapes = map[string]shape{"ip": isIP, "helo": either(isFalse, isText), "rdns": isText, "listener": isWord,
		"protocol": oneOf("smtp", "submission", "lmtp", "pop3"), "identity": isAddress, "tls": isBool, "trusted": isBool}
	paramShapes = map[string]shape{"size": whole(0, 1<<53), "body": oneOf("7BIT", "8BITMIME", "BINARYMIME"), "smtputf8": isBool,
		"envid": isText,
		"ret":   oneOf("FULL", "HDRS"), "by": whole(-1<<31, 1<<31), "hold_for": whole(0, 1<<31), "priority": whole(-9,
			9), "requiretls": isBool}
	letterShapes = map[string]shape{"sender": isText, "to": oneOrList(isText), "raw": isText, "from": isText, "subject": isText,
		"text":    isText,
		"headers": mapOf(isWord, oneOrList(isScalar))}
	scalars = mapOf(isWord, isScalar)
)

// mergeShapes is one table of several.
func mergeShapes(list ...map[string]shape) map[string]shape {
	out := map[string]shape{}
	for _, m := range list {
		for k, s := range m {
			out[k] = s
		}
	}
	return out
}

// arguments are those of the operations. What is not here has none.
var arguments = map[string][]argument{
	"session": {may("the options", table(sessionShapes))},
	"deliver": {need("the options", table(mergeShapes(letterShapes, sessionShapes, map[string]shape{"params": table(paramShapes)})))},
	"mailbox": {need("the address", isAddress), need("the folder", isWord)},
	"web": {need("the request", table(map[string]shape{"bundle": isWord, "method": isWord, "path": isPath, "query": scalars,
		"form":    scalars,
		"headers": scalars, "ip": isIP, "body": isText}))},
	"command": {need("the command", table(map[string]shape{"name": isWord, "verb": isText, "args": list(isScalar),
		"options": scalars, "json": isBool}))},
	"dns": {need("the names", mapOf(isWord, table(map[string]shape{"a": oneOrList(ipOf(true)), "aaaa": oneOrList(ipOf(false)),
		"txt": oneOrList(isText),
		"ptr": oneOrList(isWord), "mx": either(table(mxShapes), oneOrList(either(table(mxShapes), isWord)))})))},
	"http": {need("the answers", mapOf(isWebKey, either(oneOf("timeout", "tls", "unreachable"),
		table(map[string]shape{"status": whole(100, 599), "body": isText, "headers": scalars}))))},
	"milter": {need("the answers", mapOf(isWord, either(oneOf(append(actions, "unreachable")...),
		table(map[string]shape{"action": oneOf(actions...),
			"reason": isText, "code": whole(400,
				599), "enhanced": isWord, "text": isText, "changes": list(table(map[string]shape{"op": oneOf("add_header",
				"insert_header", "change_header", "replace_body", "add_rcpt", "remove_rcpt", "change_sender"), "name": isWord, "value": isText,
				"index": whole(0, 1<<20)}))}))))},
	"remote": {need("the answers", mapOf(isRemoteKey, reply))},
	"limit": {need("the limits", table(map[string]shape{"instructions": whole(1, 1e12), "wall": isDuration, "alloc": isSize,
		"recipients": whole(1, 1e9),
		"submits":    whole(1, 1e9)}))},
	"config": {need("the settings", mapOf(isWord, isAny))},
	"fail":   {need("what fails", isWord), may("how it fails", isText)},
	"account": {need("the address", isAddress), may("the settings", mapOf(isWord, isAny)), may("the options", table(map[string]shape{
		"confirmed": isBool}))},
	"alias":  {need("the address", isWord), need("the targets", oneOrList(isAddress))},
	"grant":  {need("the owner", isAddress), need("the delegate", isWord), need("the right", isWord)},
	"domain": {need("the domain", func(v any) error { s, _ := v.(string); return envelope.CheckDomain(s) })},
	"key": {need("the address", isAddress), need("the kind", oneOf("openpgp", "smime")), may("the options",
		table(map[string]shape{"expires": isDuration}))},
	"decrypt":       {need("the message", isText)},
	"clock.advance": {need("the time", isDuration)},
	"clock.set":     {need("the time", either(whole(-1<<53, 1<<53), isText))},
	"session.helo":  {need("the name", isText)},
	"session.mail":  {need("the sender", isText), may("the parameters", table(paramShapes))},
	"session.rcpt": {need("the address", isText), may("the parameters", table(map[string]shape{"notify": oneOrList(oneOf("NEVER",
		"SUCCESS", "FAILURE", "DELAY")),
		"orcpt": isText}))},
	"session.data": {may("the message", either(isText, table(letterShapes)))},
	"session.auth": {need("the user", isText), need("the password", isText), may("the mechanism", isWord)},
}

var mxShapes = map[string]shape{"host": isWord, "preference": whole(0, 65535)}

// check looks at the arguments of an operation before anything is done.
func (w argumentChecks) check(what string, args []any) error {
	label, given := what, args
	if verb, ok := strings.CutPrefix(what, "session."); ok {
		label = "s:" + verb
		if len(given) > 0 {
			given = given[1:] // the number of the session
		}
	} else {
		label = "t." + what
	}
	known := arguments[what]
	for n, a := range known {
		var v any
		if n < len(given) {
			v = given[n]
		}
		if v == nil && a.optional {
			continue
		}
		if v == nil {
			return fmt.Errorf("%w: %s needs %s", errArguments, label, a.name)
		}
		if err := a.shape(v); err != nil {
			if errors.Is(err, errOption) { // says which key
				return fmt.Errorf("%w: %s: %s", errArguments, label, strings.TrimPrefix(err.Error(), errOption.Error()+": "))
			}
			switch v.(type) {
			case map[string]any, []any: // the error names the key
				return fmt.Errorf("%w: %s: %w", errArguments, label, err)
			}
			return fmt.Errorf("%w: %s: %s %w", errArguments, label, a.name, err)
		}
	}
	for n := len(known); n < len(given); n++ {
		if given[n] != nil {
			return fmt.Errorf("%w: %s has %d arguments, got %s as another one", errArguments, label, len(known), showValue(given[n]))
		}
	}
	if more, ok := meanings[what]; ok {
		if err := more(w, given); err != nil {
			return fmt.Errorf("%w: %s: %w", errArguments, label, err)
		}
	}
	return nil
}

// meanings are what arguments that are well formed still have to be.
var meanings = map[string]func(w argumentChecks, args []any) error{
	"deliver": func(_ argumentChecks, args []any) error {
		o := args[0].(map[string]any)
		if o["to"] == nil {
			return wrong("the option to is missing: who is the message for?")
		}
		return wholeOrParts(o)
	},
	"session.data": func(_ argumentChecks, args []any) error {
		if len(args) == 0 {
			return nil
		}
		o, _ := args[0].(map[string]any)
		return wholeOrParts(o)
	},
	"mailbox": func(w argumentChecks, args []any) error {
		a := envelope.Address(args[0].(string))
		if !w.dir.Local(a.Domain()) {
			return wrong("%s is at no domain of this server; %s is one, t.domain makes others", a, LocalDomain)
		}
		return nil
	},
	"web": func(_ argumentChecks, args []any) error {
		if o := args[0].(map[string]any); o["body"] != nil && o["form"] != nil {
			return wrong("a request has a body or a form, not both")
		}
		return nil
	},
	"command": func(_ argumentChecks, args []any) error {
		if args[0].(map[string]any)["name"] == nil {
			return wrong("the option name is missing: which command?")
		}
		return nil
	},
	"milter": func(_ argumentChecks, args []any) error {
		for name, v := range args[0].(map[string]any) {
			m, _ := v.(map[string]any)
			if s, ok := m["enhanced"].(string); ok && !envelope.ValidEnhanced(s) {
				return wrong("%s: %q is not an enhanced code", name, s)
			}
		}
		return nil
	},
	"dns": func(_ argumentChecks, args []any) error {
		for name, v := range args[0].(map[string]any) {
			records := v.(map[string]any)
			if records["ptr"] != nil && isIP(name) != nil {
				return wrong("%s: ptr is for an IP address, as t.dns{ [\"192.0.2.1\"] = { ptr = \"mx.a.example\" } }", name)
			}
			if len(records) == 0 {
				return wrong("%s has no records; leave it out and it does not exist", name)
			}
		}
		return nil
	},
	"config":  argumentChecks.checkConfig,
	"account": argumentChecks.checkAccount,
}

func wholeOrParts(o map[string]any) error {
	for _, k := range []string{"from", "subject", "text", "headers"} {
		if o["raw"] != nil && o[k] != nil {
			return wrong("raw is a whole message; the option %s would be lost", k)
		}
	}
	return nil
}

// checkConfig refuses a setting that no policy names.
func (w argumentChecks) checkConfig(args []any) error {
	for k := range args[0].(map[string]any) {
		found, known := false, []string{}
		for _, s := range w.o.Sources {
			if _, has := s.Config[k]; has {
				found = true
			}
			for name := range s.Config {
				known = append(known, name)
			}
			for file, text := range s.Files {
				found = found || strings.HasSuffix(file, ".lua") && strings.Contains(string(text), k)
			}
		}
		if !found {
			slices.Sort(known)
			return wrong("no policy has a setting %s%s", k, hooks.Suggestion(k, known))
		}
	}
	return nil
}

// checkAccount looks at the settings that are the server's own.
func (w argumentChecks) checkAccount(args []any) error {
	if len(args) < 2 || args[1] == nil {
		return nil
	}
	m, _ := args[1].(map[string]any)
	for k, s := range map[string]shape{"password": isWord, "quota": isSize} {
		if v := m[k]; v != nil {
			if err := s(v); err != nil {
				return wrong("%s %w", k, err)
			}
		}
	}
	return nil
}

// doUnknown says what may be meant by a name that the library has not.
func (w argumentChecks) doUnknown(args []any) (any, error) {
	var known []string
	for _, v := range args[2:] {
		known = append(known, fmt.Sprint(v))
	}
	name := fmt.Sprint(args[1])
	return nil, fmt.Errorf("there is no %s%s%s", args[0], name, hooks.Suggestion(name, known))
}

// lifetime converts a duration that isDuration accepted; without one it returns otherwise.
func lifetime(v any, otherwise time.Duration) time.Duration {
	if d, err := duration(v); v != nil && err == nil {
		return d
	}
	return otherwise
}
