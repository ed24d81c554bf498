-- Tests of archive.lua: carteiro scripts test archive.lua
local t = require "carteiro.test"

t.case("what users send is copied to the archive", function()
  local r = t.deliver { identity = "bob@our.example", sender = "bob@our.example", to = { "x@far.example", "eve@our.example" }, subject = "hello" }
  t.no_errors(r)
  t.eq(r.sent[1].to, { "x@far.example" })
  t.eq(r.mailboxes["eve@our.example"].INBOX, 1)
  local copies = t.mailbox("archive@our.example")
  t.ok(#copies >= 1)
  t.eq(copies[1].subject, "hello")
  t.eq(copies[1].headers["return-path"], "<>")
end)

t.case("what comes in is not, nor what goes to the archive itself", function()
  t.eq(t.deliver { sender = "ann@a.example", to = "bob@our.example" }.mailboxes["archive@our.example"].INBOX, 0)
  t.eq(t.deliver { identity = "bob@our.example", sender = "bob@our.example", to = "archive@our.example" }.mailboxes["archive@our.example"].INBOX, 1)
end)
