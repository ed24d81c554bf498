local t = require "carteiro.test"

local function away(more)
  local v = { active = true, text = "I am away" }
  for k, x in pairs(more or {}) do v[k] = x end
  t.account("bob@our.example", { vacation = v })
end

local function mail(more)
  local m = { sender = "ann@a.example", to = "bob@our.example", subject = "hello" }
  for k, x in pairs(more or {}) do m[k] = x end
  return t.deliver(m)
end

local function answers(more) return #mail(more).submitted end

t.case("one answer to each sender in a period, and one more for another text", function()
  away { days = 2 }
  local r = mail()
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
  t.eq(#r.submitted, 1)
  local a = r.submitted[1]
  t.eq(a.sender, "")
  t.eq(a.to, { "ann@a.example" })
  t.eq(a.headers.from, "bob@our.example")
  t.eq(a.subject, "Auto: hello")
  t.eq(a.headers["auto-submitted"], "auto-replied")
  t.eq(a.headers["x-auto-response-suppress"], "All")
  t.contains(a.headers["references"], a.headers["in-reply-to"])
  t.contains(a.body, "I am away")
  t.eq(answers(), 0)
  t.eq(answers { sender = "ANN+x@a.example" }, 0)
  t.eq(answers { sender = "eve@a.example" }, 1)
  away { days = 2, text = "still away" }
  t.eq(answers(), 1)
  t.clock.advance("3d")
  t.eq(answers(), 1)
  t.no_errors()
end)

t.case("machines, lists and those who ask for silence get none", function()
  away()
  for name, value in pairs { ["List-Id"] = "<l.a.example>", ["List-Post"] = "NO", Precedence = "bulk", ["Auto-Submitted"] = "auto-generated",
    ["X-Auto-Response-Suppress"] = "DR, OOF", ["X-Loop"] = "x", ["Content-Type"] = "multipart/report; boundary=x", ["X-Spam-Flag"] = "YES" } do
    t.eq(answers { headers = { [name] = value } }, 0, name)
  end
  for _, sender in ipairs { "", "MAILER-DAEMON@a.example", "owner-l@a.example", "l-owner@a.example", "l-request@a.example", "noreply@a.example",
    "no-reply-7@a.example", "do_not_reply@a.example", "listserv@a.example", "bounce-12=x@a.example", "SRS0=HHHH=TT=b.example=noreply@a.example" } do
    t.eq(answers { sender = sender }, 0, sender)
  end
  t.eq(answers { headers = { ["Auto-Submitted"] = "no", ["X-Auto-Response-Suppress"] = "DR, RN" } }, 1)
  t.no_errors()
end)

t.case("only who is named is answered for", function()
  away { addresses = { "bob@old.example" } }
  t.alias("chief@our.example", "bob@our.example")
  t.alias("@our.example", "bob@our.example")
  t.eq(answers { to = "team@our.example", headers = { To = "team@our.example" } }, 0, "catch-all")
  t.eq(answers { headers = { To = "undisclosed-recipients:;" } }, 0, "Bcc")
  t.eq(answers { to = "chief@our.example", headers = { To = "x@b.example", Cc = "Chief <chief@our.example>" } }, 1, "alias")
  t.eq(answers { sender = "b@a.example", to = "bob+news@our.example" }, 1, "tag")
  t.eq(answers { sender = "c@a.example", headers = { To = "x@b.example", ["Resent-To"] = "bob@our.example" } }, 1, "Resent-To")
  t.eq(answers { sender = "d@a.example", headers = { To = "bob@old.example" } }, 1, "an address of old")
  t.eq(answers { sender = "bob@our.example" }, 0, "oneself")
  t.eq(answers { sender = "chief@our.example" }, 0, "one's alias")
end)

t.case("from the first day to the last one, in the user's zone", function()
  t.clock.set("2026-11-30T20:00:00Z")
  away { from = "2026-12-01", ["until"] = "2026-12-02", timezone = "Asia/Tokyo" }
  t.clock.set("2026-12-02T14:59:00Z") -- 23:59 in Tokyo
  t.eq(answers { sender = "a@a.example" }, 1)
  t.clock.set("2026-12-02T15:01:00Z")
  t.eq(answers { sender = "b@a.example" }, 0)
  away { from = "2026-12-04", timezone = "Asia/Tokyo" }
  t.eq(answers { sender = "c@a.example" }, 0)
  t.clock.set("2026-12-03T15:00:00Z")
  t.eq(answers { sender = "c@a.example" }, 1)
  away { active = false }
  t.eq(answers { sender = "d@a.example" }, 0)
end)

t.case("an absence without an end is forgotten", function()
  t.config { max_days = 30 }
  away { days = 1 }
  t.eq(answers(), 1)
  t.clock.advance("29d")
  t.eq(answers(), 1)
  t.clock.advance("2d")
  t.eq(answers(), 0)
end)

t.case("words of strangers stay words", function()
  away { subject = "Away: {subject}", text = "Dear {name}, {subject} {nobody}", html = "<p>{name}: {subject}</p>", name = 'Bob "the" Builder' }
  local r = mail { headers = { Subject = "=?utf-8?Q?x=0D=0ABcc:_v@x.example=0D=0A=0D=0Abody_{name}_=3D=3Futf-8=3FQ=3Fz=3F=3D?=",
    From = '"<script>{subject}</script>" <ann@a.example>' } }
  t.eq(#r.submitted, 1)
  local a = r.submitted[1]
  t.eq(a.to, { "ann@a.example" })
  t.eq(a.headers.bcc, nil)
  t.contains(a.subject, "Away: x Bcc: v@x.example")
  t.lacks(a.subject, "=?utf-8?Q?z")
  t.contains(a.headers.from, "<bob@our.example>")
  t.matches(a.headers["content-type"], "^multipart/alternative")
  t.contains(a.body, "Dear <script>{subject}</script>, x Bcc: v@x.example", "put in once")
  t.contains(a.body, "{nobody}")
  t.contains(a.body, "<p>&lt;script&gt;{subject}&lt;/script&gt;: x Bcc")
end)

t.case("texts for inside and outside, and for whom", function()
  away { inside = { text = "call me" }, outside = { text = "write to sales", subject = "Gone" } }
  t.account("zoe@our.example")
  t.account("yan@our.example")
  t.contains(mail { sender = "zoe@our.example", identity = "zoe@our.example" }.submitted[1].body, "call me")
  local r = mail()
  t.contains(r.submitted[1].body, "write to sales")
  t.eq(r.submitted[1].subject, "Gone")
  t.contains(mail { sender = "yan@our.example", from = "yan@our.example" }.submitted[1].body, "write to sales", "who did not log in")
  away { audience = "contacts", contacts = { "eve@a.example", "@c.example" } }
  t.eq(answers(), 0)
  t.eq(answers { sender = "eve@a.example" }, 1)
  t.eq(answers { sender = "x@c.example" }, 1)
  away { audience = "inside" }
  t.eq(answers { sender = "f@a.example" }, 0)
end)

t.case("what may be forged is not answered", function()
  away()
  t.dns { ["_dmarc.a.example"] = { txt = { "v=DMARC1; p=reject" } }, ["b.example"] = { txt = { "v=spf1 -all" } }, ["c.example"] = { txt = { "v=spf1 ip4:192.0.2.7 -all" } } }
  t.eq(answers(), 0, "DMARC")
  t.eq(answers { sender = "x@b.example" }, 0, "SPF")
  t.eq(answers { sender = "x@c.example" }, 1)
  t.config { auth = "strict" }
  t.eq(answers { sender = "x@d.example" }, 0, "nothing passes")
  t.eq(answers { sender = "y@c.example" }, 1)
  t.config { auth = "off" }
  t.eq(answers { sender = "x@b.example" }, 1)
end)

t.case("no more than so many in an hour", function()
  t.config { hourly = 3 }
  away()
  local n = 0
  for i = 1, 6 do n = n + answers { sender = "a" .. i .. "@a" .. i .. ".example" } end
  t.eq(n, 3)
  t.eq(t.settle().mailboxes["bob@our.example"].INBOX, 6)
  t.clock.advance("61m")
  t.eq(answers { sender = "b@a.example" }, 1)
  t.config { hourly = 100, domain_hourly = 4 }
  n = 0
  for i = 1, 6 do n = n + answers { sender = "c" .. i .. "@c.example" } end
  t.eq(n, 2)
end)

t.case("a copy for Sent, and none while the mailbox is full", function()
  away { save = true }
  mail()
  local sent = t.mailbox("bob@our.example", "Sent")
  t.eq(#sent, 1)
  t.eq(sent[1].flags, { "\\Seen" })
  t.contains(sent[1].headers["auto-submitted"], "auto-replied")
  t.account("bob@our.example", { quota = 10 })
  t.clock.advance("8d")
  local r = mail { sender = "zoe@a.example" }
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1, "the message waits")
  t.eq(#r.submitted, 0)
end)

t.case("bad settings are refused when they are set", function()
  for what, v in pairs { days = { active = true, text = "x", days = 0 }, text = { active = true }, ["until"] = { text = "x", from = "2026-12-02", ["until"] = "2026-12-01" },
    timezone = { text = "x", timezone = "Mars/Base" }, from = { text = "x", from = "tomorrow" }, subject = { text = "x", subject = "a\r\nBcc: b" }, untill = { text = "x", untill = "2026-12-01" } } do
    t.fails(function() t.account("bob@our.example", { vacation = v }) end, what)
  end
  t.account("bob@our.example", { vacation = { active = false } })
end)

t.case("who is behind a return path that changes is answered once", function()
  away { addresses = { "bob@far.example" } }
  for i, sender in ipairs { "SRS0=gwrnca=jp=s.example=s@far.example", "SRS0=abcdef=jq=s.example=s@far.example", "s@s.example", "prvs=0123456789=eve@a.example", "prvs=9876543210=eve@a.example" } do
    t.eq(answers { sender = sender }, (i == 1 or i == 4) and 1 or 0, sender)
    t.clock.advance("25h")
  end
end)

t.case("oneself and machines get none", function()
  away { addresses = { "bob@far.example" } }
  for _, sender in ipairs { "bob@far.example", "newsletter-no-reply@a.example", "foo.no-reply@a.example", "info_noreply@a.example" } do
    t.eq(answers { sender = sender }, 0, sender)
  end
end)
