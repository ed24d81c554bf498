local t = require "carteiro.test"

t.case("somebody who is away answers once", function()
  t.account("bob@our.example", { vacation = { active = true, text = "I am away" } })
  local hello = { sender = "ann@a.example", to = "bob@our.example" }
  t.eq(#t.deliver(hello).submitted, 1)
  t.eq(#t.deliver(hello).submitted, 0)
  t.no_errors()
end)
