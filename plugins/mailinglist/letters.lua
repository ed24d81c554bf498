-- What a list writes to people: short letters in the list's language, from an
-- address of the list, with the null sender, so that no program answers them.

local roles = require "roles"
local tokens = require "tokens"
local words = { en = require "words_en", pt = require "words_pt" }

local letters = {}

-- fill puts values into the placeholders of a text. Placeholders in values are
-- not replaced.
function letters.fill(text, values)
  return (string.gsub(text, "%%%(([%w_]+)%)", function(name) return tostring(values[name] or "") end))
end

-- word returns a text in the list's language.
function letters.word(to, key, values)
  local known = words[to.settings.language] or words.en
  return letters.fill(known[key] or words.en[key], values or {})
end

local function title(to)
  return to.settings.title ~= "" and to.settings.title or addr.user(to.name)
end

-- send writes to one address. key names the subject and the text in words;
-- options: from, in_reply_to.
function letters.send(to, address, key, values, options)
  options = options or {}
  values = values or {}
  values.list, values.title = to.name, title(to)
  values.request, values.owner = roles.at(to.name, "request"), roles.at(to.name, "owner")
  values.join, values.leave = roles.at(to.name, "join"), roles.at(to.name, "leave")
  mail.submit {
    sender = "", from = '"' .. string.gsub(title(to), '["\\]', "") .. '" <' .. (options.from or values.request) .. ">", to = address,
    subject = letters.word(to, key .. "_subject", values), text = letters.word(to, key, values) .. letters.word(to, "end", values),
    auto = "auto-replied", in_reply_to = options.in_reply_to, headers = { ["X-Auto-Response-Suppress"] = "All" },
  }
end

-- deciders: the moderators, or the owners if there are none.
function letters.deciders(to)
  return #to.settings.moderators > 0 and to.settings.moderators or to.settings.owner
end

-- to_deciders sends a letter to each of them; a reply has the token.
function letters.to_deciders(to, key, values, token)
  for _, address in ipairs(letters.deciders(to)) do
    letters.send(to, address, key, values, { from = roles.at(to.name, "confirm+" .. token) })
  end
end

-- to_owners sends the owners a letter that needs no answer.
function letters.to_owners(to, key, values)
  for _, address in ipairs(to.settings.owner) do letters.send(to, address, key, values) end
end

-- moderation sends a held post to the moderators.
function letters.moderation(to, msg, author, why)
  local token = tokens.make { action = "moderate", list = to.name, id = msg.id }
  letters.to_deciders(to, "moderation", { author = author, subject = msg:subject() or "", size = msg.size, reason = why, id = msg.id,
    excerpt = string.gsub(msg:text(1500), "[^\n]+", "> %0") }, token)
end

return letters
