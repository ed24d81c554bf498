-- Members that come from elsewhere, by HTTP: a directory, a shop, a club.
--
-- The URL of a source is a setting of the list; the configuration ([[bundle]]
-- http) must allow its host. Members get no mail when a source adds or removes
-- them, and their own settings are kept. A member that left is not added
-- again, even if it is still in the source.

local members = require "members"

local sources = {}

-- atOnce is how many members one run adds or removes, with three operations
-- each of the budget's 1,000; the others wait for the next run.
local atOnce = 300

local function left(name, address) return "left:" .. name .. ":" .. address end

-- gone remembers that a member of a source left on their own.
function sources.gone(name, address)
  local m, key = members.find(name, address)
  if m and m.source then kv.set(left(name, key), true) end
end

-- came forgets that, when it joins again.
function sources.came(name, address) kv.delete(left(name, address)) end

-- take adds a member of a source, unless it is there or left before.
function sources.take(name, source, address, with)
  if members.find(name, address) or kv.get(left(name, address)) then return false end
  with.source, with.joined, with.posts = source, time.now(), 0
  members.put(name, address, with)
  return true
end

-- one reads an entry: an address, or a table with one.
local function one(entry)
  local with = {}
  if type(entry) == "table" then
    local mode = entry.mode
    if mode ~= nil and not members.modes[mode] then return nil end
    with.mode = mode
    if type(entry.name) == "string" and entry.name ~= "" then with.name = entry.name end
    entry = entry.address
  end
  local a = type(entry) == "string" and addr.parse(entry)
  if a and string.find(a, "^[^%s<>]+@[^%s<>]+$") then return string.lower(a), with end
  return nil
end

-- read reads an answer: JSON, an array of addresses or of tables with address,
-- name and mode; or text, one address on each line. It returns members by
-- address, or nil and the error: with an error nothing of the answer counts.
local function read(answer)
  local entries, found, n = {}, {}, 0
  if string.find(answer.headers["content-type"] or "", "json", 1, true) then
    local ok, decoded = pcall(json.decode, answer.body)
    if not ok or type(decoded) ~= "table" then return nil, "the answer is no JSON array" end
    entries = decoded
  else
    for line in string.gmatch(answer.body, "[^\r\n]+") do
      if string.find(line, "%S") and not string.find(line, "^%s*#") then entries[#entries + 1] = line end
    end
  end
  for i, entry in ipairs(entries) do
    local a, with = one(entry)
    if not a then return nil, "entry " .. i .. " of the answer has no address, or a mode that is none" end
    found[a], n = with, n + 1
  end
  if n == 0 then return nil, "the answer names nobody" end
  return found
end

-- fetch gets the members from the source.
local function fetch(url)
  local answer, why = http.get(url, { timeout = "20s", headers = { Accept = "application/json, text/plain" } })
  if not answer then return nil, why end
  if answer.status ~= 200 then return nil, "status " .. answer.status end
  return read(answer)
end

-- follow makes the list's members those of the source, as many as one run may
-- change. It returns whether that was all.
local function follow(name, source, found)
  local room, had = atOnce, {}
  for _, m in ipairs(list.roster(name)) do
    had[m.address] = true
    if m.source == source and not found[m.address] then
      if room == 0 then return false end
      list.remove(name, m.address)
      room = room - 1
    end
  end
  for a, with in pairs(found) do
    if not had[a] then
      if room == 0 then return false end
      sources.take(name, source, a, with)
      room = room - 1
    end
  end
  return true
end

-- refresh reads the source of a list when it is time. If that fails, the
-- members do not change, and `list show` says why.
function sources.refresh(name, l, now)
  if l.source == "" then return end
  local key = "source:" .. name
  local last = kv.get(key) or {}
  if last.url == l.source and now < (last.next or 0) then return end
  local found, why = fetch(l.source)
  if not found then
    log.warn("the members' source could not be asked", { list = name, why = why })
    kv.set(key, { url = l.source, next = now + 900, failed = why, at = now })
    return
  end
  local done = follow(name, "url", found)
  kv.set(key, { url = l.source, next = done and now + l.source_every * 3600 or 0, at = now })
end

-- state is the result of the last run, for owners.
function sources.state(name, l)
  if l.source == "" then return nil end
  local last = kv.get("source:" .. name)
  if not last or last.url ~= l.source then return "not asked yet" end
  if last.failed then return "failed: " .. last.failed end
  return last.next == 0 and "in work" or "good"
end

return sources
