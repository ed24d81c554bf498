local t = require "carteiro.test"

local function list(verb, args, options)
  local r = t.command { name = "list", verb = verb, args = args, options = options }
  if r.error then error(r.error, 2) end
  return r.body
end

t.case("a post goes to each member, with a way back of its own", function()
  t.account("a@our.example")
  list("create", { "devs@our.example" }, { owner = "boss@our.example" })
  list("subscribe", { "devs@our.example", "a@our.example", "b@x.example" })
  local r = t.deliver { sender = "a@our.example", to = "devs@our.example", raw = "From: a@our.example\nTo: devs@our.example\nSubject: hello\nMessage-ID: <1@our.example>\n\nhi\n" }
  t.no_errors(r)
  t.eq(#t.mailbox("a@our.example"), 1)
  local sent = t.sent()
  t.eq(#sent, 1)
  t.matches(sent[1].sender, "^devs%-bounces%+b=x%.example=%w+@our%.example$")
  t.contains(sent[1].raw, "List-Id: <devs.our.example>\r\n")
  t.contains(sent[1].raw, "Message-ID: <1@our.example>\r\n")
end)
