-- The author of a message, as far as it is authenticated.

local trust = {}

-- author returns the address of the only author, or nil and the error.
function trust.author(msg)
  if #msg:headers("From") ~= 1 then return nil, "exactly one From field is needed" end
  local all = addr.list(msg:header("From"))
  if #all ~= 1 then return nil, "exactly one author is needed in From" end
  return all[1].address
end

-- forged reports whether the author's domain disowns the message: by DMARC,
-- or, without such a policy, by SPF if there is no signature of the domain.
function trust.forged(msg)
  if msg.ours then return false end
  local a = msg:auth()
  if a.dmarc.result == "fail" then return true end
  return a.dmarc.result == "none" and a.spf.result == "fail" and a.dkim.result ~= "pass"
end

-- proven reports whether the author's domain is authenticated.
function trust.proven(msg)
  return msg.ours or msg:auth().dmarc.result == "pass"
end

-- machine reports whether a program wrote a mail: such mail neither posts nor confirms,
-- and gets no answer (RFC 3834 section 2). Mail of a list does not count here.
function trust.machine(msg)
  if msg.sender == "" then return true end
  local auto = string.lower(msg:header("Auto-Submitted") or "no")
  if not string.find(auto, "^%s*no") then return true end
  local precedence = string.lower(msg:header("Precedence") or "")
  return precedence == "auto_reply" or precedence == "junk" or msg:header("X-Autoreply") ~= nil or msg:header("X-Autorespond") ~= nil
end

return trust
