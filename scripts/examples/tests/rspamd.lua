-- Tests of rspamd.lua: carteiro scripts test rspamd.lua
local t = require "carteiro.test"

local function letter() return t.deliver { sender = "ann@a.example", to = "bob@our.example", subject = "hello", headers = { ["X-Old"] = "1" } } end

t.case("the filter changes header fields", function()
  t.milter { rspamd = { changes = {
    { op = "add_header", name = "X-Spam", value = "Yes" },
    { op = "change_header", name = "X-Old", index = 1, value = "" },
    { op = "change_header", name = "Subject", index = 1, value = "[spam] hello" },
  } } }
  local r = letter()
  t.no_errors(r)
  t.eq(r.mailboxes["bob@our.example"], { Junk = 1 })
  local m = t.mailbox("bob@our.example", "Junk")[1]
  t.eq(m.subject, "[spam] hello")
  t.eq(m.headers["x-spam"], "Yes")
  t.eq(m.headers["x-old"], nil)
end)

t.case("the filter decides", function()
  for action, code in pairs { accept = 250, reject = 550, defer = 451, discard = 250, quarantine = 250 } do
    t.milter { rspamd = action }
    local r = letter()
    t.eq(r.code, code, action)
    t.eq(r.mailboxes["bob@our.example"].INBOX, action == "accept" and 1 or t.settle().mailboxes["bob@our.example"].INBOX, action)
    t.no_errors(r)
  end
  t.eq(#t.mailbox("bob@our.example"), 1)
  t.milter { rspamd = { action = "reject", code = 554, enhanced = "5.7.9", text = "no" } }
  local r = letter()
  t.eq({ r.code, r.enhanced, r.text }, { 554, "5.7.9", "no" })
end)

t.case("a filter that does not answer is no consent", function()
  t.milter { rspamd = "unreachable" }
  local r = letter()
  t.eq(r.code, 451)
  t.eq(#t.errors(r), 1)
  t.eq(#t.mailbox("bob@our.example"), 0)
end)
