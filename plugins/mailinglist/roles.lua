-- Which list an address belongs to, and its role.

local settings = require "settings"

local roles = {}

-- What follows the list's name, and the role that it means.
local suffixes = {
  join = "join", subscribe = "join",
  leave = "leave", unsubscribe = "leave",
  confirm = "confirm", request = "request", owner = "owner",
  bounces = "bounces", probe = "probe", digest = "digest",
}

-- find returns { name, role, settings } or nil. Addresses are compared without
-- regard to case and without their "+tag".
function roles.find(address)
  local user, domain = string.lower(addr.user(address)), addr.domain(address)
  local own = settings.load(user .. "@" .. domain)
  if own then return { name = user .. "@" .. domain, role = "post", settings = own } end
  local base, suffix = string.match(user, "^(.+)%-(%a+)$")
  if not base or not suffixes[suffix] then return nil end
  local parent = settings.load(base .. "@" .. domain)
  if not parent then return nil end
  return { name = base .. "@" .. domain, role = suffixes[suffix], settings = parent }
end

-- at returns an address of the list: at("devs@x", "join") is devs-join@x.
function roles.at(name, what)
  return addr.user(name) .. "-" .. what .. "@" .. addr.domain(name)
end

return roles
