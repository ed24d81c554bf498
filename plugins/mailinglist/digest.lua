-- Digests: what was posted since the last one, in one message, as MIME (RFC
-- 2046 5.1.5) or as plain text.

local letters = require "letters"
local links = require "links"
local roles = require "roles"
local settings = require "settings"
local paths = require "paths"

local digest = {}

-- How many octets of a post a digest has, and of all its posts together.
local longest, most = 120000, 800000

local function key(name) return "digest:" .. name .. ":" end

-- add stores a post, if any member gets digests.
function digest.add(to, f)
  if #list.members(to.name, { digested = true }) == 0 then return end
  local raw = f:raw(longest + 1)
  local long = #raw > longest
  kv.set(key(to.name) .. f.id, { raw = string.gsub(long and string.match(raw, "^.-\r\n\r\n") or raw, "%z", ""), long = long, text = f:text(20000),
    subject = f:subject() or "", from = f:header("From") or "", display = f:from_display() or f:from() or "", date = f:header("Date") or "" })
  kv.incr("digest-size:" .. to.name, math.min(#raw, longest))
  if not kv.get("digest-sent:" .. to.name) then kv.set("digest-sent:" .. to.name, time.now()) end -- the first one is due a day from now
end

local function contents(to, posts, issue)
  local out = { letters.word(to, "digest_head", { list = to.name, issue = issue }) }
  for n, p in ipairs(posts) do out[#out + 1] = "  " .. n .. ". " .. p.subject .. " (" .. p.display .. ")" end
  return table.concat(out, "\n") .. "\n"
end

local function plain(to, posts, issue)
  local out = { contents(to, posts, issue) }
  for n, p in ipairs(posts) do
    out[#out + 1] = string.rep("-", 70) .. "\n\nMessage: " .. n .. "\nDate: " .. p.date .. "\nFrom: " .. p.display .. "\nSubject: " .. p.subject .. "\n\n"
      .. (p.long and letters.word(to, "digest_long") or p.text)
  end
  return "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" .. table.concat(out, "\n")
end

local function multipart(to, posts, issue)
  local outer, inner = "=_" .. uuid.new(), "=_" .. uuid.new()
  local out = { 'Content-Type: multipart/mixed; boundary="' .. outer .. '"\n\n--' .. outer
    .. "\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" .. contents(to, posts, issue)
    .. "\n--" .. outer .. '\nContent-Type: multipart/digest; boundary="' .. inner .. '"\n' }
  for _, p in ipairs(posts) do
    out[#out + 1] = "--" .. inner .. "\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n"
      .. p.raw .. (p.long and letters.word(to, "digest_long") .. "\n" or "")
  end
  return table.concat(out, "\n") .. "\n--" .. inner .. "--\n\n--" .. outer .. "--\n"
end

local kinds = { digest = plain, ["mime-digest"] = multipart }

function digest.known(token) return token ~= nil and kv.get("digest-out:" .. token) ~= nil end

-- fields of the digest itself.
local function head(to, issue)
  local name = to.name
  local out = { "From: " .. roles.at(name, "request"), "To: " .. name, "Reply-To: " .. name, "MIME-Version: 1.0", "Precedence: list",
    "List-Id: <" .. settings.id(name) .. ">", "List-Post: <mailto:" .. name .. ">", "List-Help: <mailto:" .. roles.at(name, "request") .. ">",
    "List-Subscribe: <mailto:" .. roles.at(name, "join") .. ">", "List-Owner: <mailto:" .. roles.at(name, "owner") .. ">", "List-Unsubscribe-Post: List-Unsubscribe=One-Click" }
  return table.concat(out, "\n") .. "\n"
end

-- send makes digests of the stored posts. It sends them to an address of the
-- list that is valid once, so that they are expanded as a post is.
function digest.send(to)
  local name = to.name
  local posts, size, keys = {}, 0, {}
  for _, entry in ipairs(kv.scan(key(name), 200)) do
    size = size + #entry.value.raw
    if #posts > 0 and size > most then break end
    posts[#posts + 1] = entry.value
    keys[#keys + 1] = entry.key
  end
  if #posts == 0 then return end
  local issue = kv.incr("issue:" .. name)
  for mode, make in pairs(kinds) do
    if #list.members(name, { digested = true, mode = mode }) > 0 then
      local token = string.gsub(uuid.new(), "-", "")
      kv.set("digest-out:" .. token, { list = name, mode = mode, subject = letters.word(to, "digest_subject", { title = to.settings.title ~= "" and to.settings.title or addr.user(name), issue = issue }) }, { ttl = "7d" })
      mail.submit { sender = to.settings.bounces, to = addr.user(name) .. "-digest+" .. token .. "@" .. addr.domain(name), raw = head(to, issue) .. make(to, posts, issue) }
    end
  end
  for _, k in ipairs(keys) do kv.delete(k) end
  kv.set("digest-size:" .. name, 0)
  kv.set("digest-sent:" .. name, time.now())
end

-- due sends the digests when it is time, or when they are large enough.
function digest.due(to, now)
  local last = kv.get("digest-sent:" .. to.name)
  if not last then return end
  if now - last >= to.settings.digest_every * 3600 or (kv.get("digest-size:" .. to.name) or 0) >= to.settings.digest_size then digest.send(to) end
end

-- expand sends a digest to the members who get that kind.
function digest.expand(msg, rcpt, to)
  local out = rcpt.tag and kv.get("digest-out:" .. rcpt.tag)
  if not out or out.list ~= to.name or not msg.ours then return reject(550, "5.1.1", "no such address here") end
  kv.delete("digest-out:" .. rcpt.tag)
  local f = rcpt:fork()
  f:set_header("Subject", out.subject)
  crypt.sign_dkim(f, { domain = addr.domain(to.name) })
  local path = paths.out(to.settings.bounces)
  rcpt:replace(list.members(to.name, { digested = true, mode = out.mode }), function(member)
    return { sender = path(member), priority = -4, headers = { ["List-Unsubscribe"] = links.unsubscribe(to.name, member) } }
  end)
end

return digest
