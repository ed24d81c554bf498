-- carteiro/autoreply: answers for users who are away (RFC 3834, RFC 5230).
--
-- The answer and the note of who got one are in the commit of the delivery:
-- after a crash both are there, once, or neither. A mailbox gets one message
-- at a time, so nobody is answered twice at once. Cheap checks come first, the
-- DNS last.

local gate = require "gate"
local letter = require "letter"

local HOUR, DAY = 3600, 86400

-- today returns the date in a time zone, as "2026-12-31".
local function today(now, zone)
  local ok, day = pcall(time.format, now, "date", zone)
  if ok then return day end
  return time.format(now, "date")
end

-- away reports whether the user is away; `until` is the last day.
local function away(v, now)
  if type(v) ~= "table" or v.active ~= true or type(v.text) ~= "string" then return false end
  local first, last = v.from, v["until"]
  if not (first or last) then return true end
  local day = today(now, v.timezone or config.timezone)
  return not (first and day < first) and not (last and day > last)
end

-- forgotten reports whether an absence without an end is too old: the user may have forgotten it.
local function forgotten(box, v, texts, now)
  if config.max_days == 0 or v["until"] then return false end
  local key = "since:" .. box.address .. texts
  local since = kv.get(key) or v.from and time.parse(v.from, v.timezone or config.timezone)
  if not since then
    kv.set(key, now, { ttl = (config.max_days + 30) * DAY })
    return false
  end
  return now - since > config.max_days * DAY
end

-- spent counts the account's answers of the last hour, and one more with `add`.
local function spent(box, now, add)
  local key, recent = "hour:" .. box.address, {}
  for _, at in ipairs(kv.get(key) or {}) do
    if now - at < HOUR then recent[#recent + 1] = at end
  end
  if add then
    recent[#recent + 1] = now
    kv.set(key, recent, { ttl = HOUR })
  end
  return #recent
end

-- within_rate reports whether one more answer may go to a domain. Half of the hourly rate may
-- go at once, the other half is spread over the hour, so that no hour has more than the rate.
local function within_rate(domain)
  local half = math.max(1, math.floor(config.domain_hourly / 2))
  return (rate.take("domain:" .. domain, half .. "/1h", { burst = half }))
end

on("deliver.local", { order = 100 }, function(msg, rcpt, box)
  local v = box:setting("vacation")
  if not v or not server.is_local(addr.domain(box.address)) then return end
  local now, me = time.now(), box.address
  if not away(v, now) then return end
  local sender = rcpt.sender or msg.sender
  if sender == "" then return end

  -- Most mail for a user who is away comes from senders who got an answer already.
  local days = math.max(1, v.days or config.days)
  local key = me .. " " .. gate.person(sender)
  if #key > 300 then key = hash.sha256(key) end
  local last = kv.get(key)
  if last and now - last.at >= days * DAY then last = nil end
  if last and last.texts == letter.texts(v) then return end

  if gate.automatic(msg) or gate.machine(sender) or gate.suppressed(sender) or gate.junk(msg, rcpt) then return end
  if gate.own(me, v, sender) or not gate.addressed(msg, box, v) then return end
  if not gate.audience(msg, box, v, sender) then return end
  if spent(box, now) >= config.hourly then return end

  local used, limit = box:quota()
  if limit and used + msg.size > limit then return end -- it will come again
  local texts = letter.texts(v)
  if forgotten(box, v, texts, now) or gate.forged(msg, sender) then return end
  if not within_rate(addr.domain(sender)) then return end

  kv.set(key, { at = now, texts = texts }, { ttl = days * DAY })
  spent(box, now, true)
  letter.send(msg, box, v, letter.words(v, gate.inside(msg, box, sender)), sender)
end)
