-- Tests of greylisting.lua: carteiro scripts test greylisting.lua
local t = require "carteiro.test"

local function ask(ip, sender, rcpt)
  local s = t.session { ip = ip }
  s:mail(sender)
  return s:rcpt(rcpt)
end

t.case("an unknown client is asked to come again, and accepted when it does", function()
  t.eq(ask("192.0.2.7", "ann@a.example", "bob@our.example").code, 451)
  t.clock.advance("1m")
  t.matches(ask("192.0.2.7", "ann@a.example", "bob@our.example").text, "too early")
  t.clock.advance("5m")
  t.eq(ask("192.0.2.7", "ann@a.example", "bob@our.example").code, 250)
end)

t.case("another machine of its network may come, another sender is unknown", function()
  t.eq(ask("192.0.2.7", "ann@a.example", "bob@our.example").code, 451)
  t.clock.advance("6m")
  t.eq(ask("192.0.2.99", "ann@a.example", "bob@our.example").code, 250)
  t.eq(ask("192.0.2.7", "eve@a.example", "bob@our.example").code, 451)
  t.eq(ask("198.51.100.7", "ann@a.example", "bob@our.example").code, 451)
end)

t.case("who comes back too late is unknown again, who was accepted stays known", function()
  ask("192.0.2.7", "ann@a.example", "bob@our.example")
  t.clock.advance("37h")
  t.eq(ask("192.0.2.7", "ann@a.example", "bob@our.example").code, 451)
  t.clock.advance("6m")
  t.eq(ask("192.0.2.7", "ann@a.example", "bob@our.example").code, 250)
  t.clock.advance("34d")
  t.eq(ask("192.0.2.7", "ann@a.example", "bob@our.example").code, 250)
end)

t.case("who logged in does not wait", function()
  t.eq(t.deliver { identity = "bob@our.example", sender = "bob@our.example", to = { "eve@our.example", "x@far.example" } }.code, 250)
end)
