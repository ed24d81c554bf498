-- The settings of a list: their names, allowed values, and defaults.

local settings = {}

local function choice(...)
  local allowed = { ... }
  return function(text)
    for _, v in ipairs(allowed) do
      if v == text then return v end
    end
    return nil, "one of " .. table.concat(allowed, ", ")
  end
end

local function boolean(text)
  if text == "true" or text == "yes" then return true end
  if text == "false" or text == "no" then return false end
  return nil, "true or false"
end

local function number(low, high)
  return function(text)
    local n = tonumber(text)
    if n and n >= low and n <= high then return n end
    return nil, "a number from " .. low .. " to " .. high
  end
end

local function line(longest)
  return function(text)
    if #text <= longest and not string.find(text, "[\r\n%z]") then return text end
    return nil, "one line of at most " .. longest .. " octets"
  end
end

local function url(value)
  if value == "" or #value <= 500 and string.find(value, "^https?://[%w.%-%[%]:]+/?[%w%-._~:/?#%[%]@!$&'()*+,;=%%]*$") then return value end
  return nil, "a URL with https:// or http://"
end

-- text reads "\n" as a line end, because values come from a command line.
local function text(longest)
  return function(value)
    value = string.gsub(value, "\\n", "\n")
    if #value <= longest then return value end
    return nil, "at most " .. longest .. " octets"
  end
end

local units = { [""] = 1, B = 1, KiB = 1024, MiB = 1048576, GiB = 1073741824, KB = 1000, MB = 1000000 }

local function size(value)
  local n, unit = string.match(value, "^(%d+)%s*(%a*)$")
  if n and units[unit] and tonumber(n) > 0 then return tonumber(n) * units[unit] end
  return nil, "a size such as 1MiB"
end

local function address(value)
  local a = addr.parse(value)
  if a and string.find(a, "@", 1, true) and not string.find(a, "[%s<>]") then return a end
  return nil, "an address"
end

-- addresses reads several, separated by commas; pattern allows "@domain".
local function addresses(pattern)
  return function(value)
    local out = {}
    for word in string.gmatch(value, "[^,%s]+") do
      local a = pattern and string.match(word, "^@[%w.-]+$") and string.lower(word) or address(word)
      if not a then return nil, "addresses, separated by commas: " .. word .. " is none" end
      out[#out + 1] = a
    end
    return out
  end
end

local function words(value)
  local out = {}
  for word in string.gmatch(value, "[^,%s]+") do out[#out + 1] = string.lower(word) end
  return out
end

local function owners(value)
  local out, why = addresses()(value)
  if out and #out == 0 then return nil, "at least one address" end
  return out, why
end

local function reply(value)
  if value == "none" or value == "list" then return value end
  local a = address(value)
  if a then return a end
  return nil, "none, list or an address"
end

-- keys are all settings: how a text becomes the value, the default, and a
-- short description.
settings.keys = {
  owner = { owners, nil, "who runs the list" },
  moderators = { addresses(), {}, "who decides about held messages; the owners where there are none" },
  title = { line(100), "", "name of the list for people" },
  language = { choice("en", "pt"), "en", "of what the list writes" },
  post = { choice("anyone", "members", "moderated", "announce"), "members", "who may post; moderated: each post is held; announce: owners and moderators alone" },
  strangers = { choice("reject", "hold"), "reject", "what becomes of a post of somebody who may not" },
  first_post = { boolean, false, "hold the first post of each member" },
  bans = { addresses(true), {}, "who may not post, subscribe or write to the owners; @domain is a whole domain" },
  max_size = { size, 1048576, "largest post" },
  max_recipients = { number(1, 10000), 20, "most addresses in To and Cc" },
  hidden = { choice("hold", "accept"), "hold", "what becomes of a post that does not name the list in To or Cc" },
  types = { words, {}, "media types of which a part has a post held, such as application/zip or video/*" },
  dmarc = { choice("auto", "never"), "auto", "rewrite From where the author's domain rejects mail by others" },
  dkim = { choice("keep", "drop"), "drop", "the author's signature, where the post was changed" },
  arc = { boolean, false, "seal how the post arrived (ARC), beside the list's signature" },
  reply_to = { reply, "none", "none, list or an address" },
  anonymous = { boolean, false, "take out who wrote" },
  subject_prefix = { line(60), "", "in front of subjects that lack it" },
  footer = { text(4000), "", "below each post; %(list), %(title), %(url), and for each member %(member) and %(leave) are filled in" },
  archive = { boolean, false, "keep posts: `list export`, and pages on the web" },
  archive_public = { boolean, false, "anybody may read the archive's pages; else only who has the link of a post" },
  join = { choice("confirm", "moderated", "closed"), "confirm", "how to become a member by mail and web" },
  leave = { choice("confirm", "open"), "confirm", "whether leaving by mail has to be confirmed" },
  roster = { choice("owners", "members"), "owners", "who may see the members" },
  parents = { addresses(), {}, "lists whose posts this one takes, where it is a member of theirs" },
  digest_every = { number(1, 744), 24, "hours between two digests" },
  digest_size = { size, 65536, "size at which a digest goes out earlier" },
  bounce_score = { number(1, 100), 5, "points, one for a hard bounce a day, half for a soft one, at which a member is probed" },
  bounce_warnings = { number(0, 20), 3, "letters, one a week, to a member that is switched off, before it is removed" },
  source = { url, "", "where members come from: its answer is JSON, or text with an address a line; the configuration grants its host" },
  source_every = { number(1, 744), 24, "hours between two looks at it" },
  held_days = { number(1, 365), 30, "how long a held post waits" },
}

-- load returns the settings of a list with their defaults, or nil.
function settings.load(name)
  local stored = list.settings(name)
  if not stored or not stored.owner then return nil end
  local out = {}
  for key, spec in pairs(settings.keys) do out[key] = spec[2] end
  for key, value in pairs(stored) do out[key] = value end
  return out
end

-- parse reads "KEY=VALUE"; it returns key and value, or nil and the error.
function settings.parse(pair)
  local key, value = string.match(pair, "^([%w_]+)=(.*)$")
  if not key then return nil, "KEY=VALUE expected, got " .. pair end
  local spec = settings.keys[key]
  if not spec then
    local known = {}
    for k in pairs(settings.keys) do known[#known + 1] = k end
    table.sort(known)
    return nil, "there is no setting " .. key .. "; known are " .. table.concat(known, ", ")
  end
  local parsed, why = spec[1](value)
  if parsed == nil then return nil, key .. " must be " .. why .. ", got " .. value end
  return key, parsed
end

-- save stores settings. It also stores for other policies: the list's id,
-- where its bounces go, and whether it is closed.
function settings.save(name, values)
  values.id = settings.id(name)
  values.bounces = addr.user(name) .. "-bounces@" .. addr.domain(name)
  values.closed = (values.post or "members") ~= "anyone"
  list.configure(name, values)
end

-- id returns the text between the brackets of List-Id (RFC 2919 section 2).
function settings.id(name)
  return addr.user(name) .. "." .. addr.domain(name)
end

-- runs reports whether an address is an owner or a moderator.
function settings.runs(l, address)
  for _, who in ipairs { l.owner, l.moderators } do
    for _, a in ipairs(who) do
      if addr.normalize(a) == addr.normalize(address) then return true end
    end
  end
  return false
end

-- banned reports whether an address or its domain is banned.
function settings.banned(l, address)
  for _, ban in ipairs(l.bans) do
    if ban == "@" .. addr.domain(address) or addr.normalize(ban) == addr.normalize(address) then return true end
  end
  return false
end

return settings
