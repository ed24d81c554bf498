-- The acceptance tests of mailing lists that need no sockets; the others run on
-- a server (cmd/carteiro, TestList and TestListPoints).
local t = require "carteiro.test"

local function list(verb, args, options)
  local r = t.command { name = "list", verb = verb, args = args, options = options }
  if r.error then error(r.error, 2) end
  return r.body
end

local function create(name, ...)
  t.account("a@our.example")
  t.account("owner@our.example")
  list("create", { name, ... }, { owner = "owner@our.example" })
  list("subscribe", { name, "a@our.example" })
end

-- post delivers a message whose header section begins with fields.
local function post(from, to, fields, body)
  return t.deliver { sender = from, to = to, raw = fields .. "To: " .. to .. "\r\nSubject: hello\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n" ..
    "\r\n" .. (body or "hi\r\n") }
end

local function inbox(user) return #t.mailbox(user) end

t.case("8 a post that comes back", function()
  create("loop@our.example", "post=anyone")
  local many = string.rep("List-Id: <other.out.test>\r\n", 10000)
  for _, case in ipairs {
    { "own", "List-Id: Loops <loop.our.example>\r\n", 250, "2.0.0" },
    { "foreign", "List-Id: <other.out.test>\r\n", 550, "5.7.1" },
    { "many", many, 550, "5.7.1" },
    { "hidden", many .. "List-Id: <LOOP.our.example>\r\n", 250, "2.0.0" },
  } do
    local r = post("x@out.test", "loop@our.example", "From: x@out.test\r\n" .. case[2])
    t.eq(r.code, case[3], case[1])
    if r.code ~= 250 then t.eq(r.enhanced, case[4], case[1]) end
    t.no_errors(r)
  end
  t.eq(inbox("a@our.example"), 0)
  local loops = 0
  for _, line in ipairs(t.log()) do
    if line:find("a post came back to its list", 1, true) then loops = loops + 1 end
  end
  t.eq(loops, 2)
end)

t.case("posts without one author", function()
  create("who@our.example", "post=anyone")
  for name, fields in pairs { none = "", two = "From: x@out.test, y@out.test\r\n", ["two fields"] = "From: x@out.test\r\nFrom: y@out.test\r\n",
    empty = "From: <>\r\n", group = "From: us: x@out.test, y@out.test;\r\n" } do
    local r = post("x@out.test", "who@our.example", fields)
    t.eq({ r.code, r.enhanced }, { 550, "5.6.0" }, name)
  end
  t.eq(inbox("a@our.example"), 0)
end)

t.case("messages in Portuguese", function()
  t.account("owner@our.example")
  list("create", { "pt@our.example", "language=pt" }, { owner = "owner@our.example" })
  local ask = post("novo@out.test", "pt-join@our.example", "From: novo@out.test\r\n").sent[1]
  t.eq(ask.to, { "novo@out.test" })
  t.contains(ask.text, "Alguém, talvez você, quer que este endereço receba")
  local welcome = post("novo@out.test", ask.headers.from:match("<(.-)>") or ask.headers.from, "From: novo@out.test\r\n").sent[1]
  t.eq(welcome.to, { "novo@out.test" })
  t.contains(welcome.text, "Este endereço está agora inscrito em pt@our.example.")
  t.contains(list("members", { "pt@our.example" }), "novo@out.test")
end)
