-- Copies that leave are encrypted, for users who want that.
local M = {}

-- copy returns the message for one target: encrypted to its key, or to the owner's
-- if it has none. It returns nil if the message is sent as it is, because it is
-- encrypted already or a DSN; false and the reason if it must not be sent.
function M.copy(rcpt, owner, target)
  for _, who in ipairs { target, owner } do
    local in_force, ours = server.is_local(addr.domain(who))
    local kind = (in_force or not ours) and crypt.has_key(who)
    if kind then
      local copy = rcpt:variant()
      local done, why = crypt[kind](copy, who)
      if done then return copy end
      if why == "encrypted" or why == "report" then return nil end
      return false, "it cannot be encrypted: " .. why
    end
  end
  return false, "it cannot be encrypted: no key"
end

return M
