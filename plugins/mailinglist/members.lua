-- Members of a list and what is stored about each:
--   mode      regular, digest, mime-digest or none
--   active    gets posts as they come, digested: gets digests; both are set
--             by mode and off
--   off       why nothing is sent: "bounces", or until when ("until 1800000000")
--   metoo     false: no own posts; nodup: no posts that name them in To or Cc
--   moderated their posts are held; posts counts them
--   name, language, joined, and what bounces.lua keeps

local members = {}

members.modes = { regular = true, digest = true, ["mime-digest"] = true, none = true }

-- find returns a member by any spelling of the address, also without its "+tag".
function members.find(name, address)
  local m = address and list.member(name, address)
  if m then return m, string.lower(address) end
  local base = address and addr.normalize(address)
  if base and base ~= address then
    m = list.member(name, base)
    if m then return m, base end
  end
  return nil
end

-- put stores a member, with the attributes that depend on others.
function members.put(name, address, m)
  m.address = nil
  m.mode = m.mode or "regular"
  m.active = m.mode == "regular" and not m.off
  m.digested = (m.mode == "digest" or m.mode == "mime-digest") and not m.off
  list.add(name, address, m)
end

-- add makes a member; an existing member keeps its attributes.
function members.add(name, address, with)
  local m = members.find(name, address) or { joined = time.now(), posts = 0 }
  for k, v in pairs(with or {}) do m[k] = v end
  m.off = nil
  members.put(name, address, m)
end

-- change sets attributes; false in changes removes one.
function members.change(name, address, changes)
  local m, key = members.find(name, address)
  if not m then return false end
  for k, v in pairs(changes) do
    if v == false and k ~= "metoo" then m[k] = nil else m[k] = v end
  end
  members.put(name, key, m)
  return true
end

-- remove removes a member; it returns false if there is none.
function members.remove(name, address)
  local m, key = members.find(name, address)
  if not m then return false end
  list.remove(name, key)
  return true
end

return members
