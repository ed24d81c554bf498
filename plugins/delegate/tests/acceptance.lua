-- The acceptance tests of delegation that need no sockets; those about log-ins,
-- open sessions, signatures and expiry run on a server (cmd/carteiro,
-- TestDelegation).
local t = require "carteiro.test"

local alice, bob, ceo = "alice@our.example", "bob@our.example", "ceo@our.example"

-- people makes the accounts, and gives bob rights from alice.
local function people(...)
  for _, a in ipairs { alice, bob, ceo } do t.account(a) end
  for _, right in ipairs { ... } do t.grant(alice, bob, right) end
end

-- submit has bob send a message whose header section begins with fields.
local function submit(sender, fields)
  return t.deliver { identity = bob, sender = sender, to = "x@s.test",
    raw = fields .. "\r\nTo: x@s.test\r\nSubject: hello\r\nMessage-ID: <1@s.test>\r\n\r\nhello\r\n" }
end

-- sent is what arrives of a message that has to be accepted.
local function sent(sender, fields)
  local r = submit(sender, fields)
  t.eq(r.code, 250, fields)
  t.no_errors(r)
  t.eq(#r.sent, 1, fields)
  return r.sent[1]
end

-- refused submits a message that has to be refused, and nothing may come of it.
local function refused(sender, fields, enhanced)
  local before = #t.sent()
  local r = submit(sender, fields)
  t.eq({ r.code, r.enhanced }, { 550, enhanced or "5.7.1" }, fields)
  t.eq(#t.sent(), before, fields)
end

t.case("3 both rights: sent as the owner", function()
  people("send-on-behalf", "send-as")
  local m = sent(alice, "From: " .. alice .. "\r\nSender: " .. bob)
  t.eq(m.headers.sender, nil)
  t.eq(m.headers.from, alice)
end)

t.case("4 no right", function()
  people("read", "full")
  refused(alice, "From: " .. alice)
  refused(bob, "From: " .. alice)
  refused(alice, "From: " .. bob)
  refused(bob, "From: " .. bob .. "\r\nResent-From: " .. alice)
  refused("", "From: " .. alice)
  refused(bob, "From: x@elsewhere.test")
  t.eq(#t.mailbox(alice, "Sent"), 0)
  t.eq(#t.mailbox(bob, "Sent"), 0)
end)

t.case("5 two authors", function()
  people("send-as")
  local m = sent(bob, "From: The Boss <" .. alice .. ">, " .. bob)
  t.eq(m.headers.sender, bob)
  t.eq(m.headers.from, "The Boss <" .. alice .. ">, " .. bob)
  refused(bob, "From: " .. alice .. ", " .. bob .. ", x@elsewhere.test")
  refused(bob, "From: " .. bob .. ",\r\n x@elsewhere.test")
end)

t.case("6 a Sender of others, two From fields", function()
  people("send-on-behalf")
  t.grant(ceo, bob, "send-as")
  t.eq(sent(bob, "From: " .. alice .. "\r\nSender: " .. ceo).headers.sender, bob)
  t.eq(sent(bob, "From: " .. alice .. "\r\nsender: ceo@elsewhere.test, " .. bob).headers.sender, bob)
  t.eq(sent(bob, "From: " .. bob .. "\r\nSender: " .. ceo).headers.sender, nil)
  t.eq(sent(bob, "From: " .. alice .. "\r\nSender: Bob <" .. bob .. ">").headers.sender, "Bob <" .. bob .. ">")
  refused(bob, "From: " .. bob .. "\r\nFrom: " .. alice, "5.6.0")
  refused(bob, "From: " .. bob .. "\r\nfRoM : " .. bob, "5.6.0")
  refused(bob, "From: " .. alice .. "\r\nSender: " .. bob .. "\r\nSender: " .. bob, "5.6.0")
  refused(bob, "From: " .. bob .. "\r\nno field at all\r\nFrom: " .. alice, "5.6.0")
end)

t.case("no transitive rights", function()
  people("send-as", "full")
  for _, right in ipairs { "send-as", "send-on-behalf", "full" } do t.grant(ceo, alice, right) end
  sent(alice, "From: " .. alice)
  refused(ceo, "From: " .. ceo)
  refused(alice, "From: " .. ceo)
end)
