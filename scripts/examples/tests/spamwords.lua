-- Tests of spamwords.lua: carteiro scripts test spamwords.lua
local t = require "carteiro.test"

local function letter(ip, text)
  return t.deliver { ip = ip, sender = "ann@a.example", to = "bob@our.example", text = text }
end

t.case("mail like any other", function()
  local r = letter("192.0.2.7", "How are you?\n")
  t.eq(r.mailboxes["bob@our.example"], { INBOX = 1 })
  t.eq(t.mailbox("bob@our.example")[1].headers["x-spam"], nil)
  t.no_errors(r)
end)

t.case("bad words go to Junk", function()
  local r = letter("192.0.2.7", "You have won\n")
  t.eq(r.mailboxes["bob@our.example"], { Junk = 1 })
  t.eq(t.mailbox("bob@our.example", "Junk")[1].headers["x-spam"], "yes")
end)

t.case("bad words from a listed client are refused", function()
  t.dns { ["66.2.0.192.dnsbl.example"] = { a = "127.0.0.2" } }
  t.eq(letter("192.0.2.66", "How are you?\n").code, 250)
  t.eq(letter("192.0.2.66", "A crypto  giveaway\n").code, 550)
end)

t.case("a list that does not answer counts nothing", function()
  t.fail("dns", "timeout")
  local r = letter("192.0.2.66", "How are you?\n")
  t.eq(r.mailboxes["bob@our.example"], { INBOX = 1 })
  t.no_errors(r)
end)

t.case("a message without a date is not spam for that alone", function()
  t.eq(t.deliver { sender = "ann@a.example", to = "bob@our.example", raw = "From: ann@a.example\n\nhello\n" }.mailboxes["bob@our.example"], { INBOX = 1 })
end)

t.case("users may write what they want", function()
  local r = t.deliver { identity = "eve@our.example", sender = "eve@our.example", to = "bob@our.example", text = "You have won\n" }
  t.eq(r.mailboxes["bob@our.example"], { INBOX = 1 })
end)
