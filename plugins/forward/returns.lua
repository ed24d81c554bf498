-- The envelope sender of forwarded mail, and bounces to it. addr.srs makes
-- return paths that the server itself reverses. If a sender is too long for
-- that, it is stored here under an id, for as long.
local settings = require "settings"
local M = {}

local USER, LIFE = "forward-return", "21d"

-- sender returns the envelope sender to use: null and own senders stay.
function M.sender(from, domain)
  local rewritten = addr.srs(from, domain)
  if rewritten ~= from or from == "" or settings.kind(from) ~= "foreign" then return rewritten end
  local id = kv.get("path:" .. from) or string.gsub(uuid.new(), "-", "")
  kv.set("path:" .. from, id, { ttl = LIFE })
  kv.set("return:" .. id, from, { ttl = LIFE })
  return USER .. "+" .. id .. "@" .. domain
end

-- stored returns the original sender for such an address: nil for other
-- addresses, false for one that is unknown or too old.
local function stored(rcpt)
  if string.lower(rcpt.user) ~= USER or not rcpt.tag then return nil end
  return kv.get("return:" .. string.lower(rcpt.tag)) or false
end

local function refused(home, sender)
  if not home then return reject(550, "5.7.1", "this return path is not ours, or too old") end
  if sender ~= "" then return reject(550, "5.7.1", "this return path accepts only bounces, which have the null sender") end
end

-- at_rcpt: nobody may use a return path to write to the original sender. The
-- server has verified those of addr.srs already.
function M.at_rcpt(tx, rcpt)
  local home = rcpt.is_local and stored(rcpt)
  local signed = string.match(string.upper(rcpt.address), "^SRS[01][=+-]")
  if not signed and (home == nil or not rcpt.is_local) then return nil end
  local no = not signed and refused(home, tx.sender)
  if no then return no end
  if not rate.take("return:" .. string.lower(rcpt.address), config.return_rate) then
    return defer(451, "4.7.1", "too many bounces to this return path, try again later")
  end
  if not signed then return accept() end
end

-- at_expand replaces a stored return path by the original sender.
function M.at_expand(rcpt)
  local home = stored(rcpt)
  if home == nil then return nil end
  return function()
    local no = refused(home, rcpt.sender)
    if no then return no end
    rcpt:replace({ home }, { sender = "" })
  end
end

return M
