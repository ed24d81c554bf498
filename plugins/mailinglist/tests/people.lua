local t = require "carteiro.test"

local function list(verb, args, options)
  local r = t.command { name = "list", verb = verb, args = args, options = options }
  if r.error then error(r.error, 2) end
  return r.body
end

local function made(...)
  t.account("boss@our.example")
  list("create", { "devs@our.example", ... }, { owner = "boss@our.example" })
end

local function mail(from, to, subject, more)
  return t.deliver { sender = from, to = to, raw = "From: " .. from .. "\nTo: " .. to .. "\nSubject: " .. subject .. "\n" .. (more or "") .. "\n\n" }
end

t.case("joining is confirmed, with a token that is good once", function()
  made()
  mail("n@x.example", "devs-join@our.example", "join")
  local ask = t.sent()[1]
  t.eq(ask.sender, "")
  local confirm = ask.headers.from:match("devs%-confirm%+%x+@our%.example")
  t.eq(list("members", { "devs@our.example" }), "")
  t.eq(mail("n@x.example", confirm, "away", "Auto-Submitted: auto-replied\n").code, 250)
  t.eq(list("members", { "devs@our.example" }), "")
  mail("n@x.example", confirm, "Re: confirm")
  t.eq(list("members", { "devs@our.example" }), "n@x.example\n")
  t.eq(mail("n@x.example", confirm, "Re: confirm").code, 550)
end)

t.case("nobody is buried in confirmations", function()
  made()
  for _ = 1, 10 do mail("v@x.example", "devs-join@our.example", "join") end
  t.eq(#t.sent(), 3)
  t.clock.advance("61m")
  mail("v@x.example", "devs-join@our.example", "join")
  t.eq(#t.sent(), 4)
end)

t.case("one click takes a member out, a look does not", function()
  made("post=anyone")
  list("subscribe", { "devs@our.example", "a@x.example" })
  mail("x@x.example", "devs@our.example", "hello")
  local path = t.sent()[1].headers["list-unsubscribe"]:match("/b/mailinglist(/u/[^>]*)>")
  t.eq(t.web { path = path }.status, 200)
  t.eq(list("members", { "devs@our.example" }), "a@x.example\n")
  t.eq(t.web { path = path .. "0", form = { ["List-Unsubscribe"] = "One-Click" } }.status, 403)
  t.eq(t.web { path = path, form = { ["List-Unsubscribe"] = "One-Click" } }.status, 200)
  t.eq(list("members", { "devs@our.example" }), "")
end)

t.case("bounces count once a day, until a probe decides", function()
  made("post=anyone")
  list("subscribe", { "devs@our.example", "b@x.example" })
  mail("x@x.example", "devs@our.example", "hello")
  local function bounce(to)
    return t.deliver { sender = "", to = to, raw = "From: mailer-daemon@x.example\nSubject: failed\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
      .. "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Recipient: rfc822; b@x.example\nAction: failed\nStatus: 5.1.1\n\n--b--\n" }.code
  end
  local path = t.sent()[1].sender
  t.eq(bounce(path:gsub("=%w+@", "=aaaaaa@")), 550)
  for _ = 1, 5 do
    t.eq(bounce(path), 250)
    bounce(path)
    t.clock.advance("24h")
  end
  local sent = t.sent()
  t.contains(sent[#sent].headers.subject, "Does mail reach you?")
  bounce(sent[#sent].sender)
  t.contains(list("member", { "devs@our.example", "b@x.example" }), "off=bounces")
  t.no_errors()
end)

t.case("digests hold what was posted", function()
  made("post=anyone")
  list("subscribe", { "devs@our.example", "d@x.example" }, { mode = "digest" })
  list("subscribe", { "devs@our.example", "m@x.example" }, { mode = "mime-digest" })
  mail("x@x.example", "devs@our.example", "first")
  mail("x@x.example", "devs@our.example", "second")
  t.eq(#t.sent(), 0)
  t.clock.advance("25h")
  t.settle()
  local sent = t.sent()
  t.eq(#sent, 2)
  for _, m in ipairs(sent) do
    t.contains(m.raw, "  1. first (x@x.example)\r\n  2. second (x@x.example)\r\n")
  end
  t.no_errors()
end)
