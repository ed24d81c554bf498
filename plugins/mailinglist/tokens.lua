-- Tokens: valid once, for a few days, in the kv of the list's domain.

local tokens = {}

-- make stores what to do when the token comes back.
function tokens.make(what)
  local token = string.gsub(uuid.new(), "-", "")
  kv.set("token:" .. token, what, { ttl = config.token_days .. "d" })
  return token
end

-- find returns the data of a token, or nil.
function tokens.find(token)
  if not token or not string.find(token, "^%x+$") then return nil end
  return kv.get("token:" .. string.lower(token))
end

function tokens.spend(token)
  kv.delete("token:" .. string.lower(token))
end

-- may_ask counts confirmations to one address, over all lists and domains of
-- the server, and limits them per hour, so that nobody is flooded with them.
function tokens.may_ask(address)
  local most = config.confirmations
  return for_domain("", function()
    local key, now, recent = "asked:" .. (addr.normalize(address) or address), time.now(), {}
    for _, t in ipairs(kv.get(key) or {}) do
      if now - t < 3600 then recent[#recent + 1] = t end
    end
    if #recent >= most then return false end
    recent[#recent + 1] = now
    kv.set(key, recent, { ttl = "1h" })
    return true
  end)
end

return tokens
