-- The return path of each member's copy: it is signed and names the member, so
-- that bounces can be counted. A local part has at most 64 octets; if the
-- address of a member does not fit, it has a number that is stored here.

local paths = {}

-- A domain that nobody has (RFC 2606): the local part is such a number.
local long = "long.invalid"

-- out returns a function that makes the return path of a member. It makes at
-- most so many new numbers in one call; other long members share a path that
-- names nobody.
function paths.out(bounces)
  local left = 300
  return function(member)
    local path = addr.verp(bounces, member)
    if path ~= bounces or left <= 0 then return path end
    left = left - 1
    local number = string.sub(hash.sha256(member), 1, 16)
    if not kv.get("long:" .. number) then kv.set("long:" .. number, member) end
    return addr.verp(bounces, number .. "@" .. long)
  end
end

-- back returns the member that a return path names, or nil if it is forged.
function paths.back(address)
  local member = addr.verp_reverse(address)
  if member and addr.domain(member) == long then return kv.get("long:" .. addr.user(member)) end
  return member
end

return paths
