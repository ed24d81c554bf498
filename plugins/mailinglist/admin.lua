-- The commands of operators: carteiro list VERB ...

local settings = require "settings"
local members = require "members"
local requests = require "requests"
local sources = require "sources"

local admin = {}

-- told returns the answer: JSON if that is wanted, else text. An empty table
-- is an empty list.
local function told(cmd, value, text)
  if cmd.json then
    return response { type = "application/json", body = next(value) == nil and "[]" or json.encode(value) }
  end
  return response { type = "text/plain; charset=utf-8", body = text }
end

-- wrong ends a command with an error.
local function wrong(text) error({ wrong = text }, 0) end

local function address(text)
  local a = addr.parse(text)
  if not a or not string.find(a, "@", 1, true) or string.find(text, "[%c]") then wrong(text .. " is no address") end
  return a
end

-- addresses returns the addresses after the list's name, if all of them are
-- valid, so that a command changes everything or nothing.
local function addresses(cmd)
  local out = {}
  for i = 2, #cmd.args do out[#out + 1] = address(cmd.args[i]) end
  if #out == 0 then wrong("whom? give an address") end
  return out
end

-- opened returns the list that a command names.
local function opened(cmd)
  local name = string.lower(cmd.args[1] or "")
  local l = settings.load(name)
  if not l then wrong("there is no list " .. name) end
  return { name = name, role = "post", settings = l }
end

-- changed reads KEY=VALUE pairs, from the nth argument on, into values.
local function changed(cmd, n, values)
  for i = n, #cmd.args do
    local key, value = settings.parse(cmd.args[i])
    if not key then wrong(value) end
    values[key] = value
  end
  return values
end

local verbs = {}

function verbs.create(cmd)
  local name = string.lower(address(cmd.args[1] or ""))
  if string.find(addr.user(cmd.args[1]), "[+/]") or addr.tag(name) then wrong("a list's name has no + and no /") end
  if list.settings(name) then wrong("there is a list " .. name .. " already") end
  if account.exists(name) then wrong("there is an account " .. name) end
  local values = { language = config.language, archive = config.archive }
  local _, size = settings.parse("max_size=" .. config.max_size)
  values.max_size = size
  if cmd.options.owner then
    local key, owner = settings.parse("owner=" .. cmd.options.owner)
    if not key then wrong(owner) end
    values.owner = owner
  end
  changed(cmd, 2, values)
  if not values.owner then wrong("who runs it? give --owner ADDRESS") end
  settings.save(name, values)
  return told(cmd, { list = name }, name .. " made\n")
end

function verbs.rm(cmd)
  local to = opened(cmd)
  for _, held in ipairs(list.held(to.name)) do list.drop(to.name, held.id) end
  list.configure(to.name, nil)
  return told(cmd, { list = to.name }, to.name .. " removed\n")
end

function verbs.list(cmd)
  local names = {}
  for _, name in ipairs(list.names(cmd.args[1])) do
    if settings.load(name) then names[#names + 1] = name end
  end
  return told(cmd, names, #names > 0 and table.concat(names, "\n") .. "\n" or "")
end

local function shown(v)
  if type(v) == "table" then return table.concat(v, ",") end
  return (string.gsub(tostring(v), "\n", "\\n"))
end

function verbs.show(cmd)
  local to = opened(cmd)
  local lines, out = {}, { list = to.name, settings = {}, members = #list.members(to.name), held = #list.held(to.name), posts = kv.get("posts:" .. to.name) or 0 }
  for key in pairs(settings.keys) do
    local v = to.settings[key]
    if type(v) ~= "table" or next(v) ~= nil then out.settings[key] = v end
    lines[#lines + 1] = key .. "=" .. shown(to.settings[key])
  end
  table.sort(lines)
  out.source = sources.state(to.name, to.settings)
  if out.source then lines[#lines + 1] = "the source: " .. out.source end
  return told(cmd, out, table.concat(lines, "\n") .. "\n" .. out.members .. " members, " .. out.held .. " held, " .. out.posts .. " posts\n")
end

function verbs.set(cmd)
  local to = opened(cmd)
  local stored = list.settings(to.name)
  settings.save(to.name, changed(cmd, 2, stored))
  return told(cmd, { list = to.name }, "")
end

function verbs.members(cmd)
  local to = opened(cmd)
  local mode = cmd.options.mode
  if mode and not members.modes[mode] then wrong("mode must be regular, digest, mime-digest or none, got " .. mode) end
  if cmd.json then return told(cmd, list.roster(to.name, mode and { mode = mode } or nil)) end
  local all = list.members(to.name, mode and { mode = mode } or nil)
  return told(cmd, all, #all > 0 and table.concat(all, "\n") .. "\n" or "")
end

function verbs.subscribe(cmd)
  local to, lines = opened(cmd), {}
  local mode = cmd.options.mode
  if mode and not members.modes[mode] then wrong("mode must be regular, digest, mime-digest or none, got " .. mode) end
  for _, a in ipairs(addresses(cmd)) do
    if a == to.name then wrong("a list cannot be its own member") end
    members.add(to.name, a, { mode = mode, name = cmd.options.name, language = cmd.options.language })
    lines[#lines + 1] = a .. " subscribed"
  end
  return told(cmd, { list = to.name, subscribed = #lines }, table.concat(lines, "\n") .. "\n")
end

function verbs.unsubscribe(cmd)
  local to = opened(cmd)
  local all = addresses(cmd)
  for _, a in ipairs(all) do
    if not members.find(to.name, a) then wrong(a .. " is no member of " .. to.name) end
  end
  for _, a in ipairs(all) do members.remove(to.name, a) end
  return told(cmd, { list = to.name, unsubscribed = #cmd.args - 1 }, "")
end

-- What an operator may change for a member.
local kept = { mode = "mode", moderated = "switch", metoo = "switch", nodup = "switch", name = "text", language = "text" }

function verbs.member(cmd)
  local to = opened(cmd)
  local a = address(cmd.args[2] or "")
  local m, key = members.find(to.name, a)
  if not m then wrong(a .. " is no member of " .. to.name) end
  local changes
  for i = 3, #cmd.args do
    local k, v = string.match(cmd.args[i], "^([%w_]+)=(.*)$")
    if not kept[k] then wrong("known of a member are language, metoo, moderated, mode, name and nodup, got " .. cmd.args[i]) end
    if kept[k] == "mode" and not members.modes[v] then wrong("mode must be regular, digest, mime-digest or none, got " .. v) end
    if kept[k] == "switch" and v ~= "true" and v ~= "false" then wrong(k .. " must be true or false, got " .. v) end
    changes = changes or {}
    if kept[k] == "switch" then changes[k] = v == "true" else changes[k] = v end
  end
  if changes then
    members.change(to.name, key, changes)
    m = members.find(to.name, key)
  end
  m.address = key
  local lines = {}
  for k, v in pairs(m) do lines[#lines + 1] = k .. "=" .. shown(v) end
  table.sort(lines)
  return told(cmd, m, table.concat(lines, "\n") .. "\n")
end

function verbs.held(cmd)
  local to, lines = opened(cmd), {}
  local all = list.held(to.name)
  for _, h in ipairs(all) do
    lines[#lines + 1] = h.id .. "  " .. time.format(h.at, "%Y-%m-%d %H:%M") .. "  " .. h.from .. "  " .. h.subject .. "  (" .. (h.reason or "") .. ")\n"
  end
  return told(cmd, all, table.concat(lines))
end

local function decide(cmd, decision, word)
  local to, id = opened(cmd), cmd.args[2] or ""
  if not requests.moderate(to, id, decision, cmd.options.reason) then wrong("no message " .. id .. " is held for " .. to.name) end
  return told(cmd, { list = to.name, id = id, decision = decision }, id .. " " .. word .. "\n")
end

function verbs.approve(cmd) return decide(cmd, "approve", "approved") end
function verbs.reject(cmd) return decide(cmd, "reject", "rejected") end

-- import adds members, each "MODE ADDRESS NAME", without a mail to them.
verbs["import"] = function(cmd)
  local to = opened(cmd)
  local all = {}
  for i = 2, #cmd.args do
    local mode, a, name = string.match(cmd.args[i], "^(%S+) (%S+) (.*)$")
    if not members.modes[mode] then wrong("mode must be regular, digest, mime-digest or none, got " .. cmd.args[i]) end
    all[#all + 1] = { address = address(a), with = { mode = mode, name = name ~= "" and name or nil } }
  end
  local new = 0
  for _, m in ipairs(all) do
    if cmd.options.source then -- keeps what the member chose since
      if sources.take(to.name, cmd.options.source, m.address, m.with) then new = new + 1 end
    else
      members.add(to.name, m.address, m.with)
      new = new + 1
    end
  end
  return told(cmd, { list = to.name, imported = new }, new .. " members taken over\n")
end

-- run carries out one command. A list belongs to a domain, and so does all its
-- data.
function admin.run(cmd)
  local verb = verbs[cmd.verb]
  if not verb then return reject("there is no `list " .. cmd.verb .. "`") end
  local domain = cmd.verb == "list" and "" or addr.domain(cmd.args[1] or "")
  if cmd.verb ~= "list" and (domain == "" or not server.is_local(domain)) then
    return reject((cmd.args[1] or "") .. ": mailing lists are not in force for that domain")
  end
  if cmd.verb == "list" and cmd.args[1] then
    local in_force, ours = server.is_local(cmd.args[1])
    if ours and not in_force then return reject(cmd.args[1] .. ": mailing lists are not in force for that domain") end
  end
  local ok, answer = pcall(for_domain, domain, function() return verb(cmd) end)
  if ok then return answer end
  if type(answer) == "table" and answer.wrong then return reject(string.sub(string.gsub(answer.wrong, "%c", " "), 1, 380)) end
  error(answer, 0)
end

return admin
