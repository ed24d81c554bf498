-- Block lists, and those that answer everything.
local t = require "carteiro.test"

local function send(text)
  local s = t.session { ip = "192.0.2.7", helo = "mx.a.example" }
  s:mail("a@a.example")
  s:rcpt("bob@our.example")
  local r = s:data("From: a@a.example\nTo: bob@our.example\nSubject: hello\n\n" .. (text or "hello") .. "\n")
  t.settle()
  local box = t.mailbox("bob@our.example")
  local raw = box[#box] and box[#box].raw or t.mailbox("bob@our.example", "Junk")[1].raw
  return raw, r
end

local function listed(raw, name) return string.find(string.gsub(raw, "\r?\n[ \t]+", " "), name, 1, true) ~= nil end

t.case("codes have points of their own", function()
  t.config { dnsbl = { ["bl.example"] = { ["127.0.0.2"] = 1.5, ["127.0.0.4"] = 2.5, default = 1 } }, greylisting = "off" }
  t.dns { ["7.2.0.192.bl.example"] = { a = { "127.0.0.2", "127.0.0.4" } } }
  t.ok(listed(send(), "DNSBL_BL_EXAMPLE=2.50"))
  t.no_errors()
end)

t.case("a list that refuses us does not count", function()
  t.config { dnsbl = { ["bl.example"] = { default = 5 } }, greylisting = "off" }
  t.dns { ["7.2.0.192.bl.example"] = { a = { "127.255.255.254" } } }
  t.ok(not listed(send(), "DNSBL"))
  t.no_errors()
end)

t.case("a list that has everything does not count", function()
  t.config { dnsbl = { ["bl.example"] = { default = 5 } }, greylisting = "off" }
  t.dns { ["7.2.0.192.bl.example"] = { a = { "127.0.0.2" } }, ["1.0.0.127.bl.example"] = { a = { "127.0.0.2" } } }
  t.ok(not listed(send(), "DNSBL"))
  t.no_errors()
end)

t.case("a parked list does not count", function()
  t.config { dnsbl = { ["bl.example"] = { default = 5 } }, greylisting = "off" }
  t.dns { ["7.2.0.192.bl.example"] = { a = { "203.0.113.1" } } }
  t.ok(not listed(send(), "DNSBL"))
  t.no_errors()
end)

t.case("a list that does not answer does not count", function()
  t.config { dnsbl = { ["bl.example"] = { default = 5 } }, greylisting = "off" }
  t.fail("dns.a", "timeout")
  local raw, r = send()
  t.eq(r.code, 250)
  t.ok(not listed(raw, "DNSBL"))
end)

t.case("senders and links are asked about", function()
  t.config { rhsbl = { ["rh.example"] = { default = 2 } }, uribl = { ["uri.example"] = { default = 3 } }, greylisting = "off" }
  t.dns { ["a.example.rh.example"] = { a = { "127.0.0.2" } }, ["evil.example.uri.example"] = { a = { "127.0.0.2" } } }
  local raw = send("see http://www.evil.example/x")
  t.ok(listed(raw, "RHSBL_RH_EXAMPLE=2.00"))
  t.ok(listed(raw, "URIBL_URI_EXAMPLE=3.00"))
  t.no_errors()
end)
