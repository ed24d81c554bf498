-- carteiro/delegate: records, copies and bounces when somebody acts for another.
--
-- The server decides who may do so: before it runs this bundle, it has checked
-- every address of the envelope and of From, and written Sender. This bundle
-- makes the record, the copies and the return path, in the message's commit.

local page = require "page"
local grants = require "grants"

-- delegated returns the owners in whose name a message is sent, with the
-- address that was used and the right that allowed it.
local function delegated(user, msg)
  local out, seen = {}, {}
  local function look(a)
    if a == "" or seen[a] then return end
    seen[a] = true
    if not server.is_local(addr.domain(a)) or account.of(a) == user then return end
    if server.is_local(addr.domain(user)) and account.owns(user, a) then return end
    local how = account.may_send_as(user, a)
    if not how then return end -- nobody of ours; it got here by an admin's policy
    local owner = account.of(a) or addr.normalize(a)
    if seen["owner " .. owner] then return end
    seen["owner " .. owner] = true
    out[#out + 1] = { owner = owner, as = a, right = how == "as" and "send-as" or "send-on-behalf" }
  end
  for _, a in ipairs(msg:addresses("From", "Resent-From")) do look(a) end
  look(msg.sender)
  return out
end

-- wish returns the owner's setting, or else the domain's.
local function wish(owner, name)
  local own = account.setting(owner, "delegation")
  return type(own) == "table" and own[name] or config[name]
end

local function record(session, user, msg, d)
  account.audit(d.owner, { action = "send", who = user, as = d.as, right = d.right, message_id = msg:message_id() or "", message = msg.id, ip = session.ip })
end

-- file puts one copy into each mailbox that should have one.
local function file(user, msg, list)
  local boxes = {}
  for _, d in ipairs(list) do
    local sent = wish(d.owner, "sent")
    if sent == "owner" or sent == "both" then boxes[d.owner] = true end
    if sent == "delegate" or sent == "both" then boxes[user] = true end
  end
  for a in pairs(boxes) do
    if server.is_local(addr.domain(a)) and account.exists(a) then mail.file(msg, a, config.folder, { "\\Seen" }) end
  end
end

on("receive.data", { order = 100, login = true }, function(session, tx, msg)
  local user = session.identity.user
  local list = delegated(user, msg)
  if #list == 0 then return end
  for _, d in ipairs(list) do record(session, user, msg, d) end
  file(user, msg, list)
  local bounces = wish(list[1].owner, "bounces")
  if tx.sender ~= "" and bounces == "owner" then
    tx.sender = list[1].as
  elseif tx.sender ~= "" and bounces == "delegate" then
    tx.sender = user
  end
end)

-- A login to somebody else's mailbox.
on("receive.auth", { order = 100 }, function(session, cred)
  if cred.delegate and server.is_local(addr.domain(cred.account)) then
    account.audit(cred.account, { action = "login", who = cred.delegate, as = cred.account, ip = session.ip })
  end
end)

on("web.request", { path = "/audit" }, page.audit)
for _, what in ipairs { "grant", "accept", "decline", "withdraw", "revoke" } do
  on("web.request", { path = "/" .. what }, grants[what])
end
on("web.request", { path = "/" }, grants.front)
