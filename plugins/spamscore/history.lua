-- What is remembered: known senders, mail that users sent, how good the mail
-- of a sender was.
local add = require("symbols").add
local M = {}

local minute = 60
local known_for, grey_for, wait = "35d", "36h", 5 * minute

local function triplet(session, tx, rcpt) return "grey:" .. session.ip_net .. ":" .. string.lower(tx.sender) .. ":" .. rcpt.address end

local function sender_domain(tx) return tx.sender ~= "" and addr.org_domain(addr.domain(tx.sender)) or nil end

-- greylist defers mail of a new sender for five minutes, if all new senders
-- have to wait; otherwise it only stores when the sender was first seen. A
-- domain with good mail need not wait from a network where it was seen before;
-- from other networks only if SPF passes (M.confirm).
function M.greylist(session, tx, rcpt)
  if config.greylisting == "off" or session.identity or not rcpt.is_local then return end
  local domain = sender_domain(tx)
  if domain and kv.get("good:" .. domain .. ":" .. session.ip_net) then return end
  local key = triplet(session, tx, rcpt)
  local first = kv.get(key)
  if first and time.now() - first >= wait then
    kv.set(key, first, { ttl = known_for })
    return
  end
  if not first then
    first = time.now()
    kv.set(key, first, { ttl = grey_for })
  end
  tx.meta.wait = math.max(tx.meta.wait or 0, first + wait)
  if config.greylisting ~= "all" then return end
  if domain and kv.get("good:" .. domain) then
    tx.meta.unless = true
    return
  end
  return defer(451, "4.7.1", "greylisted, please come again in 5 minutes")
end

-- confirm checks senders that M.greylist did not defer because SPF may pass.
function M.confirm(tx, msg)
  if tx.meta.unless and msg:auth().spf.result ~= "pass" then
    return defer(451, "4.7.1", "greylisted, please come again in 5 minutes")
  end
end

-- early reports whether the sender has not waited long enough.
function M.early(tx) return tx.meta.wait ~= nil and time.now() < tx.meta.wait end

-- rated defers clients and users that send too fast.
function M.rated(session)
  local key, limit = "ip:" .. session.ip, config.rate_ip
  if session.identity then key, limit = "user:" .. session.identity.user, config.rate_user end
  if limit == "" then return end
  local ok, seconds = rate.take(key, limit)
  if not ok then return defer(450, "4.7.28", "too much mail, come again in " .. math.ceil(seconds) .. " s") end
end

-- wrote remembers mail of a user: its id, for answers, and its recipients.
function M.wrote(msg, tx)
  local id = msg:message_id()
  if id then kv.set("id:" .. hash.sha256(id), true, { ttl = "60d" }) end
  local n = 0
  for _, rcpt in ipairs(tx:recipients()) do
    n = n + 1
    if n > 20 then break end
    kv.set("wrote:" .. string.lower(rcpt.address), true, { ttl = "180d" })
  end
end

-- answers scores mail that answers a user's mail, or whose sender a user wrote
-- to, if the sender is authenticated.
function M.answers(msg, authenticated)
  for _, field in ipairs { "In-Reply-To", "References" } do
    local n = 0
    for id in string.gmatch(msg:header(field) or "", "<[^<>%s]+>") do
      n = n + 1
      if n > 20 then break end
      if kv.get("id:" .. hash.sha256(id)) then
        add(msg, "REPLY", -4, "to what a user wrote")
        return true
      end
    end
  end
  local from = msg:from()
  if authenticated and from and kv.get("wrote:" .. string.lower(from)) then
    add(msg, "CORRESPONDENT", -2, from)
    return true
  end
  return false
end

local function whose(session, domain) return "rep:" .. (domain or session.ip_net) end

-- reputation scores by earlier mail of the sender.
function M.reputation(session, msg, domain)
  local r = kv.get(whose(session, domain))
  if r and r.n >= 5 then add(msg, "REPUTATION", math.max(-2, math.min(2, r.mean * 0.25)), (domain or session.ip_net) .. " " .. r.n .. " messages") end
end

-- did remembers the result of a message; newer ones count more.
function M.did(session, tx, msg, domain, total)
  local key = whose(session, domain)
  local r = kv.get(key) or { n = 0, mean = 0 }
  local weight = math.max(1 / (r.n + 1), 0.05)
  kv.set(key, { n = math.min(r.n + 1, 1000), mean = r.mean + (math.max(-10, math.min(20, total)) - r.mean) * weight }, { ttl = "30d" })
  local from = sender_domain(tx)
  if total < 2 and from and msg:auth().spf.result == "pass" then
    kv.set("good:" .. from, true, { ttl = known_for })
    kv.set("good:" .. from .. ":" .. session.ip_net, true, { ttl = known_for })
  end
end

return M
