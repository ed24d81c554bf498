-- The library of test files: local t = require "carteiro.test".
-- Each case runs in a world of its own: an empty store, fresh interpreters, a
-- clock of its own, and a DNS and a web that hold what the test puts there.
local t = { clock = {} }

-- world does one operation.
local function world(what, ...)
  local answer, err = _world(what, ...)
  if err then _fail(err) end
  return answer
end

-- fail raises an error at the line of the test.
local function fail(text, note)
  if note then text = text .. " (" .. tostring(note) .. ")" end
  _fail(text)
end

-- show writes a value so that two that differ look different.
local function show(v, depth)
  depth = depth or 0
  if type(v) == "string" then return string.format("%q", v) end
  if type(v) ~= "table" then return tostring(v) end
  if depth > 4 then return "{...}" end
  local keys, parts = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    return type(a) < type(b)
  end)
  for i, k in ipairs(keys) do
    if k == i then
      parts[#parts + 1] = show(v[k], depth + 1)
    else
      parts[#parts + 1] = tostring(k) .. " = " .. show(v[k], depth + 1)
    end
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

function t.case(name, options, fn)
  if fn == nil then options, fn = {}, options end
  local tags = {}
  if options.smoke then tags[1] = "smoke" end
  for _, tag in ipairs(options.tags or {}) do tags[#tags + 1] = tag end
  _case(name, table.concat(tags, " "), fn)
end

-- difference tells where two texts of several lines part; nil for others.
local function difference(got, want)
  if type(got) ~= "string" or type(want) ~= "string" or not (got .. want):find("\n") then return nil end
  local number, a, b = 0, (got .. "\n"):gmatch("([^\n]*)\n"), (want .. "\n"):gmatch("([^\n]*)\n")
  while true do
    local x, y = a(), b()
    number = number + 1
    if x ~= y then
      local function line(s) return s and show(s) or "nothing, it ends before" end
      return "line " .. number .. " differs\n  got  " .. line(x) .. "\n  want " .. line(y)
    end
  end
end

function t.eq(got, want, note)
  if same(got, want) then return end
  local where = difference(got, want)
  fail(where or "got " .. show(got) .. ", want " .. show(want), note)
end

function t.ne(got, other, note)
  if same(got, other) then fail("got " .. show(got) .. ", which it must not be", note) end
end

function t.ok(v, note)
  if not v then fail("got " .. show(v) .. ", want something true", note) end
  return v
end

-- contains: an element of a list, or a part of a text.
function t.contains(all, one, note)
  if type(all) == "string" then
    if all:find(one, 1, true) then return end
  else
    for _, v in pairs(all or {}) do if same(v, one) then return end end
  end
  fail(show(one) .. " is not in " .. show(all), note)
end

function t.lacks(all, one, note)
  if type(all) == "string" then
    if not all:find(one, 1, true) then return end
  else
    local found = false
    for _, v in pairs(all or {}) do found = found or same(v, one) end
    if not found then return end
  end
  fail(show(one) .. " is in " .. show(all), note)
end

function t.matches(text, pattern, note)
  if type(text) ~= "string" or not text:find(pattern) then fail(show(text) .. " does not match " .. show(pattern), note) end
end

-- fails: the function raises an error, whose text is returned.
function t.fails(fn, pattern)
  local ok, err = pcall(fn)
  if ok then fail("no error was raised") end
  if pattern and not tostring(err):find(pattern) then fail("the error is " .. show(err) .. ", which does not match " .. show(pattern)) end
  return err
end

local Session = {}
Session.__index = Session

for _, verb in ipairs { "helo", "mail", "rcpt", "data", "auth", "rset", "quit" } do
  Session[verb] = function(self, ...) return world("session." .. verb, self.number, ...) end
end

function t.session(options)
  local s = world("session", options or {})
  return setmetatable(s, Session)
end

local none = { __index = function() return 0 end }
local nobody = { __index = function() return setmetatable({}, none) end }

local function report(r)
  setmetatable(r.mailboxes, nobody)
  for _, folders in pairs(r.mailboxes) do setmetatable(folders, none) end
  return r
end

function t.deliver(options) return report(world("deliver", options or {})) end

-- settle: everything that is due happens; what it came to.
function t.settle() return report(world("settle")) end

-- errors: what handlers failed with so far, or in one report.
function t.errors(r) return (r or world("settle")).errors end

function t.no_errors(r)
  local errors = (r or world("settle")).errors
  if #errors > 0 then fail("a policy failed: " .. table.concat(errors, "\n")) end
end

function t.mailbox(address, folder) return world("mailbox", address, folder or "INBOX") end
function t.sent() return world("sent") end
function t.submitted() return world("submitted") end
function t.requests() return world("requests") end
function t.log() return world("log") end
function t.web(request) return world("web", request) end
function t.command(command) return world("command", command) end
function t.file(name) return world("file", name) end

function t.dns(names) world("dns", names) end
function t.http(answers) world("http", answers) end
function t.milter(answers) world("milter", answers) end
function t.remote(answers) world("remote", answers) end
function t.fail(what, how) world("fail", what, how or "") end
function t.limit(limits) world("limit", limits) end
function t.account(address, settings, options) world("account", address, settings or {}, options or {}) end
function t.alias(address, targets) world("alias", address, targets) end
function t.grant(owner, delegate, right) world("grant", owner, delegate, right) end
function t.key(address, kind, options) world("key", address, kind, options or {}) end
function t.decrypt(raw) return world("decrypt", raw) end
function t.domain(name) world("domain", name) end
function t.config(values) world("config", values) end

function t.clock.advance(duration) world("clock.advance", duration) end
function t.clock.set(time) world("clock.set", time) end
function t.clock.now() return world("clock.now") end

return t
