-- Joining, leaving, confirming, and commands by mail.

local settings = require "settings"
local members = require "members"
local trust = require "trust"
local tokens = require "tokens"
local letters = require "letters"
local links = require "links"
local sources = require "sources"

local requests = {}

function requests.known(token) return tokens.find(token) ~= nil end

-- ask sends a confirmation, unless that address got too many.
function requests.ask(to, address, action)
  if not tokens.may_ask(address) then
    log.info("asked too often", { list = to.name, address = address })
    return false
  end
  local token = tokens.make { action = action, list = to.name, address = address }
  letters.send(to, address, "confirm_" .. action, { url = links.confirm(to.name, token) }, { from = addr.user(to.name) .. "-confirm+" .. token .. "@" .. addr.domain(to.name) })
  return true
end

-- notice sends a letter that needs no confirmation. It counts like one,
-- because a stranger gave the address.
local function notice(to, address, key)
  if tokens.may_ask(address) then letters.send(to, address, key) end
end

function requests.welcome(to, address)
  letters.send(to, address, "welcome", { url = links.leave(to.name, address) })
end

-- wants returns the sender of a request by mail, or nil and the answer.
local function wants(msg, to)
  if trust.machine(msg) then return nil, discard("automatic mail gives no commands") end
  local author, wrong = trust.author(msg)
  if not author then return nil, reject(550, "5.6.0", wrong) end
  if settings.banned(to.settings, author) then return nil, reject(550, "5.7.1", "you may not write to this list") end
  if trust.forged(msg) then return nil, reject(550, "5.7.1", "the author's domain does not vouch for this message") end
  return author
end

-- join_by asks an address whether it wants to become a member.
function requests.join_by(to, address)
  if members.find(to.name, address) then return notice(to, address, "already") end
  requests.ask(to, address, "join")
end

function requests.leave_by(to, address)
  if not members.find(to.name, address) then return notice(to, address, "no_member") end
  requests.ask(to, address, "leave")
end

function requests.join(msg, rcpt, to)
  local author, answer = wants(msg, to)
  if not author then return answer end
  if to.settings.join == "closed" then return reject(550, "5.7.2", "this list takes no members by mail") end
  requests.join_by(to, author)
  return discard("membership to be confirmed")
end

function requests.leave(msg, rcpt, to)
  if rcpt.tag then -- the mailto of List-Unsubscribe
    local member = addr.verp_reverse(rcpt.address)
    if not member then return reject(550, "5.1.1", "no such address here") end
    requests.gone(to, member)
    return discard("left by List-Unsubscribe")
  end
  local author, answer = wants(msg, to)
  if not author then return answer end
  if members.find(to.name, author) and (to.settings.leave == "open" or trust.proven(msg)) then
    requests.gone(to, author)
  else
    requests.leave_by(to, author)
  end
  return discard("leaving")
end

-- gone removes a member and sends a letter about it.
function requests.gone(to, address)
  sources.gone(to.name, address)
  if members.remove(to.name, address) then letters.send(to, address, "goodbye") end
end

-- first_word of a reply, and the text after it: from the first line that is
-- not empty, not quoted, and not the line that introduces a quotation.
local function first_word(msg)
  for line in string.gmatch(msg:text(4000) .. "\n", "([^\n]*)\n") do
    if string.find(line, "%S") and not string.find(line, "^%s*>") and not string.find(line, ":%s*$") then
      local word, rest = string.match(line, "^%s*(%S+)%s*(.-)%s*$")
      return string.lower(word), rest
    end
  end
  return "", ""
end

local refusing = { reject = true, refuse = true, no = true, recusar = true, rejeitar = true }
local dropping = { discard = true, drop = true, delete = true, apagar = true, descartar = true }

-- moderate decides about a held post. It returns false if that was decided
-- before.
function requests.moderate(to, id, decision, reason)
  local held = list.held(to.name, id)
  if not held then return false end
  if decision == "approve" then return list.release(to.name, id) end
  if reason and reason ~= "" and held.author then
    letters.send(to, held.author, "refused", { subject = held.subject, reason = reason })
  end
  return list.drop(to.name, id)
end

-- carry_out does what a token was made for; word is the first word of the reply.
function requests.carry_out(to, token, what, word, rest)
  if what.action == "moderate" then -- stays good: of two moderators, the second hears nothing bad
    local decision = refusing[word] and "reject" or dropping[word] and "drop" or "approve"
    return requests.moderate(to, what.id, decision, decision == "reject" and rest or nil)
  end
  tokens.spend(token)
  if what.action == "join" and to.settings.join == "moderated" then
    letters.to_deciders(to, "admit", { address = what.address }, tokens.make { action = "admit", list = to.name, address = what.address })
    letters.send(to, what.address, "asked_owner")
  elseif what.action == "join" or what.action == "admit" and not refusing[word] then
    sources.came(to.name, what.address)
    members.add(to.name, what.address)
    requests.welcome(to, what.address)
  elseif what.action == "leave" then
    requests.gone(to, what.address)
  elseif what.action == "on" then
    members.change(to.name, what.address, { off = false, score = false, warned = false, warned_at = false, probed = false })
    letters.send(to, what.address, "on")
  end
  return true
end

function requests.confirm(msg, rcpt, to)
  if trust.machine(msg) then return discard("automatic mail confirms nothing") end
  local what = tokens.find(rcpt.tag)
  if not what or what.list ~= to.name then return reject(550, "5.1.1", "this confirmation is not valid any more") end
  local word, rest = first_word(msg)
  requests.carry_out(to, rcpt.tag, what, word, rest)
  return discard("confirmed: " .. what.action)
end

-- owner forwards mail to the owners of the list.
function requests.owner(msg, rcpt, to)
  if settings.banned(to.settings, msg:from() or "") then return reject(550, "5.7.1", "you may not write to this list") end
  rcpt:replace(to.settings.owner, { sender = msg.sender ~= "" and to.settings.bounces or "" })
end

local switches = { metoo = true, nodup = true }

-- set changes what members may change themselves.
local function set(to, address, words)
  if not members.find(to.name, address) then return letters.word(to, "members_only") end
  if members.modes[words[2]] then
    members.change(to.name, address, { mode = words[2] })
    return letters.word(to, "set_done", { what = words[2] })
  end
  if switches[words[2]] and (words[3] == "on" or words[3] == "off") then
    members.change(to.name, address, { [words[2]] = words[3] == "on" })
    return letters.word(to, "set_done", { what = words[2] .. " " .. words[3] })
  end
  return letters.word(to, "set_unknown")
end

local function who(to, address)
  local l = to.settings
  if not settings.runs(l, address) and not (l.roster == "members" and members.find(to.name, address)) then return letters.word(to, "who_no") end
  return table.concat(list.members(to.name), "\n")
end

-- obey carries out one line and returns the answer.
local function obey(to, address, words, proven)
  local verb = words[1]
  if verb == "help" or verb == "ajuda" then
    return letters.word(to, "help", { request = addr.user(to.name) .. "-request@" .. addr.domain(to.name), join = addr.user(to.name) .. "-join@" .. addr.domain(to.name), leave = addr.user(to.name) .. "-leave@" .. addr.domain(to.name) })
  elseif verb == "join" or verb == "subscribe" then
    if to.settings.join ~= "closed" then requests.join_by(to, address) end
    return letters.word(to, "asked")
  elseif verb == "leave" or verb == "unsubscribe" then
    requests.leave_by(to, address)
    return letters.word(to, "asked")
  elseif verb == "who" then
    return proven and who(to, address) or letters.word(to, "who_no")
  elseif verb == "set" then
    return set(to, address, words)
  end
  return letters.word(to, "unknown", { what = string.sub(verb, 1, 20) })
end

-- command reads up to ten lines of subject and text.
function requests.command(msg, rcpt, to)
  local author, answer = wants(msg, to)
  if not author then return answer end
  if not rate.take("request:" .. author, "10/1h", { burst = 10 }) then return discard("too many requests") end
  local answers, n = {}, 0
  for line in string.gmatch((msg:subject() or "") .. "\n" .. msg:text(2000) .. "\n", "([^\n]*)\n") do
    local words = {}
    for word in string.gmatch(string.lower(line), "[%w%-_=|]+") do words[#words + 1] = word end
    if words[1] == "end" or words[1] == "stop" or string.find(line, "^%-%-%s*$") or n >= 10 then break end
    if words[1] and not string.find(line, "^%s*>") then
      n = n + 1
      answers[#answers + 1] = "> " .. table.concat(words, " ") .. "\n" .. obey(to, author, words, trust.proven(msg))
    end
  end
  if n == 0 then answers[1] = obey(to, author, { "help" }, false) end
  letters.send(to, author, "answer", { answers = table.concat(answers, "\n\n") }, { in_reply_to = msg })
  return discard("commands carried out")
end

return requests
