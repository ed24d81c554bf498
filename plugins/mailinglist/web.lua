-- The pages: one click to leave, confirmations, joining, the archive. A GET
-- never changes anything; what changes is POSTed and needs no cookie.

local roles = require "roles"
local members = require "members"
local tokens = require "tokens"
local letters = require "letters"
local requests = require "requests"
local links = require "links"
local archive = require "archive"

local web = {}

local function escape(s)
  return (string.gsub(s, "[&<>\"']", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }))
end

local function page(status, to, title, body)
  local language = to and to.settings.language or "en"
  return response { status = status, type = "text/html; charset=utf-8",
    headers = { ["Cache-Control"] = "no-store", ["Referrer-Policy"] = "no-referrer",
      ["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'" },
    body = '<!doctype html><html lang="' .. language .. '"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
      .. "<title>" .. escape(title) .. "</title><style>body{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;padding:0 1em}pre{white-space:pre-wrap}</style>"
      .. "<h1>" .. escape(title) .. "</h1>" .. body }
end

local function bad(to, status)
  return page(status or 404, to, letters.word(to or { settings = {} }, "page_bad"), "")
end

-- form is a page with one button.
local function form(to, title, button, fields)
  return page(200, to, title, '<form method="post">' .. (fields or "") .. "<button>" .. escape(button) .. "</button></form>")
end

-- leave: /u/LIST/MEMBER-SIGN. RFC 8058: one POST does it.
local function leave(req, to, rest)
  local hexed, sign = string.match(rest, "^(%x+)%-(%x+)$")
  local member = hexed and hex.decode(hexed)
  if not member or sign ~= links.sign("leave", to.name, member) then return bad(to, 403) end
  if req.method ~= "POST" then return form(to, letters.word(to, "page_leave", { list = to.name }), letters.word(to, "page_leave_button")) end
  requests.gone(to, member)
  return page(200, to, letters.word(to, "page_left", { address = member, list = to.name }), "")
end

local function confirm(req, to, token)
  local what = tokens.find(token)
  if not what or what.list ~= to.name or what.action == "moderate" or what.action == "admit" then return bad(to) end
  if req.method ~= "POST" then return form(to, letters.word(to, "page_confirm", { list = to.name }), letters.word(to, "page_confirm_button")) end
  requests.carry_out(to, token, what, "")
  return page(200, to, letters.word(to, "page_done"), "")
end

-- list: /list/LIST, the page of a list, with the form to join.
local function front(req, to)
  local title = letters.word(to, "page_join", { list = to.name })
  if to.settings.join == "closed" then return page(200, to, to.name, "") end
  if req.method ~= "POST" then
    return form(to, title, letters.word(to, "page_join_button"), '<input type="email" name="email" required> ')
  end
  if not rate.take("web:" .. req.ip, config.commands .. "/1h", { burst = config.commands }) then return page(429, to, to.name, "") end
  local address = addr.parse(req.form.email or "")
  if address and string.find(address, "@", 1, true) then requests.join_by(to, address) end
  return page(200, to, letters.word(to, "page_asked"), "") -- the same for all, so that nobody learns who is a member
end

local function search_form(to, query)
  return '<form><input name="q" value="' .. escape(query) .. '"> <button>' .. escape(letters.word(to, "page_search")) .. "</button></form>"
end

-- posts returns links to the posts of the months, at most so many.
local function items(to, months, with)
  local out = {}
  for _, when in ipairs(months) do
    out[#out + 1] = "<h2>" .. when .. "</h2><ul>"
    for _, p in ipairs(archive.posts(to.name, when, with)) do
      out[#out + 1] = '<li><a href="' .. escape(links.archived(to.name, p.id)) .. '">' .. escape(p.subject) .. "</a> " .. escape(p.from) .. ", " .. time.format(p.date, "%Y-%m-%d %H:%M")
      if #out > 500 then break end
    end
    out[#out + 1] = "</ul>"
    if #out > 500 then break end
  end
  return table.concat(out)
end

-- archive: /archive/LIST, ?q= searches; /archive/LIST/ID-SIGN is one post.
local function pages(req, to, rest)
  if not to.settings.archive then return bad(to) end
  local title = letters.word(to, "page_archive", { list = to.name })
  local id, sign = string.match(rest, "^(%w+)%-(%x+)$")
  if id then
    local p = sign == links.sign("archive", to.name, id) and archive.find(to.name, id)
    if not p then return bad(to) end
    return page(200, to, p.subject, "<p>" .. escape(p.from) .. ", " .. time.format(p.date, "%Y-%m-%d %H:%M") .. "<p><pre>" .. escape(p.text) .. "</pre>"
      .. (to.settings.archive_public and '<p><a href="' .. escape(links.archive(to.name)) .. '">' .. escape(title) .. "</a>" or ""))
  end
  if rest ~= "" or not to.settings.archive_public then return bad(to) end
  local with, query = nil, req.query.q or ""
  for word in string.gmatch(string.lower(query), "%S+") do
    with = with or {}
    with[#with + 1] = word
  end
  local found = items(to, archive.months(to.name), with)
  return page(200, to, title, search_form(to, query) .. (found == "" and escape(letters.word(to, "page_none")) or found))
end

local places = { u = leave, confirm = confirm, list = front, archive = pages }

function web.answer(req)
  local place, name, rest = string.match(req.path, "^/(%l+)/([^/]+)/?(.*)$")
  local domain = name and addr.domain(name) or ""
  if not places[place] or domain == "" or not server.is_local(domain) then return bad(nil) end
  return for_domain(domain, function()
    local to = roles.find(name)
    if not to or to.role ~= "post" then return bad(nil) end
    return places[place](req, to, rest)
  end)
end

return web
