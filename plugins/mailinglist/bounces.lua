-- Bounces. Each copy has a signed return path that names its member. A bounce
-- counts once a day: a hard failure one point, a soft one half. A member with
-- too many points gets a probe; if the probe bounces too, nothing more is sent
-- to the member until it answers one of the letters of upkeep.lua.

local members = require "members"
local letters = require "letters"
local roles = require "roles"
local paths = require "paths"

local bounces = {}

local day, quiet = 86400, 7 * 86400

-- failure returns class and text of the first failure in a DSN.
local function failure(msg)
  for _, r in ipairs(msg:report() or {}) do
    if r.class then return r.class, (r.status or "") .. " " .. (r.diagnostic or "") end
  end
  return nil
end

-- count adds a bounce to a member's score and returns the new score.
local function count(m, class, now)
  local today = math.floor(now / day)
  if m.bounced and now - m.bounced > quiet then m.score = 0 end
  if m.bounced_day == today then return m.score or 0 end
  m.score = (m.score or 0) + (class == "hard" and 1 or 0.5)
  m.bounced, m.bounced_day = now, today
  return m.score
end

-- expand handles mail to LIST-bounces+....
function bounces.expand(msg, rcpt, to)
  local member = paths.back(rcpt.address)
  local class, text = failure(msg)
  if not member or not class then return discard("no report that counts") end
  local m, key = members.find(to.name, member)
  if not m or m.off then return discard("no member that gets mail") end
  local score = count(m, class, time.now())
  if score >= to.settings.bounce_score and not m.probed then
    m.probed = time.now()
    bounces.ask(to, key, text)
  end
  members.put(to.name, key, m)
  return discard("bounce of " .. key .. " counted, score " .. score)
end

-- ask sends the probe: a letter whose return path says that it is a probe.
function bounces.ask(to, address, reason)
  mail.submit {
    sender = paths.out(roles.at(to.name, "probe"))(address), from = roles.at(to.name, "request"), to = address,
    subject = letters.word(to, "probe_subject", { title = to.settings.title ~= "" and to.settings.title or addr.user(to.name) }),
    text = letters.word(to, "probe", { list = to.name, reason = reason }), auto = "auto-generated", headers = { ["X-Auto-Response-Suppress"] = "All" },
  }
end

-- probe handles a bounce of a probe.
function bounces.probe(msg, rcpt, to)
  local member = paths.back(rcpt.address)
  local class, text = failure(msg)
  local m, key = members.find(to.name, member or "")
  if not class or not m or not m.probed then return discard("no report that counts") end
  m.off, m.off_at, m.warned = "bounces", time.now(), 0
  members.put(to.name, key, m)
  log.info("member switched off", { list = to.name, member = key, reason = text })
  letters.to_owners(to, "off", { address = key, reason = text, warnings = to.settings.bounce_warnings })
  return discard("probe of " .. key .. " came back")
end

return bounces
