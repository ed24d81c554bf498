local t = require "carteiro.test"

local function list(verb, args, options)
  local r = t.command { name = "list", verb = verb, args = args, options = options }
  if r.error then error(r.error, 2) end
  return r.body
end

local function made(...)
  t.account("a@our.example")
  t.account("boss@our.example")
  list("create", { "devs@our.example", ... }, { owner = "boss@our.example" })
  list("subscribe", { "devs@our.example", "a@our.example", "b@x.example" })
end

local function post(from, subject, more)
  return t.deliver { sender = from, to = "devs@our.example",
    raw = "From: " .. from .. "\nTo: devs@our.example\nSubject: " .. subject .. "\n" .. (more or "") .. "\nhi\n" }
end

t.case("strangers are refused, or held until somebody decides", function()
  made()
  local r = post("x@x.example", "hello")
  t.eq(r.code, 550)
  t.eq(r.enhanced, "5.7.2")
  list("set", { "devs@our.example", "strangers=hold" })
  r = post("x@x.example", "hello")
  t.eq(r.code, 250)
  t.eq(#t.sent(), 0)
  t.contains(t.mailbox("boss@our.example")[1].raw, "only members may post to")
  local id = list("held", { "devs@our.example" }):match("^(%w+)")
  list("approve", { "devs@our.example", id })
  t.settle()
  t.eq(#t.sent(), 1)
  t.ok(t.command { name = "list", verb = "approve", args = { "devs@our.example", id } }.error)
  t.no_errors()
end)

t.case("the prefix is put in front once", function()
  made("subject_prefix=[devs]")
  post("a@our.example", "one")
  post("a@our.example", "Re: [devs] two")
  local sent = t.sent()
  t.contains(sent[1].raw, "Subject: [devs] one\r\n")
  t.contains(sent[2].raw, "Subject: Re: [devs] two\r\n")
end)

t.case("machines do not post, and the list's own mail does not come back", function()
  made("post=anyone")
  t.eq(post("x@x.example", "away", "Auto-Submitted: auto-replied\n").code, 250)
  t.eq(post("x@x.example", "loop", "List-Id: <devs.our.example>\n").code, 250)
  t.eq(post("x@x.example", "other", "List-Id: <other.x.example>\n").code, 550)
  t.eq(#t.sent(), 0)
  t.eq(#t.mailbox("a@our.example"), 0)
  t.no_errors()
end)

t.case("From is rewritten for a domain that rejects mail by others, and only for that", function()
  made("post=anyone")
  t.dns { ["_dmarc.strict.example"] = { txt = "v=DMARC1; p=reject" }, ["strict.example"] = { txt = "v=spf1 ip4:192.0.2.7 -all" } }
  post("ann@strict.example", "strict")
  post("ann@lax.example", "lax")
  local sent = t.sent()
  t.contains(sent[1].raw, 'From: "ann via devs" <devs@our.example>\r\n')
  t.contains(sent[1].raw, "Reply-To: ann@strict.example\r\n")
  t.contains(sent[2].raw, "From: ann@lax.example\r\n")
end)

t.case("settings that are no settings are refused", function()
  made()
  for _, bad in ipairs { "colour=red", "post=sometimes", "max_size=0", "archive=1", "owner=" } do
    t.ok(t.command { name = "list", verb = "set", args = { "devs@our.example", bad } }.error, bad)
  end
end)
