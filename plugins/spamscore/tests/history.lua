-- Greylisting, rates, replies, and what the model is taught.
local t = require "carteiro.test"

local function open(o)
  local s = t.session { ip = o.ip or "192.0.2.7", helo = "mx.a.example", user = o.user }
  s:mail(o.sender or "a@a.example")
  return s, s:rcpt(o.to or "bob@our.example")
end

local n = 0
local function letter(o)
  n = n + 1
  return "From: " .. (o.from or "a@a.example") .. "\nTo: " .. (o.to or "bob@our.example") .. "\nSubject: " .. (o.subject or "hello") ..
    "\nDate: Thu, 1 Jan 2026 00:00:00 +0000\nMessage-ID: <" .. (o.id or n) .. "@a.example>\n" .. (o.more or "") .. "\n" .. (o.text or "hello") .. "\n"
end

t.case("new senders wait five minutes, once", function()
  t.config { greylisting = "all" }
  local _, r = open {}
  t.eq(r.code, 451)
  t.eq(r.enhanced, "4.7.1")
  t.clock.advance("4m")
  _, r = open {}
  t.eq(r.code, 451)
  t.clock.advance("2m")
  _, r = open {}
  t.eq(r.code, 250)
  _, r = open {}
  t.eq(r.code, 250)
  t.no_errors()
end)

t.case("a domain that did well needs SPF alone", function()
  t.config { greylisting = "all" }
  t.dns { ["good.example"] = { txt = { "v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 -all" } } }
  local o = { sender = "x@good.example", from = "x@good.example" }
  t.eq(select(2, open(o)).code, 451)
  t.clock.advance("6m")
  local s, r = open(o)
  t.eq(r.code, 250)
  t.eq(s:data(letter(o)).code, 250)
  t.settle()
  s, r = open { sender = "y@good.example", ip = "198.51.100.9" }
  t.eq(r.code, 250)
  local answer = s:data(letter { from = "y@good.example" })
  t.eq(answer.code, 250, answer.text)
  s, r = open { sender = "y@good.example", ip = "203.0.113.9" }
  t.eq(r.code, 250)
  t.eq(s:data(letter { from = "y@good.example" }).code, 451)
  t.no_errors()
end)

t.case("odd mail of strangers waits", function()
  local odd = function() return letter { text = "http://u@203.0.113.9:99/ https://bit.ly/x" } end
  local s = open {}
  t.eq(s:data(odd()).code, 451)
  t.clock.advance("6m")
  s = open {}
  t.eq(s:data(odd()).code, 250)
  t.no_errors()
end)

t.case("who sends too fast waits", function()
  t.config { rate_ip = "3/1m" }
  local last
  for _ = 1, 4 do
    local s = t.session { ip = "192.0.2.7" }
    last = s:mail("a@a.example")
  end
  t.eq(last.code, 450)
  t.eq(last.enhanced, "4.7.28")
  t.eq(t.session({ ip = "192.0.2.8" }):mail("a@a.example").code, 250)
  t.clock.advance("1m")
  t.eq(t.session({ ip = "192.0.2.7" }):mail("a@a.example").code, 250)
  t.no_errors()
end)

t.case("answers to users are welcome", function()
  t.config { greylisting = "off", autolearn = false }
  local s = t.session { ip = "198.51.100.1", identity = "bob@our.example" }
  s:mail("bob@our.example")
  s:rcpt("x@far.example")
  t.eq(s:data("From: bob@our.example\nTo: x@far.example\nSubject: hi\nMessage-ID: <q1@our.example>\n\nhi\n").code, 250)
  t.settle()
  s = open {}
  s:data(letter { more = "In-Reply-To: <q1@our.example>\n" })
  t.settle() -- so that it is the first in the mailbox
  s = open {}
  s:data(letter { more = "In-Reply-To: <other@our.example>\n" })
  t.settle()
  local box = t.mailbox("bob@our.example")
  t.eq(#box, 2)
  t.ok(string.find(box[1].raw, "REPLY=-4.00", 1, true))
  t.ok(not string.find(box[2].raw, "REPLY=", 1, true))
  t.no_errors()
end)

-- teach sends mail to an address that teaches, as a user.
local function teach(to, text)
  local s = t.session { ip = "198.51.100.1", identity = "bob@our.example" }
  s:mail("bob@our.example")
  s:rcpt(to .. "@our.example")
  if not text then return s:data("From: bob@our.example\nSubject: x\n\nthis is spam\n") end
  local raw = letter { from = "x" .. n .. "@a.example", subject = text, text = text .. " " .. text }
  return s:data("From: bob@our.example\nSubject: Fwd\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=q\n\n--q\nContent-Type: message/rfc822\n\n" .. raw .. "\n--q--\n")
end

t.case("users teach by mail, each for oneself", function()
  t.account("bob@our.example")
  t.account("eve@our.example")
  t.account("junk@our.example")
  t.account("notjunk@our.example")
  t.config { greylisting = "off", autolearn = false }
  for i = 1, 12 do
    t.eq(teach("junk", "lottery winner claim million dollars " .. i).code, 250)
    t.eq(teach("notjunk", "minutes meeting lunch garden photos " .. i).code, 250)
  end
  t.eq(teach("junk").code, 550)
  t.settle()
  t.eq(#t.mailbox("junk@our.example"), 0)
  for _, to in ipairs { "bob@our.example", "eve@our.example" } do
    local s = open { to = to }
    s:data(letter { to = to, subject = "lottery winner", text = "claim a million dollars" })
  end
  t.settle()
  local function raw(who)
    local m = t.mailbox(who)[1] or t.mailbox(who, "Junk")[1]
    return m.raw
  end
  t.ok(string.find(raw("bob@our.example"), "MODEL=%d"), raw("bob@our.example"))
  t.ok(not string.find(raw("eve@our.example"), "MODEL=", 1, true))
  t.no_errors()
end)

local function result(who)
  local m = t.mailbox(who)[1] or t.mailbox(who, "Junk")[1]
  return (string.gsub(string.match(m.raw, "X%-Spam%-Result: (.-)\r?\n[^ \t]"), "\r?\n", ""))
end

-- A letter of many words; those at every step-th place are others.
local function long(step)
  local list = {}
  for i = 1, 120 do list[i] = (step and i % step == 0 and "other" or "word") .. string.char(97 + i % 26, 97 + i * i % 23) end
  return table.concat(list, " ")
end

t.case("one taught message gives its changed copies away", function()
  for _, who in ipairs { "bob", "eve", "junk", "notjunk" } do t.account(who .. "@our.example") end
  t.config { greylisting = "off", autolearn = false }
  t.eq(teach("junk", long()).code, 250)
  t.settle()
  for _, to in ipairs { "bob@our.example", "eve@our.example" } do
    local s = open { to = to }
    s:data(letter { to = to, subject = "new", text = long(12) })
  end
  t.settle()
  local share = tonumber(string.match(result("bob@our.example"), "FUZZY_SPAM=%d%.%d+ %(share=(%d%.%d+)%)"))
  t.ok(share and share >= 0.4 and share < 1, result("bob@our.example"))
  t.ok(not string.find(result("eve@our.example"), "FUZZY_SPAM", 1, true), "what bob taught is bob's")
  t.no_errors()
end)

t.case("copies of wanted mail are no copies of spam, nor is other mail", function()
  for _, who in ipairs { "bob", "junk", "notjunk" } do t.account(who .. "@our.example") end
  t.config { greylisting = "off", autolearn = false }
  t.eq(teach("notjunk", long()).code, 250)
  t.eq(teach("junk", string.rep("quite another letter of many words that are not the same ", 4)).code, 250)
  t.settle()
  local s = open {}
  s:data(letter { text = long(12) })
  t.settle()
  t.ok(not string.find(result("bob@our.example"), "FUZZY_SPAM", 1, true), result("bob@our.example"))
  t.no_errors()
end)

t.case("strangers teach nobody", function()
  t.account("junk@our.example")
  t.account("bob@our.example")
  local s = open { to = "junk@our.example" }
  t.eq(s:data(letter { to = "junk@our.example" }).code, 250)
  t.settle()
  t.eq(#t.mailbox("junk@our.example"), 1)
  t.no_errors()
end)

t.case("what is sure is learnt, up to a limit", function()
  t.config { greylisting = "off", scores = { FILE_PROGRAM = 12 }, reject = 0, autolearn_rate = "2/1d" }
  for i = 1, 3 do
    local s = open {}
    t.eq(s:data(letter { more = "Content-Disposition: inline; filename=x.exe\n", text = "lottery " .. i }).code, 250)
  end
  t.settle()
  local learned = 0
  for _, m in ipairs(t.mailbox("bob@our.example", "Junk")) do learned = learned + 1 end
  t.eq(learned, 3)
  t.no_errors()
end)
