-- The acceptance tests of forwarding that need no sockets; those about
-- signatures, restarts, other servers and the command line run on a server
-- (cmd/carteiro, TestForward01 and after).
local t = require "carteiro.test"

local alice, bob = "alice@our.example", "bob@our.example"

local function forward(user, settings) t.account(user, { forward = settings }, { confirmed = true }) end

local count = 0

-- write delivers a message that is accepted, with an id of its own.
local function write(o)
  count = count + 1
  local headers = { ["Message-ID"] = "<" .. count .. "@s.test>" }
  for k, x in pairs(o.headers or {}) do headers[k] = x end
  local r = t.deliver { sender = o.sender or "s@s.test", to = o.to or alice, identity = o.identity, from = o.from,
    subject = o.subject or "letter " .. count, text = o.text, headers = headers }
  t.eq(r.code, 250, o.subject)
  t.no_errors(r)
  return r
end

local function inbox(user) return #t.mailbox(user) end

t.case("02 SRS for senders of other servers alone", function()
  forward(alice, { to = { "x@out.test" } })
  t.account(bob)
  t.matches(write({}).sent[1].sender, "^SRS0=[a-z2-7][a-z2-7][a-z2-7][a-z2-7][a-z2-7][a-z2-7]=[a-z2-7][a-z2-7]=s%.test=s@our%.example$")
  t.eq(write({ sender = "" }).sent[1].sender, "")
  t.eq(write({ sender = bob, identity = bob, from = bob }).sent[1].sender, bob)
  t.eq(inbox(alice), 0)
  t.eq(#t.sent(), 3)
end)

t.case("06 101 hops are too many, 100 are not", function()
  forward(alice, { to = { "x@out.test" }, keep = true })
  local function hops(n)
    local received = string.rep("Received: from a by b; Wed, 25 Nov 2026 12:00:00 +0000\r\n", n)
    return t.deliver { sender = "s@s.test", to = alice, raw = received .. "From: s@s.test\r\nTo: " .. alice .. "\r\nSubject: hops\r\n\r\nhello\r\n" }
  end
  local r = hops(101)
  t.eq({ r.code, r.enhanced }, { 554, "5.4.6" })
  t.eq(inbox(alice), 0)
  r = hops(100)
  t.eq(r.code, 250)
  t.eq(inbox(alice), 1)
  t.eq(#t.sent(), 1)
end)

t.case("aliases of several domains, patterns and the catch-all lead to the account; the mail is forwarded once", function()
  t.domain("fwd.example")
  forward(alice, { to = { "x@out.test" } })
  t.account(bob)
  t.alias("sales@our.example", { "team@fwd.example", bob })
  t.alias("team@fwd.example", { alice, "y@other.test" })
  t.alias("/a-(.+)/@fwd.example", { "$1@our.example" })
  t.alias("@fwd.example", { alice })
  local r = write { to = { "sales@our.example", alice } }
  t.eq(inbox(bob), 1)
  t.eq(inbox(alice), 0)
  local to = {}
  for _, m in ipairs(r.sent) do to[#to + 1] = table.concat(m.to, " ") end
  table.sort(to)
  t.eq(to, { "x@out.test", "y@other.test" })
  for _, name in ipairs { "a-alice@fwd.example", "whoever@fwd.example", "alice+tag@our.example" } do
    r = write { to = name }
    t.eq(#r.sent, 1, name)
    t.eq(r.sent[1].to, { "x@out.test" }, name)
  end
end)

t.case("a message that comes back is known by Delivered-To, and by its id", function()
  forward(alice, { to = { "x@out.test" }, keep = true })
  local first = write { headers = { ["Message-ID"] = "<loop@s.test>" } }
  t.eq(#first.sent, 1)
  t.eq(inbox(alice), 1)
  local function send(sender, raw) return t.deliver { sender = sender, to = alice, raw = raw } end
  local back = send(first.sent[1].sender, first.sent[1].raw) -- as it went
  t.eq(back.code, 250)
  t.eq(#back.sent, 0)
  t.eq(inbox(alice), 1, "it is dropped")
  local stripped = send(first.sent[1].sender, "From: s@s.test\r\nTo: " .. alice .. "\r\nMessage-ID: <loop@s.test>\r\n\r\nhello\r\n")
  t.eq(stripped.code, 250)
  t.eq(#stripped.sent, 0)
  t.eq(inbox(alice), 2)
  t.eq(t.mailbox(alice)[2].headers["x-carteiro-forward-kept"], "it was forwarded before")
  local elsewhere = send("s@s.test", "Delivered-To: " .. alice .. "\r\nFrom: s@s.test\r\nMessage-ID: <other@s.test>\r\n\r\nhello\r\n")
  t.eq({ elsewhere.code, elsewhere.enhanced }, { 554, "5.4.6" })
  t.eq(#t.sent(), 1)
  t.eq(inbox(alice), 2)
end)

t.case("the fields of a list go on as they are", function()
  forward(alice, { to = { "x@out.test" } })
  local fields = { ["List-Id"] = "<l.s.test>", ["List-Unsubscribe"] = "<https://s.test/u>", ["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click",
    Precedence = "list" }
  local r = write { sender = "l-bounces+alice=our.example@s.test", headers = fields }
  t.eq(#r.sent, 1)
  for name, value in pairs(fields) do t.contains(r.sent[1].raw, "\r\n" .. name .. ": " .. value .. "\r\n") end
end)

t.case("the message goes as an attachment of the account's own", function()
  forward(alice, { to = { "x@out.test" }, keep = true, attach = true })
  local raw = "From: Sam <s@s.test>\r\nTo: " .. alice .. "\r\nSubject: letter 1\r\nDate: Wed, 25 Nov 2026 12:00:00 +0000\r\n" ..
    "Message-ID: <1@s.test>\r\n\r\nhello\r\n.a line with a dot\r\n"
  local r = t.deliver { sender = "s@s.test", to = alice, raw = raw }
  t.eq(r.code, 250)
  t.eq(inbox(alice), 1)
  t.eq(#r.sent, 1)
  t.eq(r.sent[1].sender, alice)
  t.eq(r.sent[1].headers.from, alice)
  t.eq(r.sent[1].headers.subject, "Fwd: letter 1")
  t.contains(r.sent[1].raw, "Content-Type: message/rfc822\r\n")
  t.contains(r.sent[1].raw, raw)
end)

t.case("so much an hour for an account, and to a target; the rest stays", function()
  t.config { user_rate = "3/1h", target_rate = "2/1h" }
  forward(alice, { to = { "x@out.test" } })
  forward(bob, { to = { "x@out.test" } })
  for i, to in ipairs { alice, bob, alice, bob } do write { to = to, subject = "letter " .. i } end
  t.eq(#t.sent(), 2)
  for user, subject in pairs { [alice] = "letter 3", [bob] = "letter 4" } do
    t.eq(inbox(user), 1, user)
    t.eq(t.mailbox(user)[1].subject, subject)
    t.eq(t.mailbox(user)[1].headers["x-carteiro-forward-kept"], "too much mail was forwarded")
  end
  t.clock.advance("1h")
  write { to = bob, subject = "later" }
  t.eq(#t.sent(), 3)
  t.eq(t.sent()[3].subject, "later")
end)
