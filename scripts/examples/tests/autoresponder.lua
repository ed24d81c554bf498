-- Tests of autoresponder.lua: carteiro scripts test autoresponder.lua
local t = require "carteiro.test"

local function away()
  t.account("bob@our.example", { vacation = { active = true, text = "I am away" } })
end

t.case("one answer in a week to each sender", function()
  away()
  local hello = { sender = "ann@a.example", to = "bob@our.example", subject = "hello" }
  local r = t.deliver(hello)
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
  t.eq(#r.submitted, 1)
  local answer = r.submitted[1]
  t.eq(answer.sender, "")
  t.eq(answer.to, { "ann@a.example" })
  t.eq(answer.subject, "Auto: hello")
  t.eq(answer.headers["auto-submitted"], "auto-replied")
  t.contains(answer.body, "I am away")
  t.eq(#t.deliver(hello).submitted, 0)
  t.eq(#t.deliver { sender = "eve@a.example", to = "bob@our.example" }.submitted, 1)
  t.clock.advance("8d")
  t.eq(#t.deliver(hello).submitted, 1)
end)

t.case("lists, programs and bounces get none", function()
  away()
  for name, value in pairs { ["List-Id"] = "<l.a.example>", Precedence = "bulk", ["Auto-Submitted"] = "auto-generated", To = "team@our.example" } do
    local r = t.deliver { sender = "ann@a.example", to = "bob@our.example", headers = { [name] = value } }
    t.eq(r.code, 250, name)
    t.eq(#r.submitted, 0, name)
  end
  t.eq(#t.deliver { sender = "", to = "bob@our.example" }.submitted, 0)
end)

t.case("who is here does not answer", function()
  t.account("bob@our.example", { vacation = { active = false, text = "I am away" } })
  t.account("zoe@our.example")
  t.eq(#t.deliver { sender = "ann@a.example", to = { "bob@our.example", "zoe@our.example" } }.submitted, 0)
end)
