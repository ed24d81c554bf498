-- The short tests of carteiro/forward, which run at each reload too.
local t = require "carteiro.test"

local function setup(settings)
  t.account("ann@our.example", { forward = settings }, { confirmed = true })
  t.account("bob@our.example")
end

local function deliver(o)
  o.sender, o.to = "s@s.example", "ann@our.example"
  return t.deliver(o)
end

t.case("a copy goes, a copy stays", function()
  setup { to = { "x@out.example" }, keep = true }
  local r = deliver { subject = "hello", text = "line\n" }
  t.eq(r.code, 250)
  t.eq(r.mailboxes["ann@our.example"].INBOX, 1)
  t.eq(#r.sent, 1)
  t.eq(r.sent[1].to, { "x@out.example" })
  t.matches(r.sent[1].sender, "^SRS0=%w%w%w%w%w%w=%w%w=s%.example=s@our%.example$")
  t.eq(r.sent[1].headers["delivered-to"], "ann@our.example")
  t.eq(t.mailbox("ann@our.example")[1].headers["x-forwarded-for"], nil)
  t.no_errors(r)
end)

t.case("nothing stays without keep", function()
  setup { to = { "x@out.example", "bob@our.example" } }
  local r = deliver {}
  t.eq(r.mailboxes["ann@our.example"].INBOX, 0)
  t.eq(r.mailboxes["bob@our.example"].INBOX, 1)
  t.eq(#r.sent, 1)
  t.no_errors(r)
end)
