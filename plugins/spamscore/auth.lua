-- The real sender of a message: SPF, DKIM, DMARC and ARC.
local add = require("symbols").add
local M = {}

local spf = { fail = 2, softfail = 1, permerror = 0.5, none = 0.2, pass = -0.2 }
local dkim = { fail = 1, permerror = 0.3, pass = -0.3 }

-- dmarc adds points by the policy of the domain.
local refused = { reject = 5, quarantine = 3, none = 1 }

function M.score(msg)
  local a = msg:auth()
  add(msg, "SPF_" .. string.upper(a.spf.result), spf[a.spf.result] or 0, a.spf.domain)
  add(msg, "DKIM_" .. string.upper(a.dkim.result), dkim[a.dkim.result] or 0, a.dkim.domain)
  if a.dmarc.result == "pass" then
    add(msg, "DMARC_PASS", -0.5, a.dmarc.domain)
  elseif a.dmarc.result == "fail" then
    add(msg, "DMARC_FAIL", refused[a.dmarc.policy] or 1, a.dmarc.domain)
    -- A forwarder with a valid ARC seal explains a part of the failure.
    if a.arc.result == "pass" then add(msg, "ARC_PASS", -1, a.arc.domain) end
  end
  if a.arc.result == "fail" then add(msg, "ARC_FAIL", 0.5) end
end

-- domain returns the authenticated domain of the message, or nil.
function M.domain(msg)
  local a = msg:auth()
  if a.dmarc.result == "pass" then return addr.org_domain(a.dmarc.domain) end
  if a.dkim.result == "pass" and a.dkim.domain then return addr.org_domain(a.dkim.domain) end
  if a.spf.result == "pass" and a.spf.domain then return addr.org_domain(a.spf.domain) end
end

-- listed reports whether an authenticated sender is in a list of addresses and
-- domains.
function M.listed(msg, list, authenticated)
  if #list == 0 then return false end
  local from = msg:from()
  if not from then return false end
  if authenticated and msg:auth().dmarc.result ~= "pass" then
    local domain = M.domain(msg)
    if not domain or domain ~= addr.org_domain(addr.domain(from)) then return false end
  end
  for _, entry in ipairs(list) do
    local e = string.lower(entry)
    if e == string.lower(from) or e == addr.domain(from) then return true end
  end
  return false
end

return M
