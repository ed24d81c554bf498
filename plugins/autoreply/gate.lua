-- Which mail is not answered, and why.

local gate = {}

local compiled = {} -- patterns of the settings, by their text

local function pattern(text)
  compiled[text] = compiled[text] or re.compile(text)
  return compiled[text]
end

local function words(text)
  local out = {}
  for word in string.gmatch(string.lower(text or ""), "[^,%s;]+") do out[word] = true end
  return out
end

local function yes(text) return string.match(string.lower(text or ""), "^%s*yes") ~= nil end

-- automatic reports lists, bulk mail, DSNs and other mail of programs, and
-- senders who do not want automatic answers ([MS-OXCMAIL] 2.2.3.2.14).
function gate.automatic(msg)
  if msg:is_auto() then return true end
  for _, value in ipairs(msg:headers("X-Auto-Response-Suppress")) do
    local w = words(value)
    if w.all or w.oof or w.autoreply then return true end
  end
  for _, name in ipairs { "X-Autoreply", "X-Autorespond", "X-Auto-Reply", "X-Loop", "X-Cron-Env" } do
    if msg:header(name) then return true end
  end
  local kind = string.lower(msg:header("Content-Type") or "")
  return string.match(kind, "^%s*multipart/report") ~= nil
end

local names = {
  ["mailer-daemon"] = true, postmaster = true, listserv = true, majordomo = true, listmaster = true, root = true, daemon = true,
  nobody = true, bounce = true, bounces = true, autoreply = true, ["auto-reply"] = true, noc = true, abuse = true,
}

-- person returns the original sender of a return path that changes from day to
-- day: one that a forwarder wrote (SRS), or that has a signature (BATV).
function gate.person(sender)
  local start = string.lower(string.sub(sender, 1, 4))
  if start == "srs0" then
    local there, user = string.match(string.lower(addr.user(sender)), "^srs0[=+-][^=]*=[^=]*=([^=]+)=(.+)$")
    if there then return user .. "@" .. there end
  elseif start == "prvs" then
    local user = string.match(string.lower(addr.user(sender)), "^prvs=[^=]*=(.+)$")
    if user then return user .. "@" .. addr.domain(sender) end
  end
  return addr.normalize(sender) or sender
end

-- machine reports whether a sender is a program whose mail nobody reads.
function gate.machine(sender)
  local name = string.lower(addr.user(sender))
  name = string.match(name, "^srs[01][=+-].*=([^=]+)$") or name -- who is behind a forwarder
  if names[name] or string.match(name, "^owner%-") then return true end
  for _, ending in ipairs { "-owner", "-request", "-bounce", "-bounces", "-admin", "-errors", "-relay" } do
    if string.sub(name, -#ending) == ending then return true end
  end
  local letters = string.gsub(name, "[%-_%.]", "")
  return string.match(letters, "^noreply") ~= nil or string.match(letters, "^donotreply") ~= nil
    or string.match(name, "^bounces?[%-=]") ~= nil or string.match(letters, "noreply$") ~= nil
end

function gate.suppressed(sender)
  for _, text in ipairs(config.suppress) do
    if pattern(text):match(sender) then return true end
  end
  return false
end

-- junk reports whether a filter, or an earlier policy, takes a message for spam.
function gate.junk(msg, rcpt)
  if msg:score() >= config.score then return true end
  if yes(msg:header("X-Spam")) or yes(msg:header("X-Spam-Flag")) or yes(msg:header("X-Spam-Status")) then return true end
  local folder = string.lower(rcpt.meta.folder or "")
  for _, name in ipairs(config.junk) do
    if folder == string.lower(name) then return true end
  end
  return false
end

-- own reports whether an address is another one of the user, here or elsewhere.
function gate.own(me, v, sender)
  if server.is_local(addr.domain(sender)) and account.owns(me, sender) then return true end
  for _, a in ipairs(v.addresses or {}) do
    if addr.normalize(a) == addr.normalize(sender) then return true end
  end
  return false
end

-- addressed reports whether To or Cc names the user: Bcc and a catch-all do
-- not count (RFC 5230 4.5).
function gate.addressed(msg, box, v)
  if msg:addressed_to(box.address) then return true end
  for _, a in ipairs(v.addresses or {}) do
    if msg:addressed_to(a) then return true end
  end
  return false
end

local function same_domain(domain, box)
  if domain == addr.domain(box.address) then return true end
  for _, d in ipairs(config.inside) do
    if domain == string.lower(d) then return true end
  end
  return false
end

-- inside reports whether the sender is a colleague, who logged in here or whose
-- server may send for the domain. Others who use such an address are outsiders.
function gate.inside(msg, box, sender)
  local domain = addr.domain(sender)
  if not same_domain(domain, box) then return false end
  if msg.identity then return true end
  return domain ~= addr.domain(box.address) and msg:auth().spf.result == "pass"
end

local function contact(v, sender)
  local full, domain = addr.normalize(sender), "@" .. addr.domain(sender)
  for _, entry in ipairs(v.contacts or {}) do
    if string.lower(entry) == domain or full and addr.normalize(entry) == full then return true end
  end
  return false
end

-- audience reports whether the user wants to answer this sender.
function gate.audience(msg, box, v, sender)
  if v.audience == "inside" then return gate.inside(msg, box, sender) end
  if v.audience == "contacts" then return contact(v, sender) end
  return true
end

-- forged reports whether the return path may be somebody else's address: the
-- answer would go there. Users who logged in are known.
function gate.forged(msg, sender)
  if config.auth == "off" or msg.identity then return false end
  local a = msg:auth()
  if a.dmarc.result == "fail" then return true end
  local domain, signed, broken = addr.org_domain(addr.domain(sender)), false, false
  for _, s in ipairs(a.dkim.signatures) do
    if s.result == "pass" and addr.org_domain(s.domain) == domain then signed = true end
    if s.result == "fail" then broken = true end
  end
  local spf = a.spf.result
  if spf == "pass" or signed then return false end
  return config.auth ~= "lenient" or spf == "fail" or broken
end

return gate
