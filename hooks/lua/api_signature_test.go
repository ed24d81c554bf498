package lua_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
	"carteiro/hooks/lua/source"
)

// TestSignaturesComplete: signatures.txt has the whole API and nothing else.
func TestSignaturesComplete(t *testing.T) {
	had, err := lua.SignatureKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range lua.API() {
		name := e.Name
		switch {
		case e.Kind == "function":
		case e.Kind != "":
			continue
		case strings.HasPrefix(e.Signature, e.Owner+":"):
			name = e.Owner + ":" + e.Name
		default:
			name = e.Owner + "." + e.Name
		}
		if !had[name] {
			t.Errorf("signatures.txt lacks %s", name)
		}
		delete(had, name)
	}
	for name := range had {
		t.Errorf("there is no %s", name)
	}
}

// samples are arguments that fit, by the name of the parameter, else by its
// kind.
var samples = map[string]string{"address": `"bob@our.example"`, "addresses": `"x@out.example"`, "owner": `"bob@our.example"`,
	"delegate": `"ann@our.example"`,
	"account":  `"bob@our.example"`, "sender": `"bob@our.example"`, "bounces": `"l@our.example"`, "domain": `"our.example"`,
	"ip":  `"192.0.2.1"`,
	"url": `"http://127.0.0.1:1/"`, "zone": `"UTC"`, "layout": `"date"`, "folder": `"Junk"`, "right": `"as"`, "until": "2e9", "limit": "10",
	"class": `"spam"`, "flags": `{ "\\Seen" }`, "raw": `"A: b\r\n\r\nc"`, "identity": `"bob@our.example"`, "text": `"x"`,
	"auto": `"auto-replied"`, "priority": "1", "n": "1", "status": "200", "hosts": `{ "mx.x.example" }`, "port": "25", "tls": `"may"`,
	"source": `"192.0.2.9"`, "list": `"x@out.example"`, "how": "{}", "f": `"x"`, "metatable": "{}"}

var kindSamples = map[string]string{"string": `"x"`, "number": "1", "boolean": "true", "table": "{}", "{}": "{}", "[]": "{}", "any": `"1"`,
	"function": "function() return 1 end", "pattern": `"x"`, "re2": `"x"`, "rate": `"30/1m"`, "duration": `"5m"`, "code4": "450",
	"code5":     "550",
	"enhanced4": `"4.7.1"`, "enhanced5": `"5.7.1"`, "value": `"1"`, "text": `"x"`, "address": `"bob@our.example"`, "msg": "msg",
	"part": "part"}

// given are arguments of functions that want others than samples has.
var given = map[string][]string{
	"assert": {"true", `"x"`}, "select": {"1", `"x"`}, "list.hold": {`"l@our.example"`, "msg", "{}"}, "unpack": {"{ 1 }", "1", "1"},
	"mail.submit": {`{ from = "bob@our.example", to = "x@out.example", subject = "x", text = "x" }`}, "ipairs": {"{}"}, "pairs": {"{}"},
	"getmetatable": {"{}"}, "next": {"{}"}, "rawget": {"{}", `"x"`}, "rawset": {"{}", `"x"`, "1"}, "tonumber": {`"1"`, "10"},
	"setmetatable": {"{}", "{}"}, "pcall": {"function() end"}, "within": {"100", "function() end"},
	"xpcall": {"function() end", "function() end"}, "cache.memoize": nil,
	"json.decode": {`"1"`}, "toml.encode": {"{ a = 1 }"}, "toml.decode": {`"a = 1"`}, "dns.batch": {`{ { "a", "x.example" } }`},
	"http.batch": {`{ { url = "http://127.0.0.1:1/" } }`}, "kv.incr": {`"n"`, "1", "{}"}, "re.set": {`{ "x" }`},
	"string.format": {`"%s"`, `"x"`},
	"table.concat":  {`{ "x" }`, `","`, "1", "1"}, "table.insert": {"{ 1 }", "1", `"x"`},
	"table.sort":   {"{ 2, 1 }", "function(a, b) return a < b end"},
	"table.remove": {"{ 1 }", "1"}, "math.random": {"1", "2"}, "time.parse": {`"2026-01-01"`, `"UTC"`}, "metrics.counter": {`"x"`, "1", "{}"},
	"metrics.gauge": {`"x"`, "1", "{}"}, "metrics.histogram": {`"x"`, "1", "{}"}, "regex:gsub": {`"x"`, `"y"`, "1"},
	"route": {`{ hosts = { "mx.x.example" } }`}, "reroute": {`{ hosts = { "mx.x.example" } }`}, "response": {`{ body = "x" }`},
	"string.char": {"65"},
	"string.rep":  {`"x"`, "2"}, "account.audit": {`"bob@our.example"`, `{ action = "x" }`}, "list.configure": {`"l@our.example"`, "{}"},
	"list.add": {`"l@our.example"`, `"x@out.example"`, "{}"}, "list.set": {`"l@our.example"`, `"x@out.example"`, "{}"},
	"list.member": {`"l@our.example"`, `"x@out.example"`}, "list.members": {`"l@our.example"`, "{}"}, "list.roster": {`"l@our.example"`, "{}"},
	"list.settings": {`"l@our.example"`}, "list.remove": {`"l@our.example"`, `"x@out.example"`}, "list.held": {`"l@our.example"`, `"x"`},
	"list.release": {`"l@our.example"`, `"x"`}, "list.drop": {`"l@our.example"`, `"x"`}, "account.resolve": {`"bob@our.example"`},
	"schedule": {"2e9"}, "redirect": {`"x@out.example"`}, "retry": {`"5m"`}, "tarpit": {"1"}, "mail.forward": {"msg", `"x@out.example"`, "{}"},
	"msg:score": {`"X"`, "1", `"x"`}, "hex.decode": {`"00"`}, "base64.decode": {`"eA=="`},
	"for_domain":  {`"our.example"`, "function() return 1 end"},
	"time.format": {"1", `"date"`, `"UTC"`}, "msg:set_header": {`"X-A"`, `"x"`}, "rcpt:set_header": {`"X-A"`, `"x"`},
	"rcpt:remove_header": {`"X-A"`},
	"msg:addresses":      {`"From"`}, "crypt.sign_dkim": nil, "crypt.has_key": nil, "account.revoke": nil, "crypt.openpgp": nil,
	"crypt.smime": nil,
	"secrets.get": nil, "milter.scan": nil, "error": nil,
	"map.open": nil, "require": nil, "on": nil, "print": {`"x"`}, "rcpt:replace": {`"x@out.example"`, "{}"},
}

// isUntried are functions that no arguments let through in this test's world, or
// that end what asks.
func isUntried(name string) bool {
	args, ok := given[name]
	return ok && args == nil
}

// trial is a call of the API with one argument that may be wrong.
type trial struct {
	name, expr string
	hook       hooks.Point
	wrong      string // "" where all arguments fit
}

var wrongs = []string{"nil", "true", "5", `"x"`, "{}", "function() end"}

func hookOf(name string) hooks.Point {
	switch owner, _, _ := strings.Cut(name, ":"); owner {
	case "rcpt":
		return hooks.QueueExpand
	case "group":
		return hooks.QueueCommit
	case "box":
		return hooks.DeliverLocal
	}
	return hooks.ReceiveData
}

// receivers are objects that a handler makes for itself.
var receivers = map[string]string{"map": "table_", "regex": `re.compile("x")`, "regex_set": `re.set { "x" }`}

func expression(name string, args []string) string {
	owner, method, isMethod := strings.Cut(name, ":")
	if isMethod {
		if r, ok := receivers[owner]; ok {
			owner = "(" + r + ")"
		}
		return owner + ":" + method + "(" + strings.Join(args, ", ") + ")"
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// trials are calls of all functions, with arguments that fit, and with each
// value of another type in each place.
func trials(t *testing.T) (out []trial) {
	t.Helper()
	names, err := lua.SignatureKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if name == "_" || isUntried(name) || strings.Count(name, ".") == 1 && isField(name) {
			continue
		}
		for _, form := range lua.Forms(name) {
			args := given[name]
			if len(args) > len(form) || args == nil {
				args = nil
				for _, p := range form {
					s, ok := samples[p.Name]
					if !ok {
						s = kindSamples[p.Kind]
					}
					args = append(args, s)
				}
			}
			out = append(out, trial{name: name, expr: expression(name, args), hook: hookOf(name)})
			for i := range args {
				for _, w := range wrongs {
					changed := slices.Clone(args)
					changed[i] = w
					out = append(out, trial{name: name, expr: expression(name, changed), hook: hookOf(name),
						wrong: fmt.Sprintf("%s = %s", form[min(i, len(form)-1)].Name, w)})
				}
				if p := form[min(i, len(form)-1)]; len(p.Keys) > 0 {
					out = append(out, keyTrials(name, args, i, p)...)
				}
			}
			if n := len(args); n > 0 {
				out = append(out, trial{name: name, expr: expression(name, args[:n-1]), hook: hookOf(name), wrong: "without " + form[len(form)-1].Name})
				out = append(out, trial{name: name, expr: expression(name, nil), hook: hookOf(name), wrong: "without arguments"})
			}
		}
	}
	return out
}

// keyTrials are calls with one key more in a table.
func keyTrials(name string, args []string, i int, p lua.ParameterForTest) (out []trial) {
	add := func(key, value string) {
		changed := slices.Clone(args)
		inner := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(changed[i]), "{"), "}")
		if inner = strings.TrimSpace(inner); inner != "" {
			inner += ", "
		}
		changed[i] = "{ " + inner + key + " = " + value + " }"
		out = append(out, trial{name: name, expr: expression(name, changed), hook: hookOf(name), wrong: key + " = " + value})
	}
	add("unheard_of", "1")
	for _, k := range p.Keys {
		for _, w := range wrongs {
			add(k.Name, w)
		}
	}
	return out
}

func isField(name string) bool {
	for _, e := range lua.API() {
		if e.Kind == "" && e.Signature == name {
			return true
		}
	}
	return false
}

func trialEvent(hook hooks.Point, n int) *hooks.Event {
	e := dataEvent("From: a@a.example\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nhello\r\n")
	e.Point = hook
	e.Session.ID = strconv.Itoa(n)
	e.Session.Identity = hookstest.Identity("bob@our.example")
	if hook != hooks.ReceiveData {
		e.Session, e.Tx = nil, nil
		e.Msg.Meta = map[string]any{"n": float64(n)}
		e.Rcpt = hookstest.Rcpt("bob@our.example")
	}
	switch hook {
	case hooks.QueueCommit:
		e.Group, e.Rcpt = &envelope.Group{Key: "x", Domain: "x.example"}, nil
	case hooks.DeliverLocal:
		e.Box = &hookstest.Box{Owner: "bob@our.example"}
	}
	return e
}

// dynamic runs each trial under pcall, and returns the errors.
func dynamic(t *testing.T, all []trial) []string {
	t.Helper()
	errs := make([]string, len(all))
	const batch = 250
	for from := 0; from < len(all); from += batch {
		some := all[from:min(from+batch, len(all))]
		var b strings.Builder
		b.WriteString(`local table_ = map.open "t.toml"` + "\nlocal f = {}\n")
		for i, one := range some {
			fmt.Fprintf(&b, "f[%d] = function(session, tx, msg, part, rcpt, group, box) return %s end\n", from+i, one.expr)
		}
		for hook, args := range map[hooks.Point]string{hooks.ReceiveData: "session, tx, msg", hooks.QueueExpand: "msg, rcpt",
			hooks.QueueCommit: "msg, group", hooks.DeliverLocal: "msg, rcpt, box"} {
			fmt.Fprintf(&b, `on(%q, function(%s)
  local part
  local n = tonumber(session and session.id or msg.meta.n)
  for p in (msg.parts or msg)(msg) do part = p end
  local ok, err = pcall(f[n], session, tx, msg, part, rcpt, group, box)
  log.info("trial " .. n .. "=" .. (ok and "ok" or "raised " .. tostring(err)) .. "=end")
end)
`, hook, args)
		}
		text := strings.ReplaceAll(b.String(), "session and session.id or", "session_(session) or")
		text = "local function session_(s) return s and s.id end\nlocal session, tx, rcpt, group, box\n" + strings.ReplaceAll(text,
			"for p in (msg.parts or msg)(msg) do", "for p in msg:parts() do")
		src := hookstest.Scripts(map[string]string{"p.lua": text, "t.toml": "a = 1\n"})
		src.HTTP = []string{"127.0.0.1:1"} // where nobody answers
		w := hookstest.New(t).Load(src)
		w.Accounts.Set("bob@our.example", "x", 1)
		w.Accounts.Set("ann@our.example", "x", 1)
		for i, one := range some {
			w.Ask(trialEvent(one.hook, from+i))
		}
		for _, m := range regexp.MustCompile(`trial (\d+)=(.*?)=end`).FindAllStringSubmatch(w.Log.String(), -1) {
			n, _ := strconv.Atoi(m[1])
			errs[n] = m[2]
		}
	}
	return errs
}

// static is what a check says of each trial, or "".
func static(t *testing.T, all []trial) []string {
	t.Helper()
	told := make([]string, len(all))
	const batch = 250
	for from := 0; from < len(all); from += batch {
		some := all[from:min(from+batch, len(all))]
		var b strings.Builder
		for _, one := range some {
			args, before := "session, tx, msg", "for part in msg:parts() do local r = "
			switch one.hook {
			case hooks.QueueExpand:
				args = "msg, rcpt"
			case hooks.QueueCommit:
				args = "msg, group"
			case hooks.DeliverLocal:
				args = "msg, rcpt, box"
			}
			fmt.Fprintf(&b, "on(%q, function(%s) %s%s end end)\n", one.hook, args, before, strings.ReplaceAll(one.expr, "table_", `table_`))
		}
		text := `local table_ = map.open "t.toml" ` + b.String()
		_, err := lua.New(lua.Options{Strict: true}).Load(t.Context(),
			[]hooks.Source{hookstest.Scripts(map[string]string{"p.lua": text, "t.toml": "a = 1\n"})})
		for _, e := range flat(err) {
			var at *source.Error
			if !errors.As(e, &at) || at.Line == 0 {
				t.Fatalf("%v", e)
			}
			told[from+at.Line-1] = at.Text
		}
	}
	return told
}

func flat(err error) (out []error) {
	if _, ok := err.(*source.Error); ok {
		return []error{err}
	}
	switch u := err.(type) {
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			out = append(out, flat(e)...)
		}
	case interface{ Unwrap() error }:
		return flat(u.Unwrap())
	}
	return out
}

// TestSignaturesAreTrue: a call whose arguments fit works, and what a check
// says of a wrong one is an error when it runs. What a function refuses for its
// type a check tells, but for values that are converted.
func TestSignaturesAreTrue(t *testing.T) {
	all := trials(t)
	errs, told := dynamic(t, all), static(t, all)
	for i, one := range all {
		raised := strings.HasPrefix(errs[i], "raised")
		switch {
		case errs[i] == "":
			t.Errorf("%s did not run", one.expr)
		case one.wrong == "" && (raised || told[i] != ""):
			t.Errorf("%s: %s; the check says %q", one.expr, errs[i], told[i])
		case told[i] != "" && !raised:
			t.Errorf("false alarm: %s works, the check says %q", one.expr, told[i])
		case told[i] == "" && ofType.MatchString(errs[i]) && !callable(one.expr):
			t.Errorf("missed: %s: %s", one.expr, errs[i])
		}
	}
	if len(all) < 2000 {
		t.Errorf("only %d calls", len(all))
	}
}

// ofType matches what functions say of a value of another type.
var ofType = regexp.MustCompile(`(expected|must be).*got \(?(nil|boolean|table|function|no value)`)

// callable: a table may be called like a function, and what has no type is not
// told for the one that it cannot be.
func callable(expr string) bool {
	return strings.HasPrefix(expr, "within(") || strings.Contains(expr, "gsub(") || strings.Contains(expr, "sort(") || strings.HasPrefix(expr,
		"string.format(") || strings.HasPrefix(expr, "metrics.counter(")
}

// TestTestAnnotations: the editors' file has each function of the test library
// with its parameters, and no other.
func TestTestAnnotations(t *testing.T) {
	library, err := os.ReadFile("carteiro_test_library.lua")
	if err != nil {
		t.Fatal(err)
	}
	functions := func(text string) map[string]bool {
		out := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^function (t\.[a-z_.]+)\(`).FindAllStringSubmatch(text, -1) {
			out[m[1]] = true
		}
		return out
	}
	has, told := functions(string(library)), functions(string(lua.TestAnnotations()))
	if len(has) < 30 || !maps.Equal(has, told) {
		t.Errorf("the library has %v\nthe file has %v", slices.Sorted(maps.Keys(has)), slices.Sorted(maps.Keys(told)))
	}
}
