-- carteiro/mailinglist: mailing lists.
--
-- A list is a group of addresses with settings (`carteiro list`); this bundle
-- gives it its addresses, LIST, LIST-join, LIST-leave, LIST-confirm+TOKEN,
-- LIST-owner, LIST-request and LIST-bounces+..., and what they do.

local roles = require "roles"
local settings = require "settings"
local sources = require "sources"
local post = require "post"
local requests = require "requests"
local bounces = require "bounces"
local digest = require "digest"
local upkeep = require "upkeep"
local web = require "web"
local admin = require "admin"

-- What each address of a list does with mail, by its role.
local actions = {
  post = post.expand,
  digest = digest.expand,
  join = requests.join,
  leave = requests.leave,
  confirm = requests.confirm,
  request = requests.command,
  owner = requests.owner,
  bounces = bounces.expand,
  probe = bounces.probe,
}

-- Whether an address exists is decided at RCPT; who may use it, when the
-- message is complete.
on("receive.rcpt", function(session, tx, rcpt)
  if not server.is_local(rcpt.domain) then return end
  local to = roles.find(rcpt.address)
  if not to then return end
  if to.role == "post" and tx.params.size and tx.params.size > to.settings.max_size then
    return reject(552, "5.3.4", "message is too large for this list")
  end
  if (to.role == "bounces" or to.role == "probe") and rcpt.tag and not addr.verp_reverse(rcpt.address) then
    return reject(550, "5.1.1", "no such address here")
  end
  if to.role == "confirm" and not requests.known(rcpt.tag) then
    return reject(550, "5.1.1", "this confirmation is not valid any more")
  end
  if to.role == "digest" and not digest.known(rcpt.tag) then
    return reject(550, "5.1.1", "no such address here")
  end
  if to.role ~= "post" and to.role ~= "bounces" and not session.identity then
    local ok, wait = rate.take("commands:" .. session.ip_net, config.commands .. "/1h", { burst = config.commands })
    if not ok then return defer(450, "4.7.1", "too many requests, try again in " .. wait .. " s") end
  end
  return accept()
end)

on("queue.expand", function(msg, rcpt)
  if not server.is_local(rcpt.domain) then return end
  local to = roles.find(rcpt.address)
  if to then return actions[to.role](msg, rcpt, to) end
end)

-- Digests, warnings, expiry.
on("timer.tick", { every = "1h", each = "domain" }, function(now, domain)
  for _, name in ipairs(list.names(domain)) do
    upkeep.run(name, now)
  end
end)

-- Members from other sources. This runs more often than the sources are read:
-- members that one run cannot handle are left for the next.
on("timer.tick", { every = "5m", each = "domain" }, function(now, domain)
  for _, name in ipairs(list.names(domain)) do
    local l = settings.load(name)
    if l then sources.refresh(name, l, now) end
  end
end)

on("web.request", { path = "/" }, web.answer)

on("admin.command", { command = "list" }, admin.run)
