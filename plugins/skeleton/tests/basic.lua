local t = require "carteiro.test"

local function answer(subject)
  local s = t.session { ip = "192.0.2.7" }
  s:mail("a@a.example")
  s:rcpt("bob@our.example")
  return s:data("From: a@a.example\nSubject: " .. subject .. "\n\nhello\n")
end

t.case("an offer is refused", function()
  t.eq(answer("WIN a prize").code, 550)
end)

t.case("a letter is taken", function()
  t.eq(answer("hello").code, 250)
end)
