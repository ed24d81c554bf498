-- The model: points for its probability and for copies of spam, and how it
-- learns.
local symbols = require "symbols"
local M = {}

-- The model of a recipient counts if there is only one recipient.
local function account(tx)
  local list = tx:recipients()
  if #list == 1 and server.is_local(list[1].domain) then return list[1].address end
end

-- score adds the probability as points: 5 at 99 %, -2.5 at 1 %. It returns
-- false for a message that is made to cost too much.
function M.score(msg, tx)
  if not config.model then return true end
  local p, why = spam.classify(msg, account(tx))
  if not p then
    symbols.add(msg, "TOO_COMPLEX", 5, why)
    return false
  end
  if p == 0.5 then return true end
  local odds = math.log(p / math.max(1 - p, 1e-9)) / math.log(99)
  local points = odds > 0 and math.min(odds * 5, 7) or math.max(odds * 2.5, -4)
  symbols.add(msg, "MODEL", points, string.format("p=%.4f", p))
  return true
end

-- The share of common text from which on a message counts as a copy of spam.
local copy = 0.4

-- copies scores mail that has text in common with learned spam.
function M.copies(msg, tx)
  if not config.model then return end
  local share, class = spam.similar(msg, account(tx))
  if share and class == "spam" and share >= copy then
    symbols.add(msg, "FUZZY_SPAM", 6 * share, string.format("share=%.2f", share))
  end
end

-- Symbols that depend on learning, or on earlier mail of the sender, must not
-- cause more learning.
local derived = { MODEL = true, FUZZY_SPAM = true, REPUTATION = true }

-- taught learns the messages that a user attached to mail to a learning
-- address. It returns a verdict for such mail, and nothing for other mail.
function M.taught(session, tx, msg)
  if not session.identity or not server.is_local(addr.domain(session.identity.user)) then return end
  local class
  for _, rcpt in ipairs(tx:recipients()) do
    local of = rcpt.is_local and ({ [config.learn_spam] = "spam", [config.learn_ham] = "ham" })[rcpt.user]
    if not of or class and of ~= class then return end
    class = of
  end
  if not class then return end
  local n = 0
  for p in msg:parts() do
    if p.type == "message/rfc822" and n < 50 then
      n = n + 1
      spam.learn(p, class, session.identity.user)
      if config.shared then spam.learn(p, class) end
    end
  end
  if n == 0 then return reject(550, "5.6.0", "forward the messages as attachments, please") end
  return discard("taught the model " .. n .. " as " .. class)
end

-- automatic learns messages whose class the other symbols make clear.
function M.automatic(msg, authenticated)
  if not (config.model and config.autolearn) then return end
  local others = symbols.total(msg)
  for _, s in ipairs(msg:scores()) do
    if derived[s.name] then others = others - s.points end
  end
  local class = others >= config.autolearn_spam and "spam" or (others <= config.autolearn_ham and authenticated and "ham")
  if class and rate.take("autolearn", config.autolearn_rate) then spam.learn(msg, class) end
end

return M
