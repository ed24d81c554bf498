-- The acceptance tests of the autoresponder that need no sockets; those about
-- restarts, crashes, signatures and other policies run on a server
-- (cmd/carteiro, TestAutoreply).
local t = require "carteiro.test"

local alice, bob = "alice@our.example", "bob@our.example"

local function away(user, more)
  local v = { active = true, text = "I am away" }
  for k, x in pairs(more or {}) do v[k] = x end
  t.account(user, { vacation = v })
end

-- write delivers a message to alice and returns the answers, which go to nobody
-- but the sender, from the null sender.
local function write(sender, more)
  local m = { sender = sender, to = alice, subject = "hello" }
  for k, x in pairs(more or {}) do m[k] = x end
  local r = t.deliver(m)
  t.no_errors(r)
  t.eq(r.code, 250)
  for _, a in ipairs(r.submitted) do
    t.eq(a.sender, "")
    t.eq(a.to, { sender })
    t.eq(a.headers["auto-submitted"], "auto-replied")
  end
  return r.submitted
end

local function inbox(user) return #t.mailbox(user) end

t.case("3 machines", function()
  away(alice)
  local senders = { "", "MAILER-DAEMON@s.test", "owner-x@s.test", "x-owner@s.test", "x-request@s.test", "noreply@s.test", "no-reply@s.test",
    "listserv@s.test", "majordomo@s.test" }
  for _, sender in ipairs(senders) do t.eq(#write(sender, { from = "x@s.test" }), 0, sender) end
  t.eq(#write(alice), 0, "oneself, from outside")
  t.eq(#write(alice, { identity = alice }), 0, "oneself")
  t.eq(inbox(alice), #senders + 2)
end)

t.case("4 fields that ask for silence", function()
  away(alice)
  local fields = { { "List-Id", "<l.s.test>" }, { "List-Unsubscribe", "<mailto:x@s.test>" }, { "Precedence", "bulk" }, { "Precedence", "list" },
    { "Precedence", "junk" }, { "Auto-Submitted", "auto-generated" }, { "Auto-Submitted", "auto-replied; x=y" },
    { "X-Auto-Response-Suppress", "All" }, { "X-Auto-Response-Suppress", "DR, OOF" } }
  for i, f in ipairs(fields) do t.eq(#write("u" .. i .. "@s.test", { headers = { [f[1]] = f[2] } }), 0, f[1] .. ": " .. f[2]) end
  t.eq(#write("ann@s.test", { headers = { ["Auto-Submitted"] = "no" } }), 1, "Auto-Submitted: no")
  t.eq(inbox(alice), #fields + 1)
end)

t.case("5 Bcc, catch-all and aliases", function()
  away(alice)
  t.alias("@our.example", alice)
  t.alias("chief@our.example", "head@our.example")
  t.alias("head@our.example", alice)
  t.eq(#write("a@s.test", { headers = { To = "somebody@s.test" } }), 0, "Bcc")
  t.eq(#write("b@s.test", { to = "whoever@our.example", headers = { To = "whoever@our.example" } }), 0, "catch-all")
  t.eq(#write("c@s.test", { to = "chief@our.example", headers = { To = "x@s.test", Cc = "The Chief <chief@our.example>" } }), 1,
    "an alias of an alias in Cc")
  t.eq(#write("d@s.test", { to = "alice+news@our.example", headers = { To = "alice+news@our.example" } }), 1, "a sub-address")
  t.eq(#write("e@s.test", { headers = { To = "x@s.test", ["Resent-To"] = alice } }), 1, "Resent-To")
  t.eq(inbox(alice), 5)
end)

t.case("6 two who are away", function()
  away(alice)
  away(bob)
  t.eq(#write(alice, { identity = alice, to = bob }), 1, "bob's answer")
  local answer = t.mailbox(alice)
  t.eq(#answer, 1)
  t.eq(answer[1].headers["auto-submitted"], "auto-replied")
  t.eq(answer[1].headers["return-path"], "<>")
  t.eq(inbox(bob), 1)
  t.eq(#write(bob, { identity = bob, to = alice }), 1, "alice's answer")
  t.eq(inbox(alice), 2)
  t.eq(inbox(bob), 2)
  t.clock.advance("30m")
  t.eq(#t.submitted(), 2, "no answer to an answer")
  t.eq(inbox(alice) + inbox(bob), 4)
end)

t.case("7 the return path alone", function()
  away(alice)
  local answers = write("ann@s.test", { from = "boss@plain.test", headers = { ["Reply-To"] = "other@plain.test", Sender = "third@plain.test" } })
  t.eq(#answers, 1)
  t.eq(answers[1].headers.to, "ann@s.test")
  t.eq(answers[1].headers.cc, nil)
end)

t.case("8 no injection", function()
  away(alice, { subject = "Re: {subject}", text = "Dear {name}: {subject}", html = "<b>{name}</b> {subject}" })
  local answers = write("ann@s.test", { headers = { From = "=?utf-8?Q?x=0D=0ABcc:_w@s.test?= <ann@s.test>",
    Subject = "=?utf-8?Q?a=0D=0ABcc:_v@s.test=0D=0A=0D=0Abody?=\r\n =?utf-8?B?Cg1CY2M6IHlAcy50ZXN0IDxpPj0/dXRmLTg/UT9hPz0=?=" } })
  t.eq(#answers, 1)
  local a = answers[1]
  t.eq(a.headers.bcc, nil)
  local _, subjects = ("\n" .. a.raw):gsub("\nSubject:", "")
  t.eq(subjects, 1)
  t.contains(a.raw, "Subject: Re: a Bcc: v@s.test body")
  t.matches(a.headers["content-type"], "^multipart/alternative")
  t.contains(a.body, "text/html")
  t.contains(a.body, "&lt;i&gt;")
  t.lacks(a.raw, "=?utf-8?Q?a?=")
  t.lacks(a.body, "</b> a Bcc: v@s.test body Bcc: y@s.test <i>")
end)

t.case("9 dates in the user's zone", function()
  -- At one moment it is the 1st, the 2nd and the 3rd of December.
  t.clock.set("2026-12-02T10:30:00Z")
  local east, west = "Pacific/Kiritimati", "Pacific/Pago_Pago" -- UTC+14 and UTC-11
  local function try(sender, want, more)
    away(alice, more)
    t.eq(#write(sender), want, sender)
  end
  try("a@s.test", 0, { ["until"] = "2026-12-02", timezone = east })
  try("b@s.test", 1, { ["until"] = "2026-12-03", timezone = east })
  try("c@s.test", 1, { ["until"] = "2026-12-01", timezone = west })
  try("d@s.test", 0, { from = "2026-12-02", timezone = west })
  t.clock.advance("24h")
  t.eq(#write("d@s.test"), 1, "the first day has come")
  t.eq(inbox(alice), 5)
end)

t.case("10 floods", function()
  away(alice)
  local n = 0
  for i = 1, 300 do n = n + #write("u" .. i .. "@u" .. i .. ".test") end
  t.eq(n, 100)
  t.eq(inbox(alice), 300)
end)
