-- What a list does at fixed times.

local settings = require "settings"
local members = require "members"
local letters = require "letters"
local tokens = require "tokens"
local links = require "links"
local roles = require "roles"
local digest = require "digest"

local upkeep = {}

local week = 7 * 86400

-- warn writes to a member that is switched off, once a week, and removes it at
-- the end.
local function warn(to, m, now)
  if now - (m.warned_at or m.off_at or now) < week then return end
  local address, done = m.address, m.warned or 0
  if done >= to.settings.bounce_warnings then
    members.remove(to.name, address)
    log.info("member removed", { list = to.name, member = address })
    return
  end
  local token = tokens.make { action = "on", list = to.name, address = address }
  letters.send(to, address, "warning", { url = links.confirm(to.name, token), left = to.settings.bounce_warnings - done - 1 }, { from = roles.at(to.name, "confirm+" .. token) })
  members.change(to.name, address, { warned = done + 1, warned_at = now })
end

-- run does the regular work of one list.
function upkeep.run(name, now)
  local l = settings.load(name)
  if not l then return end
  local to = { name = name, role = "post", settings = l }
  digest.due(to, now)
  for _, m in ipairs(list.roster(name, { off = "bounces" })) do warn(to, m, now) end
  for _, m in ipairs(list.roster(name, { active = true })) do
    if m.probed and now - m.probed > week then -- the probe arrived
      members.change(name, m.address, { probed = false, score = false })
    end
  end
  for _, held in ipairs(list.held(name)) do
    if now - held.at > l.held_days * 86400 then list.drop(name, held.id) end
  end
end

return upkeep
