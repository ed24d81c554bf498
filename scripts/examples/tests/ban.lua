-- Tests of ban.lua: carteiro scripts test ban.lua
local t = require "carteiro.test"

-- login tells the code of the answer, and how many seconds it took to come.
-- Each guess is at another name: at one name the server itself gets slower.
local function login(ip, user, password)
  local s = t.session { ip = ip, listener = "submission", protocol = "submission" }
  local before = t.clock.now()
  return s:auth(user, password).code, t.clock.now() - before
end

t.case("each wrong password takes longer", function()
  local code, took = login("192.0.2.7", "bob@our.example", "secret")
  t.eq(code, 235)
  t.ok(took <= 1, took)
  for i = 1, 3 do
    code, took = login("192.0.2.7", "user" .. i .. "@our.example", "wrong")
    t.eq(code, 535)
    t.ok(took == i or took == i + 1, took)
  end
end)

t.case("the tenth bans the network for an hour", function()
  for i = 1, 9 do login("192.0.2.7", "user" .. i .. "@our.example", "wrong") end
  t.eq(t.session { ip = "192.0.2.7" }.code, 220)
  login("192.0.2.7", "bob@our.example", "wrong")
  t.ok(t.session { ip = "192.0.2.9" }.code >= 400)
  t.eq(t.session { ip = "198.51.100.1" }.code, 220)
  t.clock.advance("61m")
  t.eq(t.session { ip = "192.0.2.7" }.code, 220)
end)
