-- carteiro/spamscore: scores mail by symbols, says why, and acts by
-- thresholds. Mail of users who logged in is not scored.
local symbols = require "symbols"
local auth = require "auth"
local lists = require "lists"
local content = require "content"
local history = require "history"
local model = require "model"

on("receive.mail", function(session, tx) return history.rated(session) end)

on("receive.rcpt", function(session, tx, rcpt) return history.greylist(session, tx, rcpt) end)

on("receive.data", { order = 5 }, function(session, tx, msg) return history.confirm(tx, msg) end)

-- The symbols.
on("receive.data", { order = 10 }, function(session, tx, msg)
  if content.gtube(msg) then return reject(550, "5.7.1", "message is the test of spam filters") end
  local taught = model.taught(session, tx, msg)
  if taught then return taught end
  if session.identity then
    history.wrote(msg, tx)
    return
  end
  if auth.listed(msg, config.deny, false) then symbols.add(msg, "DENIED", 100, msg:from()) end
  if auth.listed(msg, config.allow, true) then
    symbols.add(msg, "ALLOWED", -100, msg:from())
    return
  end
  local domain = auth.domain(msg)
  local rule = symbols.rule
  rule(msg, "auth", auth.score, msg)
  rule(msg, "names", content.names, msg, tx)
  rule(msg, "address lists", lists.address, msg, session.ip)
  rule(msg, "sender lists", lists.senders, msg)
  local known = rule(msg, "answers", history.answers, msg, domain ~= nil)
  if rule(msg, "model", model.score, msg, tx) ~= false then
    rule(msg, "copies", model.copies, msg, tx)
    rule(msg, "parts", content.parts, msg)
    rule(msg, "link lists", lists.links, msg, rule(msg, "links", content.links, msg) or {})
  end
  rule(msg, "reputation", history.reputation, session, msg, domain)
  msg.meta.known = known or domain ~= nil
end)

local function at(total, threshold) return threshold > 0 and total >= threshold end

-- The action: after the scores of other policies.
on("receive.data", { order = 80 }, function(session, tx, msg)
  if session.identity then return end
  for _, name in ipairs { "X-Spam", "X-Spam-Result", "X-Spam-Flag", "X-Spam-Status" } do msg:remove_header(name) end
  local total = symbols.total(msg)
  if at(total, config.reject) then
    return reject(550, "5.7.1", string.format("message looks like spam, score %.2f", total))
  end
  if config.greylisting ~= "off" and at(total, config.greylist) and history.early(tx) then
    return defer(451, "4.7.1", "message looks odd, please come again in 5 minutes")
  end
  model.automatic(msg, msg.meta.known)
  history.did(session, tx, msg, auth.domain(msg), total)
  local action = "none"
  if at(total, config.quarantine) then
    action = "quarantine"
  elseif at(total, config.junk) then
    action = "junk"
    msg:set_header("X-Spam", "yes")
    for _, rcpt in ipairs(tx:recipients()) do rcpt.meta.folder = "Junk" end
  end
  msg:set_header("X-Spam-Result", symbols.header(msg, action))
  if action == "quarantine" then return quarantine(string.format("score %.2f", total)) end
end)
