local t = require "carteiro.test"

t.case("one's own mail is nobody else's business", function()
  local r = t.deliver { identity = "dan@our.example", sender = "dan@our.example", from = "dan@our.example", to = "eve@our.example" }
  t.eq(r.code, 250)
  t.eq(r.mailboxes["dan@our.example"].Sent, 0)
  t.no_errors(r)
end)
