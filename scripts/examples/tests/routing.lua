-- Tests of routing.lua: carteiro scripts test routing.lua
local t = require "carteiro.test"

t.case("a domain of the table goes its own way", function()
  local r = t.deliver { identity = "bob@our.example", sender = "bob@our.example", to = { "x@partner.example", "y@far.example" } }
  local hosts = {}
  for _, m in ipairs(r.sent) do hosts[m.to[1]] = m.host end
  t.eq(hosts, { ["x@partner.example"] = "mx.partner.example", ["y@far.example"] = "mx.far.example" })
  t.no_errors(r)
end)

t.case("after three failures it goes by the relay", function()
  t.remote { ["y@far.example"] = 451 }
  t.eq(#t.deliver { identity = "bob@our.example", sender = "bob@our.example", to = "y@far.example" }.sent, 0)
  t.clock.advance("6m")
  t.eq(#t.sent(), 0)
  t.clock.advance("16m")
  t.eq(#t.sent(), 0)
  t.remote { ["y@far.example"] = 250 }
  t.clock.advance("5h")
  t.eq(#t.sent(), 1)
  t.eq(t.sent()[1].host, "relay.example.net")
end)
