-- Tests of carteiro/forward: carteiro bundle test plugins/forward
local t = require "carteiro.test"

local function setup(settings, options)
  t.account("ann@our.example", { forward = settings }, options or { confirmed = true })
  t.account("bob@our.example")
end

local function deliver(o)
  o.sender = o.sender or "s@s.example"
  o.to = o.to or "ann@our.example"
  return t.deliver(o)
end

t.case("tags, aliases and catch-alls lead to the account; an alias with a tag of its own does not", function()
  setup { to = { "x@out.example" } }
  t.alias("sales@our.example", { "ann@our.example" })
  t.alias("ann+not@our.example", { "bob@our.example" })
  t.eq(#deliver({ to = "sales@our.example" }).sent, 1)
  t.eq(#deliver({ to = "ann+tag@our.example" }).sent, 1)
  local r = deliver { to = "ann+not@our.example" }
  t.eq(#r.sent, 0)
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
end)

t.case("paused", function()
  setup { to = { "x@out.example" }, paused = true }
  local r = deliver {}
  t.eq(#r.sent, 0)
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
end)

t.case("the text of a .forward file", function()
  setup("# comment\n\\ann, x@out.example\nbob\n\"|/usr/bin/vacation ann\"\n/dev/null\n")
  local r = deliver {}
  t.eq(#r.sent, 1)
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
  t.no_errors(r)
end)

t.case("nonsense is refused", function()
  for bad, why in pairs { [7] = "forward is 7, not of type table or addresses", ["x y"] = "not an address", ["|/bin/x"] = "names no address", ["\\ann"] = "nobody but ann@our.example" } do
    t.contains(select(2, pcall(setup, bad)), why)
  end
  for why, bad in pairs { ["forward.to is missing"] = { keep = true }, ["not an address"] = { to = { "x@out.example", "x y" } }, ["nobody but"] = { to = { "Ann+x@our.example" } },
    ["forward.to is 7"] = { to = 7 }, ["forward.keep is yes"] = { to = "x@out.example", keep = "yes" }, ["did you mean keep?"] = { to = "x@out.example", keeps = true } } do
    t.contains(select(2, pcall(setup, bad)), why)
  end
  t.eq(deliver({}).mailboxes["ann@our.example"].INBOX, 1)
end)

t.case("encrypted to the target's key, or else to the owner's; what stays is as it came", function()
  setup { to = { "x@out.example", "y@out.example", "bob@our.example" }, keep = true, encrypt = true }
  t.key("x@out.example", "smime")
  t.key("ann@our.example", "openpgp")
  local r = deliver { subject = "plan", text = "at noon\n" }
  t.no_errors(r)
  t.eq(#r.sent, 2)
  for _, m in ipairs(r.sent) do
    t.lacks(m.raw, "at noon")
    t.contains(t.decrypt(m.raw), "at noon")
    t.contains(m.headers["content-type"], m.to[1] == "x@out.example" and "pkcs7-mime" or "multipart/encrypted")
    t.eq(m.headers["delivered-to"], "ann@our.example")
    t.matches(m.sender, "^SRS0=")
  end
  t.contains(t.mailbox("ann@our.example")[1].body, "at noon")
  t.contains(t.decrypt(t.mailbox("bob@our.example")[1].raw), "at noon")
end)

t.case("nothing leaves plain that was to be encrypted", function()
  setup { to = { "x@out.example" }, encrypt = true }
  local function kept(why)
    local r = deliver { headers = { ["Message-ID"] = "<" .. why .. "@x>" } }
    t.no_errors(r)
    t.eq(#r.sent, 0)
    local all = t.mailbox("ann@our.example")
    t.eq(all[#all].headers["x-carteiro-forward-kept"], "it cannot be encrypted: " .. why)
  end
  kept "no key"
  t.key("x@out.example", "openpgp", { expires = "1d" })
  t.eq(#deliver({}).sent, 1)
  t.clock.advance("2d")
  t.key("ann@our.example", "openpgp")
  kept "expired"
end)

t.case("what is encrypted already, and reports, go as they are", function()
  setup { to = { "x@out.example" }, encrypt = true, attach = true }
  t.key("x@out.example", "openpgp")
  local dsn = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nsorry\r\n--b--\r\n"
  t.contains(deliver({ sender = "", raw = "Subject: failed\r\n" .. dsn }).sent[1].raw, "sorry")
  t.contains(deliver({ raw = "Subject: sealed\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n" }).sent[1].raw, "\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n")
  t.no_errors()
end)

t.case("null and own senders stay", function()
  setup { to = { "x@out.example" } }
  t.eq(deliver({ sender = "" }).sent[1].sender, "")
  t.eq(deliver({ sender = "bob@our.example", identity = "bob@our.example" }).sent[1].sender, "bob@our.example")
end)

t.case("a sender too long for SRS has an address that is stored", function()
  local long = "bounces-1234567-0123456789abcdef-user=gmail.example@em1234.sender.example"
  setup { to = { "x@out.example" } }
  local path = deliver({ sender = long }).sent[1].sender
  t.matches(path, "^forward%-return%+%x+@our%.example$")
  t.eq(deliver({ sender = long, headers = { ["Message-ID"] = "<2@x>" } }).sent[1].sender, path)
  local r = t.deliver { sender = "", to = path }
  t.eq(r.sent[1].to, { long })
  t.eq(r.sent[1].sender, "")
  t.eq(t.deliver({ sender = "eve@evil.example", to = path }).code, 550)
  t.eq(t.deliver({ sender = "", to = "forward-return+" .. string.rep("0", 32) .. "@our.example" }).code, 550)
  t.clock.advance("22d")
  t.eq(t.deliver({ sender = "", to = path }).code, 550)
  t.no_errors()
end)

t.case("DSNs reach the sender, and not without end", function()
  t.config { return_rate = "2/1h" }
  setup { to = { "x@out.example" } }
  local path = deliver({}).sent[1].sender
  t.eq(t.deliver({ sender = "", to = path }).sent[1].to, { "s@s.example" })
  t.eq(t.deliver({ sender = "", to = path }).code, 250)
  t.eq(t.deliver({ sender = "", to = path }).code, 451)
  t.eq(t.deliver({ sender = "eve@evil.example", to = path }).code, 550)
end)

t.case("spam stays, and says why", function()
  setup { to = { "x@out.example", "bob@our.example" } }
  for name, value in pairs { ["X-Spam"] = "yes", ["X-Spam-Flag"] = "YES", ["X-Spam-Status"] = "Yes, score=9" } do
    local r = deliver { headers = { [name] = value, ["Message-ID"] = "<" .. name .. "@x>" } }
    t.eq(#r.sent, 0)
  end
  t.eq(#t.mailbox("ann@our.example"), 3)
  t.eq(t.mailbox("ann@our.example")[1].headers["x-carteiro-forward-kept"], "spam")
  t.eq(#t.mailbox("bob@our.example"), 3)
end)

t.case("spam goes where the admin says so", function()
  t.config { spam = "forward" }
  setup { to = { "x@out.example" } }
  t.eq(#deliver({ headers = { ["X-Spam"] = "yes" } }).sent, 1)
end)

local function forged(policy)
  t.dns { ["s.example"] = { txt = "v=spf1 -all" }, ["_dmarc.s.example"] = { txt = "v=DMARC1; p=" .. policy } }
end

t.case("what fails DMARC stays", function()
  forged "none"
  setup { to = { "x@out.example" } }
  local r = deliver { from = "s@s.example" }
  t.eq(#r.sent, 0)
  t.eq(t.mailbox("ann@our.example")[1].headers["x-carteiro-forward-kept"], "DMARC failed")
  t.eq(#deliver({ from = "bob@our.example", sender = "bob@our.example", identity = "bob@our.example" }).sent, 1)
end)

t.case("what fails DMARC: enforced policies alone, or none", function()
  setup { to = { "x@out.example" } }
  t.config { dmarc = "enforced" }
  forged "none"
  t.eq(#deliver({ from = "s@s.example" }).sent, 1)
end)

t.case("a target agrees once, by mail", function()
  setup({ to = { "x@out.example" } }, {})
  local r = deliver {}
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
  t.eq(t.mailbox("ann@our.example")[1].headers["x-carteiro-forward-kept"], "a target has not confirmed")
  t.eq(#r.submitted, 1)
  t.eq(r.submitted[1].to, { "x@out.example" })
  t.eq(r.submitted[1].sender, "")
  local token = string.match(r.submitted[1].raw, "forward%-confirm%+%x+@our%.example")
  t.eq(#deliver({}).submitted, 0, "asked once")
  t.eq(t.deliver({ sender = "x@out.example", to = "forward-confirm+" .. string.rep("0", 32) .. "@our.example" }).code, 550)
  local auto = t.deliver { sender = "x@out.example", to = token, headers = { ["Auto-Submitted"] = "auto-replied" } }
  t.eq(auto.code, 550, "a machine's answer is none")
  t.eq(t.deliver({ sender = "x@out.example", to = token }).code, 250)
  t.eq(t.deliver({ sender = "x@out.example", to = token }).code, 550, "a token works once")
  t.eq(deliver({ headers = { ["Message-ID"] = "<later@x>" } }).sent[1].to, { "x@out.example" })
  t.no_errors()
end)

t.case("a target agrees once, by a button", function()
  setup({ to = { "x@out.example" } }, {})
  local raw = string.gsub(deliver({}).submitted[1].raw, "=\r?\n", "")
  local path = string.match(raw, "https://mx%.our%.example/b/forward(/confirm/our%.example/%x+)")
  local function ask(method, p) return t.web { bundle = "forward", method = method, path = p or path } end
  t.eq(ask("GET", path .. "0").status, 404)
  t.eq(ask("POST", string.gsub(path, "our%.example", "out.example")).status, 404)
  t.eq(ask("GET").status, 200)
  t.contains(ask("GET").body, "mail for ann@our.example to x@out.example")
  t.eq(#deliver({ headers = { ["Message-ID"] = "<looked@x>" } }).sent, 0, "looking is not agreeing")
  t.eq(ask("POST").status, 200)
  t.eq(ask("POST").status, 404)
  t.eq(#deliver({ headers = { ["Message-ID"] = "<agreed@x>" } }).sent, 1)
  t.no_errors()
end)

t.case("a token ends", function()
  setup({ to = { "x@out.example" } }, {})
  local r = deliver {}
  local token = string.match(r.submitted[1].raw, "forward%-confirm%+%x+@our%.example")
  t.clock.advance("8d")
  t.eq(t.deliver({ sender = "x@out.example", to = token }).code, 550)
  t.eq(#deliver({ headers = { ["Message-ID"] = "<later@x>" } }).submitted, 1, "asked again")
end)

t.case("a setting asks at once; whoever was taken out is asked anew", function()
  setup()
  t.settle()
  setup({ to = { "x@out.example" } }, {})
  local r = t.settle()
  local token = string.match(r.submitted[1].raw, "forward%-confirm%+%x+@our%.example")
  t.deliver { sender = "x@out.example", to = token }
  setup({ to = { "y@out.example" } }, { confirmed = true })
  t.settle()
  setup({ to = { "x@out.example", "y@out.example" } }, {})
  t.settle()
  r = deliver {}
  t.eq(#r.sent, 1)
  t.eq(r.sent[1].to, { "y@out.example" })
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
  t.no_errors()
end)

t.case("at most three confirmation mails an hour to one address", function()
  for _, who in ipairs { "a1", "a2", "a3", "a4", "a5" } do
    t.account(who .. "@our.example", { forward = { to = { "victim@out.example" } } })
    deliver { to = who .. "@our.example" }
  end
  t.eq(#t.submitted(), 3)
end)

t.case("domains that are not allowed", function()
  t.config { allow = { "good.example", ".fine.example" } }
  setup { to = { "x@out.example", "y@good.example", "z@sub.fine.example" } }
  local r = deliver {}
  t.eq(#r.sent, 2)
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
  t.eq(t.mailbox("ann@our.example")[1].headers["x-carteiro-forward-kept"], "the target's domain is not allowed")
end)

t.case("limits of one account and of one target", function()
  t.config { user_rate = "2/1h" }
  setup { to = { "x@out.example" } }
  local sent = 0
  for i = 1, 4 do sent = sent + #deliver({ headers = { ["Message-ID"] = "<" .. i .. "@x>" } }).sent end
  t.eq(sent, 2)
  t.eq(#t.mailbox("ann@our.example"), 2)
  t.eq(t.mailbox("ann@our.example")[1].headers["x-carteiro-forward-kept"], "too much mail was forwarded")
end)

t.case("two who forward to each other have a copy each", function()
  t.account("ann@our.example", { forward = { to = { "bob@our.example" }, keep = true } })
  t.account("bob@our.example", { forward = { to = { "ann@our.example" }, keep = true } })
  local r = deliver {}
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
end)

t.case("two who keep nothing and forward to each other refuse", function()
  t.account("ann@our.example", { forward = { to = { "bob@our.example" } } })
  t.account("bob@our.example", { forward = { to = { "ann@our.example" } } })
  local r = deliver {}
  t.eq({ r.code, r.enhanced }, { 554, "5.4.6" })
end)

t.case("what comes back is not kept or sent twice", function()
  setup { to = { "x@out.example" }, keep = true }
  local id = { ["Message-ID"] = "<1@x>" }
  t.eq(#deliver({ headers = id }).sent, 1)
  local back = deliver { headers = { ["Message-ID"] = "<1@x>", ["Delivered-To"] = "ann@our.example" } }
  t.eq(#back.sent, 0)
  t.eq(back.mailboxes["ann@our.example"].INBOX, 1)
  local stripped = deliver { headers = id }
  t.eq(#stripped.sent, 0)
  t.eq(t.mailbox("ann@our.example")[2].headers["x-carteiro-forward-kept"], "it was forwarded before")
  local unknown = deliver { headers = { ["Message-ID"] = "<2@x>", ["Delivered-To"] = "ann@our.example" } }
  t.eq({ unknown.code, unknown.enhanced }, { 554, "5.4.6" })
end)

t.case("fields of lists stay", function()
  setup { to = { "x@out.example" } }
  local r = deliver { headers = { ["List-Id"] = "<l.s.example>", ["List-Unsubscribe"] = "<mailto:l-leave@s.example>" } }
  t.eq(r.sent[1].headers["list-id"], "<l.s.example>")
  t.eq(r.sent[1].headers["list-unsubscribe"], "<mailto:l-leave@s.example>")
end)

t.case("as an attachment", function()
  setup { to = { "x@out.example", "y@out.example" }, keep = true, attach = true }
  local r = deliver { subject = "hello", text = "line\n", headers = { ["Delivered-To"] = "other@out.example" } }
  t.eq(#r.sent, 1)
  t.eq(r.sent[1].sender, "ann@our.example")
  t.eq(#r.sent[1].to, 2)
  t.eq(r.sent[1].headers["from"], "ann@our.example")
  t.eq(r.sent[1].headers["subject"], "Fwd: hello")
  t.contains(r.sent[1].raw, "Content-Type: message/rfc822\r\n")
  t.contains(r.sent[1].raw, "\r\nSubject: hello\r\n")
  t.contains(r.sent[1].raw, "Delivered-To: other@out.example\r\n")
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
  local back = deliver { headers = { ["Delivered-To"] = "ann@our.example" } }
  t.eq({ back.code, back.enhanced }, { 554, "5.4.6" })
  t.eq(deliver({ sender = "", headers = { ["Message-ID"] = "<report@x>" } }).sent[1].sender, "")
  local large = deliver { text = string.rep("x", 76) .. "\n" .. string.rep(string.rep("x", 76) .. "\n", 7000), headers = { ["Message-ID"] = "<large@x>" } }
  t.eq(#large.sent, 0)
  t.eq(#t.mailbox("ann@our.example"), 3)
  t.no_errors()
end)

t.case("as an attachment, nothing kept", function()
  setup { to = { "x@out.example" }, attach = true }
  local r = deliver {}
  t.eq(#r.sent, 1)
  t.eq(r.mailboxes["ann@our.example"].INBOX, 0)
  t.no_errors()
end)

t.case("a pause keeps what the target agreed to", function()
  setup({ to = { "x@out.example" } }, {})
  local r = deliver {}
  local token = string.match(r.submitted[1].raw, "forward%-confirm%+%x+@our%.example")
  t.deliver { sender = "x@out.example", to = token, text = "yes" }
  t.eq(#deliver({ headers = { ["Message-ID"] = "<one@x>" } }).sent, 1)
  setup({ to = { "x@out.example" }, paused = true }, {})
  t.settle()
  t.eq(#deliver({ headers = { ["Message-ID"] = "<two@x>" } }).sent, 0)
  setup({ to = { "x@out.example" } }, {})
  t.settle()
  t.eq(#deliver({ headers = { ["Message-ID"] = "<three@x>" } }).sent, 1)
end)

t.case("one's own alias means to keep", function()
  t.alias("me@our.example", { "ann@our.example" })
  setup { to = { "me@our.example", "x@out.example" } }
  local r = deliver {}
  t.eq(#r.sent, 1)
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
end)

t.case("the return path is changed for targets elsewhere alone", function()
  setup { to = { "bob@our.example", "x@out.example" } }
  local r = deliver {}
  t.matches(r.sent[1].sender, "^SRS0=")
  t.contains(t.mailbox("bob@our.example")[1].raw, "Return-Path: <s@s.example>")
end)

t.case("as an attachment that cannot be delivered: the account is told", function()
  t.remote { ["*"] = 550 }
  setup { to = { "x@out.example" }, attach = true }
  deliver {}
  t.clock.advance("1d")
  local box = t.mailbox("ann@our.example")
  t.eq(#box, 1)
  t.contains(box[1].raw, "x@out.example")
end)
