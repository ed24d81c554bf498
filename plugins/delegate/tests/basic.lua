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
  for _, day in ipairs { "31.12.2199", "2199-1-5", "2199-02-30", "2199-12-31T00:00:00Z", "soon" } do
    t.eq(post("/grant", boss, '{"delegate": "dan@our.example", "right": "read", "until": "' .. day .. '"}').status, 422, day)
  end
  t.eq(post("/grant", boss, wanted).status, 202)
  t.eq(send().code, 550, "not accepted yet")
  local letter = t.mailbox("dan@our.example")[1].raw
  local token = string.match(string.gsub(letter, "=\r?\n", ""), "token=3?D?(%x+)")
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

t.case("the same in a browser, and no page of others can do it", function()
  t.account("boss@our.example", { password = "boss" })
  t.account("dan@our.example", { password = "dan" })
  local boss, dan = "Basic Ym9zc0BvdXIuZXhhbXBsZTpib3Nz", "Basic ZGFuQG91ci5leGFtcGxlOmRhbg=="
  t.config { owners_grant = true }
  local function get(path, login, query) return t.web { path = path, query = query, headers = { authorization = login } } end
  local function post(path, login, sign, form)
    form.sign = sign
    local r = t.web { path = path, headers = { authorization = login }, form = form }
    t.settle()
    return r
  end
  local function hidden(name, r) return t.ok(string.match(r.body, 'name="' .. name .. '" value="(%x+)"')) end
  local function wanted(day) return { delegate = "dan@our.example", right = "read", ["until"] = day or "" } end

  t.eq(get("/").status, 401)
  local front = get("/", boss)
  t.eq(front.status, 200)
  t.eq(get("/else", boss).status, 404)
  local mine, dans = hidden("sign", front), hidden("sign", get("/", dan))
  t.eq(post("/grant", boss, dans, wanted()).status, 403, "another's form")
  t.eq(post("/grant", boss, nil, wanted()).status, 403, "no form of ours")
  t.contains(post("/grant", boss, mine, wanted("2001-01-01")).body, "Not done: until is no day to come")
  local r = post("/grant", boss, mine, wanted("2199-12-31"))
  t.eq(r.status, 202)
  t.contains(r.body, "<td>dan@our.example</td><td>read</td><td>2199-12-31</td>")
  local first = t.ok(string.match(string.gsub(t.mailbox("dan@our.example")[1].raw, "=\r?\n", ""), "token=3?D?(%x+)"))
  t.eq(get("/accept", boss, { token = first }).status, 404, "the owner cannot accept for dan")
  t.contains(get("/accept", dan, { token = first }).body, "boss@our.example asks you to act for them")
  t.eq(post("/decline", dan, dans, { token = first }).status, 200)
  t.eq(post("/accept", dan, dans, { token = first }).status, 404)
  t.eq(string.find(get("/", boss).body, "dan@our.example", 1, true), nil, "declined")
  t.contains(get("/audit", boss).body, "dan@our.example\tdecline\tread")

  post("/grant", boss, mine, wanted())
  local second = hidden("token", get("/", boss))
  t.eq(post("/withdraw", dan, dans, { token = second }).status, 404, "not his to withdraw")
  t.eq(post("/withdraw", boss, mine, { token = second }).status, 200)
  t.eq(post("/accept", dan, dans, { token = second }).status, 404)

  post("/grant", boss, mine, wanted())
  local third = hidden("token", get("/", boss))
  t.contains(post("/accept", dan, dans, { token = third }).body, "You act for boss@our.example now: read")
  t.contains(get("/", boss).body, "<td>dan@our.example</td><td>read</td><td>without end</td>")
  t.eq(post("/revoke", boss, mine, { delegate = "dan@our.example", right = "read" }).status, 200)
  t.eq(string.find(get("/", boss).body, "dan@our.example", 1, true), nil, "taken back")
  t.no_errors()
end)
