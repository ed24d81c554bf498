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

-- none: a folder that holds nothing is 0.
local none = { __index = function() return 0 end }

-- show writes a value so that two that differ look different.
local function show(v, depth)
  depth = depth or 0
  if type(v) == "string" then return string.format("%q", v) end
  if type(v) ~= "table" then return tostring(v) end
  if depth > 4 then return "{...}" end
  local keys, parts = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  if getmetatable(v) == none and rawget(v, "INBOX") == nil then keys[#keys + 1] = "INBOX" end
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
  for k in pairs(b) do if not same(a[k], b[k]) then return false end end
  return true
end

function t.case(name, options, fn)
  if fn == nil then options, fn = {}, options end
  if type(name) ~= "string" then fail("t.case: the name must be a text, got " .. show(name)) end
  if type(options) ~= "table" then fail("t.case: the options must be a table, got " .. show(options)) end
  if type(fn) ~= "function" then fail("t.case: expected t.case(name, [options,] function), got " .. show(fn)) end
  for k in pairs(options) do
    if k ~= "smoke" and k ~= "tags" then fail("t.case: there is no option " .. tostring(k) .. "; known are smoke, tags") end
  end
  if options.smoke ~= nil and type(options.smoke) ~= "boolean" then fail("t.case: smoke must be true or false, got " .. show(options.smoke)) end
  if options.tags ~= nil and type(options.tags) ~= "table" then fail("t.case: tags must be a list, got " .. show(options.tags)) end
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

-- two makes sure that an assertion was given both of its values: one that is
-- forgotten would be compared as nil.
local function two(name, n)
  if n < 2 then fail(name .. " needs two values, got " .. n) end
end

function t.eq(...)
  two("t.eq", select("#", ...))
  local got, want, note = ...
  if same(got, want) then return end
  local where = difference(got, want)
  fail(where or "got " .. show(got) .. ", want " .. show(want), note)
end

function t.ne(...)
  two("t.ne", select("#", ...))
  local got, other, note = ...
  if same(got, other) then fail("got " .. show(got) .. ", which it must not be", note) end
end

function t.ok(...)
  if select("#", ...) < 1 then fail("t.ok needs a value") end
  local v, note = ...
  if not v then fail("got " .. show(v) .. ", want something true", note) end
  return v
end

-- searched makes sure that there is something to search and something to find.
local function searched(name, all, one)
  if type(all) ~= "string" and type(all) ~= "table" then fail(name .. ": a list or a text was expected, got " .. show(all)) end
  if one == nil then fail(name .. ": what to look for is nil") end
  if type(all) == "string" and type(one) ~= "string" then fail(name .. ": in a text a text is looked for, got " .. show(one)) end
end

-- contains: an element of a list, or a part of a text.
function t.contains(all, one, note)
  searched("t.contains", all, one)
  if type(all) == "string" then
    if all:find(one, 1, true) then return end
  else
    for _, v in pairs(all) do if same(v, one) then return end end
  end
  fail(show(one) .. " is not in " .. show(all), note)
end

function t.lacks(all, one, note)
  searched("t.lacks", all, one)
  if type(all) == "string" then
    if not all:find(one, 1, true) then return end
  else
    local found = false
    for _, v in pairs(all) do found = found or same(v, one) end
    if not found then return end
  end
  fail(show(one) .. " is in " .. show(all), note)
end

function t.matches(text, pattern, note)
  if type(pattern) ~= "string" then fail("t.matches: the pattern must be a text, got " .. show(pattern)) end
  if type(text) ~= "string" or not text:find(pattern) then fail(show(text) .. " does not match " .. show(pattern), note) end
end

-- fails: the function raises an error, whose text is returned.
function t.fails(fn, pattern)
  if type(fn) ~= "function" then fail("t.fails: a function was expected, got " .. show(fn)) end
  if pattern ~= nil and type(pattern) ~= "string" then fail("t.fails: the pattern must be a text, got " .. show(pattern)) end
  local ok, err = pcall(fn)
  if ok then fail("no error was raised") end
  if pattern and not tostring(err):find(pattern) then fail("the error is " .. show(err) .. ", which does not match " .. show(pattern)) end
  return err
end

-- strict refuses names that a table of functions has not.
local function strict(owner, functions, also)
  return setmetatable(functions, { __index = function(_, name)
    if also and also[name] then return nil end
    local known = {}
    for k in pairs(functions) do known[#known + 1] = k end
    table.sort(known)
    world("unknown", owner, tostring(name), unpack(known))
  end })
end

local Session = {}

for _, verb in ipairs { "helo", "mail", "rcpt", "data", "auth", "rset", "quit" } do
  Session[verb] = function(self, ...)
    if type(self) ~= "table" then fail("s:" .. verb .. " is called with a colon") end
    return world("session." .. verb, self.number, ...)
  end
end

strict("s:", Session, { enhanced = true })
Session.__index = Session

function t.session(options)
  local s = world("session", options)
  return setmetatable(s, Session)
end

local nobody = { __index = function() return setmetatable({}, none) end }

local function report(r)
  setmetatable(r.mailboxes, nobody)
  for _, folders in pairs(r.mailboxes) do setmetatable(folders, none) end
  return r
end

function t.deliver(options) return report(world("deliver", options)) end

-- settle: everything that is due happens; what it came to.
function t.settle(...) return report(world("settle", ...)) end

-- reported makes sure that it is a report.
local function reported(name, r)
  if type(r) ~= "table" or type(r.errors) ~= "table" then fail(name .. ": what t.deliver or t.settle returned was expected, got " .. show(r)) end
  return r
end

-- errors: what handlers failed with so far, or in one report.
function t.errors(r)
  if r == nil then r = world("settle") end
  return reported("t.errors", r).errors
end

function t.no_errors(r)
  if r == nil then r = world("settle") end
  local errors = reported("t.no_errors", r).errors
  if #errors > 0 then fail("a policy failed: " .. table.concat(errors, "\n")) end
end

function t.mailbox(address, folder)
  if folder == nil then folder = "INBOX" end
  return world("mailbox", address, folder)
end
function t.sent(...) return world("sent", ...) end
function t.submitted(...) return world("submitted", ...) end
function t.requests(...) return world("requests", ...) end
function t.log(...) return world("log", ...) end
function t.web(request) return world("web", request) end
function t.command(command) return world("command", command) end
function t.file(name) return world("file", name) end

function t.dns(names) world("dns", names) end
function t.http(answers) world("http", answers) end
function t.milter(answers) world("milter", answers) end
function t.remote(answers) world("remote", answers) end
function t.fail(what, how) world("fail", what, how) end
function t.limit(limits) world("limit", limits) end
function t.account(address, settings, options) world("account", address, settings, options) end
function t.alias(address, targets) world("alias", address, targets) end
function t.grant(owner, delegate, right) world("grant", owner, delegate, right) end
function t.key(address, kind, options) world("key", address, kind, options) end
function t.decrypt(raw) return world("decrypt", raw) end
function t.domain(name) world("domain", name) end
function t.config(values) world("config", values) end

function t.clock.advance(duration) world("clock.advance", duration) end
function t.clock.set(time) world("clock.set", time) end
function t.clock.now(...) return world("clock.now", ...) end

strict("t.clock.", t.clock)
return strict("t.", t)
