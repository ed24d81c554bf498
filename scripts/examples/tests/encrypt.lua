-- Tests of encrypt.lua: carteiro scripts test encrypt.lua
local t = require "carteiro.test"

t.case("who has a key gets mail encrypted to it, others as it came", function()
  for address, kind in pairs { ["bob@our.example"] = "openpgp", ["eve@our.example"] = "smime" } do
    t.key(address, kind)
  end
  local r = t.deliver { sender = "ann@a.example", to = { "bob@our.example", "eve@our.example", "joe@our.example" }, subject = "plan", text = "at noon" }
  t.no_errors(r)
  for _, address in ipairs { "bob@our.example", "eve@our.example" } do
    local m = t.mailbox(address)[1]
    t.eq(m.subject, "plan")
    t.eq(string.find(m.raw, "at noon", 1, true), nil)
    t.contains(t.decrypt(m.raw), "at noon")
  end
  t.contains(t.mailbox("joe@our.example")[1].body, "at noon")
end)

t.case("encrypted mail stays as it is", function()
  t.key("bob@our.example", "openpgp")
  local armor = "-----BEGIN PGP MESSAGE-----\r\n\r\nhQE\r\n-----END PGP MESSAGE-----\r\n"
  t.no_errors(t.deliver { sender = "ann@a.example", to = "bob@our.example", raw = "Subject: x\r\n\r\n" .. armor })
  t.eq(t.mailbox("bob@our.example")[1].body, armor)
end)

t.case("with a key that has expired nothing is kept plain", function()
  t.key("bob@our.example", "openpgp", { expires = "1d" })
  t.clock.advance("2d")
  for _ = 1, 2 do
    t.no_errors(t.deliver { sender = "ann@a.example", to = "bob@our.example", text = "at noon" })
  end
  local got = t.mailbox("bob@our.example")
  t.eq(#got, 1)
  t.eq(got[1].subject, "Your key cannot be used")
  t.contains(t.mailbox("postmaster@our.example")[1].body, "its key is expired")
end)
