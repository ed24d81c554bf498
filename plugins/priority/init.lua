-- carteiro/priority: the class of the queue in which a message waits.
--
-- Mailing lists and other bulk mail wait longer. Users who logged in may say
-- what is urgent, with the header fields that their programs write. Strangers
-- may not, or all their mail would be urgent.

local function is_bulk(msg)
  local precedence = string.lower(msg:header("Precedence") or "")
  return precedence == "bulk" or precedence == "list" or precedence == "junk" or msg:header("List-Id") ~= nil
end

-- Importance (RFC 2156), Priority and X-Priority; the first with a known value.
local function wanted(msg)
  local words = { high = 1, urgent = 1, low = -1, ["non-urgent"] = -1 }
  local word = string.lower(msg:header("Importance") or msg:header("Priority") or "")
  if words[word] then return words[word] end
  local digit = string.match(msg:header("X-Priority") or "", "^%s*([1-5])")
  if digit == "1" or digit == "2" then return 1 end
  if digit == "4" or digit == "5" then return -1 end
end

on("receive.data", function(session, tx, msg)
  if is_bulk(msg) then
    if msg:priority() > config.bulk then msg:priority(config.bulk) end
    return
  end
  if not (session.identity and config.trust_users) or tx.params.priority then return end
  local direction = wanted(msg)
  if direction == 1 then
    msg:priority(config.high)
  elseif direction == -1 then
    msg:priority(-config.high)
  end
end)
