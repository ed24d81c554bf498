package lua_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
	"carteiro/hooks/lua"
	"carteiro/hooks/lua/source"
)

// TestCheck: what the text tells is found by a check, at its line, all of it
// at once; the same policy loads.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		hook, args, body string
		want             []string // "line: text; hint", lines of the body begin with 2
	}{
		{"receive.mail", "session, tx", `session.helo = "x"`,
			[]string{"2: session.helo cannot be assigned; these can be assigned: the keys of session.meta"}},
		{"receive.mail", "session, tx", `tx.id = nil`,
			[]string{"2: tx.id cannot be assigned; these can be assigned: tx.sender, the keys of tx.meta"}},
		{"receive.mail", "session, tx", `tx.recipients = {}`, []string{"tx.recipients cannot be assigned"}},
		{"receive.mail", "session, tx", `session.identity.user = "x"`, []string{"identity is read only"}},
		{"receive.mail", "session, tx", `tx.sender = nil`, []string{"tx.sender must be a string, got nil"}},
		{"receive.mail", "session, tx", `config.days = 3`, []string{"config is read only"}},
		{"receive.mail", "session, tx", `string.x = 3`, []string{"string is read only"}},
		{"receive.mail", "s, t", `local x = s.hello`, []string{"session.hello does not exist; did you mean helo?"}},
		{"receive.rcpt", "session, tx, rcpt", "local x\nif rcpt.adress then x = 1 end",
			[]string{"3: rcpt.adress does not exist; did you mean address?"}},
		{"receive.rcpt", "session, tx, rcpt", `local f = function() return rcpt:copyto() end`,
			[]string{"rcpt.copyto does not exist; did you mean copy_to?"}},
		{"receive.rcpt", "session, rcpt", `if rcpt.address == "x" then return reject("x") end`,
			[]string{"tx.address does not exist; the second argument is tx; write function(session, tx, rcpt)"}},
		{"receive.rcpt", "rcpt", `if rcpt.address == "x" then return reject("x") end`,
			[]string{"session.address does not exist; the first argument is session; write function(session, tx, rcpt)"}},
		{"queue.expand", "rcpt", `rcpt:copy_to("x@x.example")`,
			[]string{"msg.copy_to does not exist; the first argument is msg; write function(msg, rcpt)"}},
		{"receive.helo", "name, session", `if session.ip == "x" then return reject("x") end`,
			[]string{"session is a text, which has no ip; the second argument is name; write function(session, name)"}},
		{"receive.rcpt", "session, tx, rcpt, msg", `if msg:subject() then return reject("x") end`,
			[]string{"msg is nil: receive.rcpt has 3 arguments, session, tx, rcpt"}},
		{"receive.connect", "session, x", `local y = x.y`, []string{"x is nil: receive.connect has one argument, session"}},
		{"receive.data", "session, tx, msg", "for _, r in ipairs(tx:recipients()) do\nif r.adress then return end end",
			[]string{"3: rcpt.adress does not exist"}},
		{"receive.data", "session, tx, msg", `for part in msg:parts() do local x = part.name end`, []string{"part.name does not exist"}},
		{"receive.data", "session, tx, msg", `local tls = session.tls local x = tls and tls.versoin`,
			[]string{"tls.versoin does not exist; did you mean version?"}},
		{"receive.data", "session, tx, msg", `if msg.subject == "x" then return reject("x") end`,
			[]string{"msg.subject is a method; write msg:subject()"}},
		{"receive.data", "session, tx, msg", `local s = "a" .. msg.subject`, []string{"msg.subject is a method"}},
		{"receive.data", "session, tx, msg", `local s = msg.subject()`,
			[]string{"msg.subject is a method and is called with a colon; write msg:subject(...)"}},
		{"receive.data", "session, tx, msg", `local s = msg:sender()`, []string{"msg.sender is a field, not a method; write msg.sender"}},
		{"receive.data", "session, tx, msg", `if session:tls() then return end`,
			[]string{"session.tls is a field, not a method; write session.tls"}},
		{"receive.data", "session, tx, msg", `if re("x") then return end`, []string{"re is a module, not a function; write re.compile(...)"}},
		{"receive.data", "session, tx, msg", `if kv("x") then return end`, []string{"kv is a module"}},
		{"receive.data", "session, tx, msg", `for r in tx:recipients() do end`, []string{"this is a list; write for i, value in ipairs(...) do"}},
		{"receive.data", "session, tx, msg", `for p in tx.sender do end`, []string{"this is a string"}},
		{"receive.data", "session, tx, msg", `for p in tx.meta do end`, []string{"this is the object meta"}},
		{"receive.data", "session, tx, msg", `for k, v in { 1, 2 } do end`, []string{"this is a table; write for key, value in pairs(...) do"}},
		{"receive.data", "session, tx, msg", `if #tx.recipients > 1 then return end`,
			[]string{"tx.recipients is a method; write tx:recipients()"}},
		{"receive.data", "session, tx, msg", `local r = tx.recipients[1]`, []string{"tx.recipients is a method; write tx:recipients()"}},
		{"receive.data", "session, tx, msg", `local n = msg.subject.size`, []string{"msg.subject is a method; write msg:subject()"}},
		{"receive.data", "session, tx, msg", `for p in msg.parts do end`, []string{"msg.parts is a method; write msg:parts()"}},
		{"receive.data", "session, tx, msg", `for _, p in ipairs(msg:parts()) do end`, []string{"ipairs is for lists"}},
		{"receive.data", "session, tx, msg", `if msg.size > 5 then return "reject" end`,
			[]string{`not a value such as "reject"; verdicts of receive.data`}},
		{"receive.mail", "session, tx", `return true`, []string{"a handler returns a verdict or nothing, not a value such as true"}},
		{"receive.mail", "session, tx", `while tx.sender do return 550, "x" end`, []string{"not a value such as 550"}},
		{"receive.data", "session, tx, msg", `local s = kv:get("x")`, []string{"kv.get is called with a dot; write kv.get(...)"}},
		{"deliver.dsn", "msg, rcpts, dsn", `for _, r in ipairs(rcpts) do local x = r.adress end`, []string{"rcpt.adress does not exist"}},

		{"receive.rcpt", "session, tx, rcpt", `return reject(450, "4.7.1", "later")`, []string{"reject: code must be 500..599, got 450"}},
		{"receive.rcpt", "session, tx, rcpt", `local why = session.ip return reject(450, "4.7.1", "later " .. why)`,
			[]string{"reject: code must be 500..599, got 450"}},
		{"receive.rcpt", "session, tx, rcpt", `local v = defer(550, session.ip) return v`, []string{"defer: code must be 400..499, got 550"}},
		{"receive.rcpt", "session, tx, rcpt", `return reject(550, "4.7.1", session.ip)`,
			[]string{`reject: enhanced code must be like 5.7.1, got "4.7.1"`}},
		{"receive.rcpt", "session, tx, rcpt", `return defer(nil)`, []string{"defer: text must be a string, got nil"}},
		{"receive.rcpt", "session, tx, rcpt", `return reject(550, "5.7.1", {})`, []string{"reject: text must be a string, got a table"}},
		{"receive.rcpt", "session, tx, rcpt", `return reject("a\nb")`, []string{"reject: "}},
		{"deliver.local", "msg, rcpt, box", `return fileinto("../x")`, []string{"is not the name of a folder"}},
		{"deliver.local", "msg, rcpt, box", `return fileinto()`, []string{"fileinto needs folder; it is called as fileinto(folder, [flags])"}},
		{"deliver.local", "msg, rcpt, box", `return redirect("nobody")`, []string{"bad address"}},
		{"deliver.attempt", "msg, group, attempt", `return retry("soon")`, []string{"retry: seconds: a duration is like"}},
		{"deliver.attempt", "msg, group, attempt", `return retry(0)`, []string{"retry: at least a second"}},
		{"route.resolve", "domain, key", `return route { hosts = { domain }, port = 70000 }`, []string{"port must be 1..65535, got 70000"}},
		{"route.resolve", "domain, key", `return route { hosts = "h.example:99999" }`,
			[]string{`route: "h.example:99999" is not a host and port`}},
		{"route.resolve", "domain, key", `return route { hosts = { "[2001:db8::1]:smtp" } }`, []string{"is not a host and port"}},
		{"route.resolve", "domain, key", `return route { host = domain }`, []string{"route: options has no host; did you mean hosts?"}},
		{"route.resolve", "domain, key", `return route { hosts = domain, tls = "always" }`,
			[]string{`it must be "may" or "verify" or "none", got "always"`}},
		{"web.request\", { path = \"/x\" }, \"", "req", `return response { status = 1000, body = req.body }`,
			[]string{"status must be 200..599"}},
		{"queue.commit", "msg, group", `return schedule("tomorrow")`, []string{`schedule: time: a number was expected, got "tomorrow"`}},

		{"receive.rcpt", "session, tx, rcpt", `if tx.sender:match("[a-z") then return reject("x") end`,
			[]string{"string.match: malformed pattern (missing ']')"}},
		{"receive.rcpt", "session, tx, rcpt", `local x = string.gsub(tx.sender, "(a", "b")`, []string{"string.gsub: unfinished capture"}},
		{"receive.rcpt", "session, tx, rcpt", `local x = ("x"):gsub("a", "%")`, []string{"invalid use of '%'"}},
		{"receive.rcpt", "session, tx, rcpt", `for w in session.ip:gmatch("%") do end`, []string{"ends with '%'"}},
		{"receive.rcpt", "session, tx, rcpt", `local x = addr.domain(tx.sender):find("%f")`, []string{"missing '[' after '%f'"}},
		{"receive.data", "session, tx, msg", `return msg:find("(") and reject("x")`, []string{"msg:find: re: error parsing regexp"}},
		{"receive.data", "session, tx, msg", `local r = re.set { "a", "(" }`, []string{"error parsing regexp"}},
		{"receive.rcpt", "session, tx, rcpt", `local m = map.open("x.toml")`,
			[]string{"map.open belongs at the top of the file, not inside a handler; write local x = map.open(...) above on(...)"}},
		{"receive.rcpt", "session, tx, rcpt", `local f = function() return require "x" end`, []string{"require belongs at the top of the file"}},
		{"receive.rcpt", "session, tx, rcpt", `local f = cache.memoize(function(d) return d end)`, []string{"cache.memoize belongs at the top"}},
		{"receive.rcpt", "session, tx, rcpt", `rate.take("k")`,
			[]string{`rate.take needs rate; it is called as rate.take(key, "30/1m", { burst =, cost = })`}},
		{"receive.rcpt", "session, tx, rcpt", `rate.take(session.ip, "30 per hour")`, []string{"a rate is like"}},
		{"receive.rcpt", "session, tx, rcpt", `kv.set("k", 1, { tll = "5m" })`, []string{"kv.set: options has no tll; did you mean ttl?"}},
		{"receive.rcpt", "session, tx, rcpt", `kv.set("k", 1, { ttl = "5 parsecs" })`, []string{"kv.set: options.ttl: a duration is like"}},
		{"receive.rcpt", "session, tx, rcpt", `kv.get(rcpt)`, []string{"kv.get: key must be a string, got a rcpt"}},
		{"receive.rcpt", "session, tx, rcpt", `tarpit("long")`, []string{"tarpit: seconds: a duration is like"}},
		{"receive.rcpt", "session, tx, rcpt", `mail.submit { form = "x@our.example" }`,
			[]string{"mail.submit: options has no form; did you mean from?"}},
		{"receive.rcpt", "session, tx, rcpt", `log.info()`, []string{"log.info needs text"}},
		{"receive.rcpt", "session, tx, rcpt", `local x = string.format("%d", "abc")`, []string{"bad argument #2 to 'format'"}},
		{"receive.rcpt", "session, tx, rcpt", `local x = tonumber("z", 99)`, []string{"base out of range"}},

		{"receive.rcpt", "session, tx, rcpt", "local addr = rcpt.address\nlocal d = addr.domain(tx.sender)",
			[]string{"3: addr.domain does not exist here: the local addr hides the module addr; give the local another name"}},
		{"receive.rcpt", "session, tx, rcpt", "local list = {}\nlist[#list + 1] = rcpt.address\nif list.member(list[1], \"x\") then end",
			[]string{"4: list.member does not exist here: the local list hides the module list"}},
		{"receive.rcpt", "session, tx, rcpt", "for time = 1, 3 do local x = time.now() end", []string{"the local time hides the module time"}},

		{"receive.rcpt", "session, tx, rcpt", "session.ipp = 1\nlocal x = tx.foo\nrate.take('x')",
			[]string{"2: session.ipp", "3: tx.foo", "4: rate.take needs"}},
	} {
		text := "on(\"" + c.hook + "\", function(" + c.args + ")\n" + c.body + "\nend)"
		text = strings.Replace(text, `, "", function`, `, function`, 1)
		src := hookstest.Scripts(map[string]string{"a.lua": text})
		_, err := lua.New(lua.Options{Strict: true}).Load(t.Context(), []hooks.Source{src})
		told := flat(err)
		if len(told) != len(c.want) {
			t.Errorf("%s\ngot %v\nwant %q", c.body, told, c.want)
			continue
		}
		for i, want := range c.want {
			got := strings.TrimPrefix(told[i].Error(), "a.lua:")
			if !strings.Contains(got, want) {
				t.Errorf("%s\ngot  %s\nwant %s", c.body, got, want)
			}
		}
		if _, err := lua.New(lua.Options{}).Load(t.Context(), []hooks.Source{src}); err != nil {
			t.Errorf("%s does not load: %v", c.body, err)
		}
	}
}

// TestCheckOptions: every fault of the options of on is told at once, and so
// are those that a file has after them.
func TestCheckOptions(t *testing.T) {
	src := hookstest.Scripts(map[string]string{"a.lua": `on("receive.mail", { ordr = 5, tier = "before" }, function() end)
on("timer.tick", function() end)
on("web.request", { order = 1 }, function() end)
on("receive.mail", { order = 500, on_error = "keep" }, function() end)
on("admin.command", { order = 3 }, function() end)
on("admin.command", { command = "Two words" }, function() end)
on("observe.event", { events = { "bounce" } }, function() end)
on("timer.tick", { every = "1s" }, function() end)
on("timer.tick", { every = wanted }, function() end)
on("recieve.mail", function() end)
on("receive.mail", 5, function() end)
on("receive.rcpt", { listener = "" }, function(session, tx, rcpt) return rcpt.adress end)
`, "b.lua": "wanted = nil + 1\n"})
	_, err := lua.New(lua.Options{Strict: true}).Load(t.Context(), []hooks.Source{src})
	var all []string
	for _, e := range flat(err) {
		all = append(all, e.Error())
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"a.lua:1: on: unknown option ordr", `a.lua:1: on: tier can only be "after"`,
		"a.lua:2: on: timer.tick needs the option every",
		"a.lua:3: on: web.request needs the option path", "a.lua:4: on: order must be",
		"a.lua:4: on: on_error = \"keep\" is not possible at receive.mail",
		"a.lua:5: on: admin.command needs the option command", "a.lua:6: on: command is for admin.command",
		`a.lua:7: on: there is no event "bounce"`,
		"a.lua:8: on: every is for timer.tick", "a.lua:10: there is no hook", "a.lua:11: on: options must be a table, got number",
		"a.lua:12: on: listener must be",
		"a.lua:12: rcpt.adress does not exist"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%d times %q in\n%s", strings.Count(text, want), want, text)
		}
	}
	if len(all) != 14 {
		t.Errorf("%d faults:\n%s", len(all), text)
	}
}

// TestCheckSilent: what a check cannot know, and what is right, is not told.
func TestCheckSilent(t *testing.T) {
	for _, text := range []string{
		`on("receive.mail", function(session, tx) session.meta.anything = 1 local x = session.identity and session.identity.anything end)`,
		`on("receive.mail", function(session, tx) session = { foo = 1 } return session.foo end)`,
		`on("receive.mail", function(session, tx) local tx = { foo = 1 } local f = function(session) return session.foo end return f(tx) and
tx.foo end)`,
		`on("receive.mail", function(session, tx) local ok = pcall(function() return session.foo end) end)`,
		`on("receive.mail", function(session, tx) local ok = pcall(re.compile, "(") local ok2 = pcall(function() re.compile("(") end) end)`,
		`local function try() return re.compile("(") end on("receive.mail", function() return pcall(try) and nil end)`,
		`local function bad() return ("x"):rep("y") end local function try() return bad() end on("receive.mail", function() local ok = pcall(try)
end)`,
		`local m = {} function m.try() return re.compile("(") end on("receive.mail", function() local ok = pcall(m.try) end)`,
		`local function attempt(f) return pcall(f) end on("receive.mail", function(session) attempt(function() return session.foo end) end)`,
		`on("receive.mail", function(session) local ok = xpcall(function() kv.get() end, function(e) return e end) end)`,
		`on("receive.helo", function(session, name) if type(name) == "table" then return name.foo end end)`,
		`on("receive.helo", function(session, name) local x = session.tls if type(x) == "table" then return x.foo end end)`,
		`on("receive.rcpt", function(session, tx, rcpt, extra) if extra then return extra.x end end)`,
		`on("receive.rcpt", function(session, tx, rcpt, extra) extra = extra or {} return extra.x end)`,
		`local function f(session, tx, x) if x then return x.address or x.size end end on("receive.rcpt", f) on("receive.data", f)`,
		`local function f(x) return x.foo end on("receive.connect", f) f({ foo = 1 })`,
		`for _, name in ipairs { "receive.rcpt", "receive.mail" } do on(name, function(session, tx, rcpt) return rcpt and rcpt.address end) end`,
		`on("receive.rcpt", function(session, tx, rcpt) local addr = { domain = function() end } addr.domain("x") end)`,
		`local addr = {} function addr.domain() end on("receive.rcpt", function() addr.domain("x") end)`,
		`local function fill(t) t.member = print end local list = {} fill(list) on("receive.rcpt", function() list.member("x") end)`,
		`local list = {} for _, n in ipairs { "member" } do list[n] = print end on("receive.rcpt", function() list.member("x") end)`,
		`local time = require and nil on("receive.rcpt", function() if time then time.now() end end)`,
		`on("receive.rcpt", function(session, tx, rcpt) local f = string.format local x = f("%d", 1) local m = tx.sender.match end)`,
		`on("receive.rcpt", function(session, tx, rcpt) local x = tx.sender:find("[", 1, true) or tx.sender:find(")") local y = ("x"):gsub("%%",
"%%%%") end)`,
		`on("receive.rcpt", function(session, tx, rcpt) local p = "[" .. session.ip local x = tx.sender:match(p) end)`,
		`on("receive.rcpt", function(session, tx, rcpt) return reject(session.meta.code, "5.7.1", session.meta.text) end)`,
		`on("receive.rcpt", function(session, tx, rcpt) local code = 550 if rcpt.is_local then code = 551 end return reject(code, "x") end)`,
		`on("receive.rcpt", function(session, tx, rcpt) return reject(unpack { 550, "5.7.1", "x" }) end)`,
		`on("receive.rcpt", function(session, tx, rcpt) local f = function(...) return rate.take(...) end return f("x", "1/1m") and nil end)`,
		`on("receive.rcpt", function(session, tx, rcpt) if false then rate.take("k") end end)`,
		`on("receive.data", function(session, tx, msg) local subject = msg.subject local s = subject(msg) local t = msg.header(msg, "X") end)`,
		`on("receive.data", function(session, tx, msg) local t = { session = session } t.session = nil return t.session and t.session.foo end)`,
		`on("receive.data", function(session, tx, msg) for _, s in ipairs(msg:scores()) do local x = s.name or s.other end local a = msg:auth()
local r = a.dmarc.whatever end)`,
		`on("receive.data", function(session, tx, msg) local r = msg:report() local first = r and r[1] local x = first and first.anything end)`,
		`on("receive.data", function(session, tx, msg) local p = msg:parts() for part in p do print(part.type) end end)`,
		`on("receive.data", function() local t = setmetatable({}, { __call = function() end }) for x in t do print(x) end end)`,
		`on("receive.data", function() local re = function(x) return x end local kv = re return re("x") and kv(nil) end)`,
		`on("receive.data", function() local f = function() return true, "x" end if f() then return end end)`,
		`on("observe.event", function(event) local x = event.data.anything and event.data.to end)`,
		`on("web.request", { path = "/x" }, function(req) return response { status = tonumber(req.query.status) or 200, body = req.form.text }
end)`,
		`on("route.resolve", function(domain, key) return route { hosts = { domain }, port = 25, tls = "may", ttl = "5m" } end)`,
		`on("queue.expand", function(msg, rcpt) local copy = rcpt:fork() copy:set_header("X-A", "x") rcpt:copy_to({ "x@x.example" }, function(a)
return { sender = a } end) end)`,
		`local on_ = on on_("receive.mail", function(session) return session.foo end)`,
		`local reject = function() return nil end on("receive.mail", function() return reject() end)`,
		`on("timer.tick", { every = "1h" }, function(now, domain) local x = now + 1 if domain then local y = domain:upper() end end)`,
		`local every = "1h" on("timer.tick", { every = every }, function() end)`,
		`local options = { every = "1h" } on("timer.tick", options, function() end)`,
	} {
		if errs, err := lua.Check(text, false); err != nil || len(errs) > 0 {
			t.Errorf("%s\n%v %v", text, err, errs)
		}
	}
}

var luaBlock = regexp.MustCompile("(?s)```lua\n(.*?)```")

// TestCheckShipped: a check has nothing to say about what we ship: bundles,
// examples, their tests and the blocks of all pages.
func TestCheckShipped(t *testing.T) {
	n := 0
	look := func(name, text string) {
		n++
		errs, err := lua.Check(text, strings.Contains(name, "plugins"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, e := range errs {
			t.Errorf("%s: %v", name, e)
		}
	}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && (d.Name() == "testdata" || d.Name() == ".git") {
				return filepath.SkipDir
			}
			return err
		}
		b, err := os.ReadFile(path)
		switch filepath.Ext(path) {
		case ".lua":
			if d.Name() == "carteiro.lua" {
				return nil // for editors: it declares what it must not change
			}
			look(path, string(b))
		case ".md":
			for _, m := range luaBlock.FindAllStringSubmatch(string(b), -1) {
				look(path, m[1])
			}
		}
		return err
	})
	if err != nil || n < 60 {
		t.Errorf("%d texts, %v", n, err)
	}
}

// TestCheckedFirst: a file with faults of both kinds tells both.
func TestCheckedFirst(t *testing.T) {
	_, err := lua.New(lua.Options{Strict: true}).Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{
		"a.lua": `on("receive.mail", function(session) return session.foo end)` + "\n" + `on("receive.mail", function() count = 1 end)`})})
	var fault *source.Error
	if told := flat(err); len(told) != 2 || !errors.As(told[0], &fault) || fault.Line != 1 || fault.Column == 0 {
		t.Errorf("%v", told)
	}
}
