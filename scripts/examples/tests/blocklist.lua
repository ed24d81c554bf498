-- Tests of blocklist.lua: carteiro scripts test blocklist.lua
local t = require "carteiro.test"

t.case("networks of the list are turned away at once", function()
  t.eq(t.session { ip = "198.51.100.9" }.code, 554)
  t.eq(t.session { ip = "2001:db8:bad::1" }.code, 554)
  t.eq(t.session { ip = "192.0.2.7" }.code, 220)
end)

t.case("users may log in from there", function()
  t.eq(t.session { ip = "198.51.100.9", listener = "submission", protocol = "submission" }.code, 220)
end)
