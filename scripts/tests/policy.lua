-- Tests of policy.lua: carteiro scripts test scripts
local t = require "carteiro.test"

t.case("mail from outside is delivered, and has to have a From field", { smoke = true }, function()
  local r = t.deliver { sender = "a@a.example", to = "bob@our.example", subject = "hello" }
  t.eq(r.code, 250)
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
  t.no_errors(r)
  t.eq(t.deliver { sender = "a@a.example", to = "bob@our.example", raw = "Subject: no From\n\nhello\n" }.code, 550)
end)

t.case("a user may send a hundred at once, and no more", function()
  local s = t.session { identity = "bob@our.example" }
  for i = 1, 100 do
    t.eq(s:mail("bob@our.example").code, 250, i)
    s:rset()
  end
  local refused = s:mail("bob@our.example")
  t.eq(refused.code, 451)
  t.matches(refused.text, "try again in %d+ seconds")
  t.clock.advance("1m")
  t.eq(s:mail("bob@our.example").code, 250)
  t.eq(t.session { identity = "eve@our.example" }:mail("eve@our.example").code, 250)
end)

t.case("mail for user+folder goes into the folder, if there is one", function()
  t.eq(t.deliver { sender = "a@a.example", to = "bob+work@our.example" }.mailboxes["bob@our.example"].INBOX, 1)
end)

t.case("mail that was sent to many steps back, where nobody gave it a priority", function()
  local function steps(fields)
    local r = t.deliver { sender = "a@a.example", to = "bob@our.example", headers = fields }
    t.no_errors(r)
    for _, call in ipairs(r.trail) do
      if call.hook == "queue.commit" then return #call.changes end
    end
  end
  t.eq(steps { Precedence = "Bulk" }, 1)
  t.eq(steps { ["List-Id"] = "<l.a.example>" }, 1)
  t.eq(steps {}, 0)
end)
