-- What must not be forwarded, and why.
local consent = require "consent"
local M = {}

-- allowed reports whether config.allow has a domain; ".d" is d and all below it.
local function allowed(domain)
  if #config.allow == 0 then return true end
  for _, d in ipairs(config.allow) do
    if domain == d or string.sub(d, 1, 1) == "." and (domain == string.sub(d, 2) or string.sub(domain, -#d) == d) then return true end
  end
  return false
end

-- target returns the reason why this target outside gets nothing, or nil.
function M.target(owner, target)
  if not allowed(addr.domain(target)) then return "the target's domain is not allowed" end
  if not consent.given(owner, target) then
    consent.ask(owner, target)
    return "a target has not confirmed"
  end
end

-- The rates are checked last: mail that stays for another reason does not count.
function M.rates(owner, target)
  if not rate.take("user:" .. owner, config.user_rate) or not rate.take("target:" .. string.lower(target), config.target_rate) then
    return "too much mail was forwarded"
  end
end

local function says_yes(msg, name)
  local v = string.lower(msg:header(name) or "")
  return string.match(v, "^%s*yes") ~= nil or string.match(v, "^%s*true") ~= nil
end

local function spam(msg, rcpt)
  if config.spam == "forward" then return false end
  return string.lower(rcpt.meta.folder or "") == "junk" or
    (msg:score() >= config.spam_score or says_yes(msg, "X-Spam") or says_yes(msg, "X-Spam-Flag") or says_yes(msg, "X-Spam-Status"))
end

-- message returns the reason why this message is not forwarded, or nil. Forged
-- mail would be forwarded in our name. Mail of our users has no DMARC result
-- yet: it is signed when it is sent.
function M.message(msg, rcpt)
  if spam(msg, rcpt) then return "spam" end
  if msg.ours or config.dmarc == "forward" then return nil end
  local dmarc = msg:auth().dmarc
  if dmarc.result == "fail" and (config.dmarc ~= "enforced" or dmarc.policy == "reject" or dmarc.policy == "quarantine") then
    return "DMARC failed"
  end
end

-- came_back reports whether this mailbox had the message already.
function M.came_back(msg, owner)
  for _, v in ipairs(msg:headers("Delivered-To")) do
    if addr.normalize(v) == owner then return true end
  end
  return false
end

-- key returns a name of a message to this mailbox, the same each time it comes.
local function key(msg, owner)
  local id = msg:message_id() or ((msg:header("From") or "") .. "\n" .. (msg:header("Date") or "") .. "\n" .. (msg:header("Subject") or ""))
  return "seen:" .. hash.sha256(owner .. "\n" .. id)
end

function M.seen(msg, owner) return kv.get(key(msg, owner)) ~= nil end

-- first remembers the message, and returns whether it is new: a server that
-- removes Delivered-To could forward it back without end.
function M.first(msg, owner) return kv.once(key(msg, owner), { ttl = config.memory }) end

return M
