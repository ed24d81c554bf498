-- Posts: who may post, what is held, and what the members get.

local settings = require "settings"
local members = require "members"
local trust = require "trust"
local letters = require "letters"
local links = require "links"
local archive = require "archive"
local digest = require "digest"
local paths = require "paths"

local post = {}

-- came_from_list returns what the List-Id fields of a post mean: "loop" for
-- this list, "foreign" for a list whose posts this one does not accept.
local function came_from_list(msg, to)
  local found
  for _, value in ipairs(msg:headers("List-Id")) do
    local id = string.lower(string.match(value, "<([^<>]*)>%s*$") or value)
    if id == settings.id(to.name) then return "loop" end
    local named = false
    for _, parent in ipairs(to.settings.parents) do named = named or settings.id(parent) == id end
    if not named then found = "foreign" end
  end
  return found
end

-- counted returns how many addresses To and Cc name.
local function counted(msg)
  local n = 0
  for _, name in ipairs { "To", "Cc" } do
    for _, value in ipairs(msg:headers(name)) do n = n + #addr.list(value) end
  end
  return n
end

-- of_type finds a part of a type that the list does not accept.
local function of_type(msg, types)
  if #types == 0 then return nil end
  for part in msg:parts() do
    for _, kind in ipairs(types) do
      if kind == part.type or string.sub(kind, -2) == "/*" and string.sub(part.type, 1, #kind - 1) == string.sub(kind, 1, -2) then return part.type end
    end
  end
  return nil
end

local orders = { subscribe = true, unsubscribe = true, join = true, leave = true, remove = true, signoff = true, help = true, who = true, ["end"] = true }

-- an_order reports whether mail was meant as a command to the list, not for its members.
local function an_order(msg)
  local subject = string.lower(string.match(msg:subject() or "", "^%s*(.-)%s*$"))
  if orders[subject] then return true end
  local text = string.lower(string.match(msg:text(2000), "^%s*(.-)%s*$"))
  return subject == "" and orders[text] == true
end

-- allowed returns nil if the author may post, else "hold" or "reject" and why.
local function allowed(msg, to, author, nested)
  local l = to.settings
  local stranger = l.strangers == "hold" and "hold" or "reject"
  if settings.banned(l, author) then return "reject", "you may not post to this list" end
  if nested then return nil end
  if trust.forged(msg) then return stranger, "the author's domain does not vouch for this message" end
  if settings.runs(l, author) then return nil end
  if l.post == "announce" then return stranger, "only owners may post to this list" end
  local member = members.find(to.name, author)
  if l.post == "moderated" then return "hold", "each post is held" end
  if l.post == "members" and not member then return stranger, "only members may post to this list" end
  if member and member.moderated then return "hold", "the author is moderated" end
  if member and l.first_post and (member.posts or 0) == 0 then return "hold", "the author's first post" end
  return nil
end

-- fit returns the same for the content of the post.
local function fit(msg, to, nested)
  local l = to.settings
  if msg.size > l.max_size then return "reject", "message is too large for this list", "5.3.4" end
  if not nested and l.hidden == "hold" and not msg:addressed_to(to.name) then return "hold", "the list is not in To or Cc" end
  if counted(msg) > l.max_recipients then return "hold", "more than " .. l.max_recipients .. " addresses in To and Cc" end
  if an_order(msg) then return "hold", "it looks like a command for the list's machine" end
  local kind = of_type(msg, l.types)
  if kind then return "hold", "it has a part of type " .. kind end
  return nil
end

-- hold stores a post and sends it to the moderators.
local function hold(msg, to, author, why)
  list.hold(to.name, msg, { reason = why, author = author, message_id = msg:message_id() })
  if rate.take("notices:" .. to.name, "60/1h", { burst = 30 }) then
    letters.moderation(to, msg, author, why)
  end
  if trust.proven(msg) and rate.take("held:" .. author, "5/1d", { burst = 5 }) then
    letters.send(to, author, "held", { subject = msg:subject() or "", reason = why }, { in_reply_to = msg })
  end
  return discard("held for " .. to.name .. ": " .. why)
end

-- refuse answers a post that is rejected.
local function refuse(code, why)
  return reject(550, code or "5.7.2", why)
end

-- expand decides about one post.
function post.expand(msg, rcpt, to)
  local from = came_from_list(msg, to)
  if from == "loop" then
    log.warn("a post came back to its list", { list = to.name, message_id = msg:message_id() or "" })
    return discard("loop: it came from this list")
  end
  local nested = not from and msg:header("List-Id") ~= nil
  if trust.machine(msg) and not nested then
    log.info("automatic mail is not posted", { list = to.name, sender = msg.sender })
    return discard("automatic mail is not posted")
  end
  if from == "foreign" then return refuse("5.7.1", "mail of another list is not taken here") end
  local author, wrong = trust.author(msg)
  if not author then return refuse("5.6.0", wrong) end
  if not rcpt.released then
    local what, why, code = fit(msg, to, nested)
    local who, because = allowed(msg, to, author, nested)
    if who == "reject" then return refuse(nil, because) end
    if what == "reject" then return refuse(code, why) end
    if who or what then return hold(msg, to, author, because or why) end
  end
  local id = msg:message_id()
  if id and not kv.once("seen:" .. to.name .. ":" .. hash.sha256(id), { ttl = "7d" }) then
    return discard("the list had this message before")
  end
  return post.distribute(msg, rcpt, to, author)
end

-- Fields of a post that only the list may set, or nobody.
local own = { "List-Id", "List-Post", "List-Help", "List-Subscribe", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Owner", "List-Archive",
  "Archived-At", "Precedence", "Return-Receipt-To", "Disposition-Notification-To", "X-Confirm-Reading-To", "Errors-To", "Return-Path" }

-- Fields that say who wrote, or from where.
local telling = { "Sender", "Received", "DKIM-Signature", "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "Authentication-Results",
  "Received-SPF", "X-Originating-IP", "X-Originating-Email", "X-Sender", "X-Mailer", "User-Agent", "Organization", "Reply-To", "Resent-From", "Resent-Sender",
  "X-Envelope-From", "X-Original-From", "X-Google-DKIM-Signature", "X-Gm-Message-State", "In-Reply-To-User", "Autocrypt", "OpenPGP" }

-- quoted returns a display name as a quoted string.
local function quoted(name)
  return '"' .. string.gsub(name, '["\\%c]', "") .. '"'
end

-- disowned reports whether the author's domain wants forwarded mail to be
-- rejected, so that From has to be the list's address. A signature of the
-- list's domain is valid for the whole organisation (RFC 7489 section 3.1).
local function disowned(msg, l, author, name)
  if l.dmarc == "never" or addr.org_domain(addr.domain(author)) == addr.org_domain(addr.domain(name)) then return false end
  if msg.ours and server.is_local(addr.domain(author)) then return false end
  local policy = msg:auth().dmarc.policy
  return policy == "reject" or policy == "quarantine"
end

-- identity writes From and Reply-To of the copies. It returns whether the
-- changes break the author's signature.
local function identity(f, msg, to, author)
  local l = to.settings
  local title = l.title ~= "" and l.title or addr.user(to.name)
  local reply = l.reply_to == "list" and to.name or l.reply_to ~= "none" and l.reply_to or nil
  if l.anonymous then
    for _, name in ipairs(telling) do f:remove_header(name) end
    f:set_header("From", quoted(title) .. " <" .. to.name .. ">")
    f:set_header("Message-ID", "<" .. uuid.new() .. "@" .. addr.domain(to.name) .. ">")
    if reply then f:set_header("Reply-To", reply) end
    return true
  end
  if disowned(msg, l, author, to.name) then
    f:set_header("From", quoted((msg:from_display() or addr.user(author)) .. " via " .. title) .. " <" .. to.name .. ">")
    f:remove_header("Sender")
    if not reply then
      if not msg:header("Reply-To") then f:set_header("Reply-To", author) end
    else
      f:set_header("Reply-To", reply)
      f:set_header("Cc", (msg:header("Cc") and msg:header("Cc") .. ", " or "") .. author)
    end
    return true
  end
  if reply then f:set_header("Reply-To", reply) end
  return reply ~= nil and msg:header("Reply-To") ~= reply
end

-- subject adds the prefix if it is missing.
local function subject(f, msg, prefix)
  if prefix == "" then return false end
  local now = msg:subject() or ""
  if string.find(string.lower(now), string.lower(prefix), 1, true) then return false end
  f:set_header("Subject", prefix .. " " .. now)
  return true
end

local function footer(f, to)
  local text = to.settings.footer
  if text == "" then return false end
  local values = { list = to.name, title = to.settings.title ~= "" and to.settings.title or to.name, url = links.list(to.name) }
  -- readers of the archive or a digest get the name and page of the list
  f:append_text(string.gsub(text, "%%%((%a+)%)", values) .. "\n", { member = to.name, leave = values.url })
  return true
end

-- personal reports whether the footer differs from member to member.
local function personal(l)
  return string.find(l.footer, "%(member)", 1, true) ~= nil or string.find(l.footer, "%(leave)", 1, true) ~= nil
end

-- fields returns those of RFC 2369, 2919, 5064 and 8058 that all copies have.
local function fields(f, to, id)
  local l, name = to.settings, to.name
  local function mailto(what) return "<mailto:" .. addr.user(name) .. "-" .. what .. "@" .. addr.domain(name) .. ">" end
  f:set_header("List-Id", (l.title ~= "" and quoted(l.title) .. " " or "") .. "<" .. settings.id(name) .. ">")
  f:set_header("List-Post", l.post == "announce" and "NO" or "<mailto:" .. name .. ">")
  f:set_header("List-Help", mailto("request") )
  f:set_header("List-Subscribe", mailto("join"))
  f:set_header("List-Owner", mailto("owner"))
  f:set_header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
  f:set_header("Precedence", "list")
  if l.archive then
    f:set_header("List-Archive", "<" .. links.archive(name) .. ">")
    f:set_header("Archived-At", "<" .. links.archived(name, id) .. ">")
  end
end

-- receivers returns the members who get this post at once.
local function receivers(msg, to, author)
  local gone = {}
  local m, key = members.find(to.name, author)
  if m and m.metoo == false then gone[key] = true end
  for _, address in ipairs(list.members(to.name, { active = true, nodup = true })) do
    if msg:addressed_to(address) then gone[address] = true end
  end
  local all = list.members(to.name, { active = true })
  if next(gone) == nil then return all end
  local out = {}
  for _, address in ipairs(all) do
    if not gone[address] then out[#out + 1] = address end
  end
  return out
end

-- distribute makes the list's copy of a post and sends it to the members.
function post.distribute(msg, rcpt, to, author)
  local l, name = to.settings, to.name
  local f = rcpt:fork()
  for _, field in ipairs(own) do f:remove_header(field) end
  local changed = identity(f, msg, to, author)
  changed = subject(f, msg, l.subject_prefix) or changed
  changed = footer(f, to) or changed
  if changed and l.dkim == "drop" then f:remove_header("DKIM-Signature") end
  fields(f, to, f.id)
  crypt.sign_dkim(f, { domain = addr.domain(name) })
  local path, each = paths.out(l.bounces), personal(l)
  local seal = l.arc and addr.domain(name) or nil
  rcpt:replace(receivers(msg, to, author), function(member)
    return { sender = path(member), priority = -4, headers = { ["List-Unsubscribe"] = links.unsubscribe(name, member) }, arc = seal,
      fill = each and { member = member, leave = links.leave(name, member) } or nil }
  end)
  if l.archive then
    rcpt:copy_to(name, { mailbox = true })
    archive.add(name, f, author)
  end
  digest.add(to, f)
  local m = members.find(name, author)
  if m then members.change(name, author, { posts = (m.posts or 0) + 1 }) end
  kv.incr("posts:" .. name)
end

return post
