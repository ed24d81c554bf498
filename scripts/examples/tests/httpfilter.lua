local t = require "carteiro.test"

local judge = "POST http://127.0.0.1:8081/judge"
local letter = { sender = "ann@a.example", to = "bob@our.example", subject = "Hello", text = "How are you?\n" }

t.case("what it is asked, and that its score counts", function()
  t.http { [judge] = { body = '{"score": 20, "reason": "I know them"}' } }
  local r = t.deliver(letter)
  t.eq(r.code, 550)
  local asked = t.requests()[1].body
  t.contains(asked, '"client":"192.0.2.7"')
  t.contains(asked, '"subject":"Hello"')
  t.contains(asked, "How are you?")
end)

t.case("a low score, and an answer that is none, let mail pass", function()
  t.http { [judge] = { body = '{"score": 1}' } }
  t.eq(t.deliver(letter).code, 250)
  t.http { [judge] = { body = "sorry" } }
  t.eq(t.deliver(letter).code, 250)
end)

t.case("mail passes while it does not answer", function()
  for _, answer in ipairs { "timeout", { status = 500 } } do
    t.http { [judge] = answer }
    local r = t.deliver(letter)
    t.eq(r.code, 250)
    t.no_errors(r)
  end
  t.contains(table.concat(t.log(), "\n"), "the filter does not answer")
end)

t.case("users are not judged", function()
  t.http { [judge] = { body = '{"score": 20}' } }
  t.eq(t.deliver { identity = "ann@our.example", sender = "ann@our.example", to = "bob@our.example" }.code, 250)
  t.eq(#t.requests(), 0)
end)
