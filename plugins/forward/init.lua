-- carteiro/forward: users forward their mail to other addresses.
--
-- `carteiro account set ADDRESS forward VALUE` sets the targets (settings.lua). A
-- target outside has to agree first (consent.lua). Mail that must not be forwarded,
-- or not twice, stays in the mailbox with a header field that says why (gate.lua):
-- nothing is lost because it could not be forwarded. The envelope sender becomes an
-- address of ours, which returns bounces to the original sender (returns.lua).
local settings = require "settings"
local consent = require "consent"
local gate = require "gate"
local returns = require "returns"
local attach = require "attach"
local seal = require "seal"

assert(config.spam == "keep" or config.spam == "forward", 'config.spam is neither "keep" nor "forward"')
assert(config.dmarc == "keep" or config.dmarc == "enforced" or config.dmarc == "forward", 'config.dmarc is none of "keep", "enforced", "forward"')

local KEPT = "X-Carteiro-Forward-Kept"

-- special reports whether an address may be one of this bundle, or a return
-- path. It runs for every message, so it is short.
local starts = { forw = true, srs0 = true, srs1 = true }
local function special(rcpt) return starts[string.lower(string.sub(rcpt.address, 1, 4))] end

on("receive.rcpt", function(session, tx, rcpt)
  if special(rcpt) then return consent.at_rcpt(rcpt) or returns.at_rcpt(tx, rcpt) end
end)

on("web.request", { path = "/confirm" }, consent.at_web)

on("observe.event", { events = { "setting" } }, function(event)
  if event.data.name == "forward" then
    consent.changed(event.data.user, event.data.confirmed)
  end
end)

-- notified: if a copy stays, only its delivery gives a DSN of success.
local function notified(rcpt)
  if not rcpt.notify then return nil end
  local rest = {}
  for _, word in ipairs(rcpt.notify) do
    if word ~= "success" then rest[#rest + 1] = word end
  end
  return rest
end

-- sort returns the targets that get the message, and why the others do not; copies
-- are the targets that get a different message, outside those on other servers.
local function sort(msg, rcpt, owner, f)
  local go, copies, outside, why, checked = {}, {}, {}, nil, nil
  for _, target in ipairs(f.to) do
    local reason, copy
    local kind = settings.kind(target)
    if kind == nil then
      reason = "a target does not exist"
    elseif kind == "foreign" then
      checked = checked or { gate.message(msg, rcpt) }
      reason = gate.target(owner, target) or checked[1]
    end
    if not reason and f.encrypt then copy, reason = seal.copy(rcpt, owner, target) end
    if not reason and kind == "foreign" then reason = gate.rates(owner, target) end
    if reason then
      why = why or reason
    else
      go[#go + 1], copies[target], outside[target] = target, copy, kind == "foreign"
    end
  end
  return go, why, copies, outside
end

on("queue.expand", function(msg, rcpt)
  if not server.is_local(rcpt.domain) then return end
  if special(rcpt) then
    local act = consent.at_expand(msg, rcpt) or returns.at_expand(rcpt)
    if act then return act() end
  end
  local f = settings.of(rcpt.address)
  if not f then return end
  local kind, owner = account.resolve(rcpt.address)
  if kind ~= "mailbox" then return end -- an alias stands for somebody else
  if gate.came_back(msg, owner) then
    if gate.seen(msg, owner) then return discard("it was here before and was forwarded") end
    return reject(554, "5.4.6", "mail forwarding loop")
  end
  local go, why, copies, outside = sort(msg, rcpt, owner, f)
  if #go > 0 and not gate.first(msg, owner) then
    go, why = {}, "it was forwarded before"
  end
  if #go > 0 and f.attach then
    local failed = attach.send(msg, owner, go)
    why = why or failed
    if not why and not f.keep and rcpt.sender ~= "" then return discard("forwarded as an attachment") end
    go = {}
  end
  local stays = f.keep or why or #go == 0
  if why then rcpt:set_header(KEPT, why) end
  if #go == 0 then return end
  local back
  local how = { headers = { ["Delivered-To"] = owner, ["X-Forwarded-For"] = owner }, arc = config.arc and addr.domain(owner) or nil }
  local function each(target)
    how.msg = copies[target]
    if outside[target] then back = back or returns.sender(rcpt.sender, addr.domain(owner)) end
    how.sender = outside[target] and back or nil
    return how
  end
  if stays then
    how.notify = notified(rcpt)
    rcpt:copy_to(go, each)
  else
    rcpt:replace(go, each)
  end
end)
