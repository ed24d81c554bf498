-- Tests of ratelimit.lua: carteiro scripts test ratelimit.lua
local t = require "carteiro.test"

t.case("twenty at once, then one every 36 seconds", function()
  local s = t.session { identity = "bob@our.example" }
  for i = 1, 20 do
    t.eq(s:mail("bob@our.example").code, 250, i)
    s:rset()
  end
  local refused = s:mail("bob@our.example")
  t.eq(refused.code, 451)
  t.eq(refused.enhanced, "4.7.28")
  t.eq(t.session { identity = "eve@our.example" }:mail("eve@our.example").code, 250)
  t.clock.advance(36)
  t.eq(s:mail("bob@our.example").code, 250)
  s:rset()
  t.eq(s:mail("bob@our.example").code, 451)
end)

t.case("mail from outside is not counted", function()
  local s = t.session {}
  for i = 1, 30 do
    t.eq(s:mail("ann@a.example").code, 250, i)
    s:rset()
  end
end)
