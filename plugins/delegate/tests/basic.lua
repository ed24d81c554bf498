local t = require "carteiro.test"

local function send(more)
  local m = { identity = "dan@our.example", sender = "dan@our.example", from = "boss@our.example", to = "x@a.example", subject = "hello" }
  for k, x in pairs(more or {}) do m[k] = x end
  return t.deliver(m)
end

t.case("send-as: no Sender, a copy in the owner's Sent", function()
  t.grant("boss@our.example", "dan@our.example", "send-as")
  local r = send { sender = "boss@our.example" }
  t.eq(r.code, 250)
  t.eq(r.sent[1].headers.sender, nil)
  local copies = t.mailbox("boss@our.example", "Sent")
  t.eq(#copies, 1)
  t.eq(copies[1].flags, { "\\Seen" })
  t.eq(r.mailboxes["dan@our.example"].Sent, 0)
  t.no_errors(r)
end)

t.case("on behalf: Sender, and a copy beside the one in the inbox", function()
  t.grant("boss@our.example", "dan@our.example", "send-on-behalf")
  local r = send { to = { "x@a.example", "boss@our.example" }, headers = { Sender = "ceo@our.example" } }
  t.eq(r.code, 250)
  t.eq(r.sent[1].headers.sender, "dan@our.example")
  t.eq(r.mailboxes["boss@our.example"].INBOX, 1)
  t.eq(r.mailboxes["boss@our.example"].Sent, 1)
end)

t.case("copies and bounces as the domain or the owner wants", function()
  t.config { sent = "both", bounces = "owner", folder = "Sent/Delegates" }
  t.grant("boss@our.example", "dan@our.example", "send-on-behalf")
  local r = send()
  t.eq(r.sent[1].sender, "boss@our.example")
  t.eq(r.mailboxes["boss@our.example"]["Sent/Delegates"], 1)
  t.eq(r.mailboxes["dan@our.example"]["Sent/Delegates"], 1)
  t.account("boss@our.example", { delegation = { sent = "none", bounces = "delegate" } })
  r = send { sender = "boss@our.example" }
  t.eq(r.sent[1].sender, "dan@our.example")
  t.eq(r.mailboxes["boss@our.example"]["Sent/Delegates"], 1)
  t.fails(function() t.account("boss@our.example", { delegation = { sent = "all" } }) end, "sent")
end)

t.case("no right, no mail", function()
  t.account("boss@our.example")
  t.account("dan@our.example")
  t.eq(send().code, 550)
  t.eq(send { sender = "boss@our.example" }.code, 550)
  t.eq(#t.sent(), 0)
end)

t.case("the owner reads who did what, with the own password alone", function()
  t.account("boss@our.example", { password = "boss" })
  t.account("dan@our.example", { password = "dan" })
  t.grant("boss@our.example", "dan@our.example", "send-as")
  t.grant("boss@our.example", "dan@our.example", "full")
  send()
  local s = t.session { protocol = "pop3", listener = "pop3" }
  t.eq(s:auth("boss@our.example*dan@our.example", "dan").code, 235)
  local function get(login) return t.web { path = "/audit", headers = { authorization = login and "Basic " .. login } } end
  t.eq(get().status, 401)
  t.eq(get("Ym9zc0BvdXIuZXhhbXBsZTpkYW4=").status, 401, "boss with dan's password")
  local r = get("Ym9zc0BvdXIuZXhhbXBsZTpib3Nz")
  t.eq(r.status, 200)
  t.matches(r.body, "^%S+\tdan@our.example\tlogin\t%-\tboss@our.example\t192.0.2.7\t%-\n%S+\tdan@our.example\tsend\tsend%-as\tboss@our.example\t192.0.2.7\t<.+>\n$")
  t.eq(get("ZGFuQG91ci5leGFtcGxlOmRhbg==").body, "", "dan has no record")
end)

t.case("an owner invites, the delegate accepts, the owner takes it back", function()
  t.account("boss@our.example", { password = "boss" })
  t.account("dan@our.example", { password = "dan" })
  local boss, dan = "Basic Ym9zc0BvdXIuZXhhbXBsZTpib3Nz", "Basic ZGFuQG91ci5leGFtcGxlOmRhbg=="
  local function post(path, login, body, kind)
    local r = t.web { method = "POST", path = path, body = body, headers = { authorization = login, ["content-type"] = kind or "application/json" } }
    t.settle()
    return r
  end
  local wanted = '{"delegate": "dan@our.example", "right": "send-as", "until": "2199-12-31"}'
  t.eq(post("/grant", boss, wanted).status, 403, "the admin has to allow it")
  t.config { owners_grant = true }
  t.eq(post("/grant", boss, wanted, "text/plain").status, 415)
  t.eq(post("/grant", nil, wanted).status, 401)
  t.eq(post("/grant", boss, '{"delegate": "x@a.example", "right": "send-as"}').status, 422)
  t.eq(post("/grant", boss, '{"delegate": "dan@our.example", "right": "all"}').status, 422)
  t.eq(post("/grant", boss, '{"delegate": "dan@our.example", "right": "read", "until": "2001-01-01"}').status, 422)
  t.eq(post("/grant", boss, wanted).status, 202)
  t.eq(send().code, 550, "not accepted yet")
  local letter = t.mailbox("dan@our.example")[1].raw
  local token = string.match(string.gsub(letter, "=\r?\n", ""), '"token": "(%x+)"')
  local accept = '{"token": "' .. t.ok(token) .. '"}'
  t.eq(post("/accept", boss, accept).status, 404, "the owner cannot accept for dan")
  t.eq(post("/accept", dan, accept).status, 200)
  t.eq(send().code, 250)
  t.eq(post("/accept", dan, accept).status, 404, "once")
  t.eq(post("/revoke", dan, '{"delegate": "dan@our.example"}').status, 422, "a delegate takes nothing")
  t.eq(post("/revoke", boss, '{"delegate": "dan@our.example", "right": "send-as"}').status, 200)
  t.eq(send().code, 550)
  t.no_errors()
end)
