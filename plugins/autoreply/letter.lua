-- The text of the answer. Texts are the user's, with {words} that are replaced
-- by data of the message. The data is cut, cleaned and put in once, so that it
-- can become neither header fields nor other {words}.

local letter = {}

-- cut shortens a text to at most n octets, between characters.
local function cut(s, n)
  if #s <= n then return s end
  return (string.gsub(string.sub(s, 1, n), "[\192-\255][\128-\191]*$", ""))
end

-- clean makes one line without anything that a mail program would decode again.
local function clean(s, n)
  s = string.gsub(s or "", "[%c%s]+", " ")
  s = string.gsub(s, "=%?", "= ?")
  return cut(s, n)
end

local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local function fill(text, values, html)
  return (string.gsub(text, "{(%l+)}", function(name)
    local v = values[name]
    if v and html then v = string.gsub(v, "[&<>\"']", escapes) end
    return v
  end))
end

-- texts is a key for all texts of the user: after a change everybody is answered again.
function letter.texts(v)
  local inside, outside = v.inside or {}, v.outside or {}
  return hash.sha256(table.concat({ v.subject or "", v.text, v.html or "", inside.subject or "", inside.text or "", inside.html or "",
    outside.subject or "", outside.text or "", outside.html or "" }, "\0"))
end

-- words returns subject, text and html for a sender inside or outside.
function letter.words(v, inside)
  local own = inside and v.inside or not inside and v.outside or nil
  local from = own or v
  return { subject = from.subject or v.subject, text = from.text, html = from.html }
end

-- from returns the user's address with the name that the user set.
local function from(box, v)
  local name = clean(v.name, 100)
  if name == "" then return box.address end
  return '"' .. string.gsub(name, '[\\"]', "\\%0") .. '" <' .. box.address .. ">"
end

function letter.send(msg, box, v, words, sender)
  local subject = clean(msg:subject(), 200)
  local values = {
    subject = subject, sender = sender, name = clean(msg:from_display() or sender, 100), me = box.address,
    from = v.from or "", ["until"] = v["until"] or "",
  }
  mail.submit {
    sender = "", from = from(box, v), to = sender, auto = "auto-replied", in_reply_to = msg,
    subject = words.subject and clean(fill(words.subject, values), 400) or "Auto: " .. subject,
    text = fill(words.text, values), html = words.html and fill(words.html, values, true),
    headers = { ["X-Auto-Response-Suppress"] = "All" },
    copy = v.save and "Sent" or nil,
  }
end

return letter
