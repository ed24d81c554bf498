-- The pages of the archive: what they show of each post is in the kv, by
-- month; the posts themselves are in the list's mailbox (`list export`).

local archive = {}

-- How many octets of a post's text the pages show.
local shown = 16000

local function month(t) return time.format(t, "%Y-%m") end

-- add puts a post on the pages, unless its author objects (X-No-Archive).
function archive.add(name, f, author)
  if string.lower(f:header("X-No-Archive") or "") == "yes" then return end
  local now = month(time.now())
  local months = kv.get("months:" .. name) or {}
  if months[#months] ~= now then
    months[#months + 1] = now
    kv.set("months:" .. name, months)
  end
  kv.set("archive:" .. name .. ":" .. now .. ":" .. f.id, { from = f:from_display() or f:from() or author, subject = f:subject() or "",
    date = time.now(), text = f:text(shown), reply_to = string.match(f:header("In-Reply-To") or "", "<[^>]*>"), message_id = f:message_id() })
  kv.set("archived:" .. name .. ":" .. f.id, now)
end

-- months with posts, the newest first.
function archive.months(name)
  local out, months = {}, kv.get("months:" .. name) or {}
  for n = #months, 1, -1 do out[#out + 1] = months[n] end
  return out
end

-- posts of a month, the newest first: { id, from, subject, ... }. with keeps
-- those in which all words of a search are.
function archive.posts(name, when, with)
  local out = {}
  local prefix = "archive:" .. name .. ":" .. when .. ":"
  local all = kv.scan(prefix, 1000)
  for n = #all, 1, -1 do
    local p = all[n].value
    local text = with and string.lower(p.subject .. "\n" .. p.from .. "\n" .. p.text)
    local fits = true
    for _, word in ipairs(with or {}) do fits = fits and string.find(text, word, 1, true) ~= nil end
    if fits then
      p.id = string.sub(all[n].key, #prefix + 1)
      out[#out + 1] = p
    end
  end
  return out
end

-- find returns one post, or nil.
function archive.find(name, id)
  local when = kv.get("archived:" .. name .. ":" .. id)
  return when and kv.get("archive:" .. name .. ":" .. when .. ":" .. id)
end

return archive
