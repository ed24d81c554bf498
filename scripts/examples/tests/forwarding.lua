-- Tests of forwarding.lua: carteiro scripts test forwarding.lua
local t = require "carteiro.test"

t.case("forwarded with a copy kept", function()
  local r = t.deliver { sender = "ann@a.example", to = "bob@our.example", subject = "hello" }
  t.contains(r.recipients, "bob@elsewhere.example")
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
  t.eq(#r.sent, 1)
  t.matches(r.sent[1].sender, "^SRS0=")
  t.eq(r.sent[1].headers["x-loop"], "bob@our.example")
  t.eq(t.mailbox("bob@our.example")[1].headers["x-loop"], nil)
  t.no_errors(r)
end)

t.case("forwarded to two, nothing kept", function()
  local r = t.deliver { sender = "ann@a.example", to = "eve@our.example" }
  t.eq(r.code, 250)
  t.eq(r.mailboxes["eve@our.example"].INBOX, 0)
  local to = {}
  for _, m in ipairs(r.sent) do
    for _, a in ipairs(m.to) do to[#to + 1] = a end
  end
  table.sort(to)
  t.eq(to, { "eve@one.example", "eve@two.example" })
end)

t.case("what comes back stays here", function()
  local r = t.deliver { sender = "ann@a.example", to = "bob@our.example", headers = { ["X-Loop"] = "bob@our.example" } }
  t.eq(#r.sent, 0)
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
end)

t.case("others are not forwarded", function()
  t.eq(#t.deliver { sender = "ann@a.example", to = "zoe@our.example" }.sent, 0)
end)
