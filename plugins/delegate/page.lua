-- What owners and delegates see in a browser, each with their own password.

local page = {}

function page.refused()
  return response { status = 401, type = "text/plain; charset=utf-8", body = "log in with your address and password\n",
    headers = { ["WWW-Authenticate"] = 'Basic realm="mail", charset="UTF-8"' } }
end

-- login returns the user who logged in by HTTP (RFC 7617), or nil.
function page.login(req)
  local encoded = string.match(req.headers.authorization or "", "^[Bb]asic +(.+)$")
  local plain = encoded and base64.decode(encoded)
  local name, password = string.match(plain or "", "^([^:]+):(.+)$")
  local domain = addr.domain(name or "")
  if not name or domain ~= "" and not server.is_local(domain) then return nil end
  return account.login(name, password)
end

-- wants_json reports whether a request comes from a program, not from a browser.
function page.wants_json(req)
  return string.match((req.headers["content-type"] or "") .. " " .. (req.headers.accept or ""), "application/json") ~= nil
end

-- sign is a secret in the forms of the user who logged in. A browser would also
-- send the password with a form of another site, but that site does not know it.
function page.sign(who) return server.sign("form\n" .. who) end

local function escape(s)
  return (string.gsub(s, "[&<>\"']", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }))
end

function page.html(status, title, body)
  return response { status = status, type = "text/html; charset=utf-8",
    headers = { ["Cache-Control"] = "no-store", ["Referrer-Policy"] = "no-referrer",
      ["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'" },
    body = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
      .. "<title>" .. escape(title) .. "</title><style>body{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;padding:0 1em}td,th{text-align:left;padding:.1em 1em .1em 0}form{display:inline}</style>"
      .. "<h1>" .. escape(title) .. "</h1>" .. body }
end

-- button returns a form with one button and the data that it sends.
function page.button(who, path, text, fields)
  local out = { '<form method="post" action="', escape(server.url(path)), '"><input type="hidden" name="sign" value="', page.sign(who), '">' }
  for _, f in ipairs(fields) do
    out[#out + 1] = '<input type="hidden" name="' .. f[1] .. '" value="' .. escape(f[2]) .. '">'
  end
  out[#out + 1] = "<button>" .. escape(text) .. "</button></form>"
  return table.concat(out)
end

local function table_of(head, rows)
  if #rows == 0 then return "<p>None.</p>" end
  local out = { "<table><tr>" }
  for _, h in ipairs(head) do out[#out + 1] = "<th>" .. h .. "</th>" end
  for _, r in ipairs(rows) do
    out[#out + 1] = "<tr>"
    for i, cell in ipairs(r) do out[#out + 1] = "<td>" .. (i == #r and cell or escape(cell)) .. "</td>" end -- the last one is a button
  end
  out[#out + 1] = "</table>"
  return table.concat(out)
end

-- day returns the last whole day before a time.
local function day(at) return at and time.format(at - 1, "%Y-%m-%d") or "without end" end

-- front is the page of the user who logged in: who acts for them, whom they
-- invited, and a form to invite another.
function page.front(status, who, title, invitations)
  local given, asked = {}, {}
  for _, g in ipairs(account.granted(who)) do
    given[#given + 1] = { g.delegate, g.right, day(g["until"]), page.button(who, "/revoke", "Take back", { { "delegate", g.delegate }, { "right", g.right } }) }
  end
  for _, i in ipairs(invitations) do
    asked[#asked + 1] = { i.delegate, i.right, i["until"] or "without end", page.button(who, "/withdraw", "Withdraw", { { "token", i.token } }) }
  end
  local choices = {}
  for _, r in ipairs { "send-on-behalf", "send-as", "read", "full" } do choices[#choices + 1] = "<option>" .. r .. "</option>" end
  return page.html(status, title, "<h2>Who acts for " .. escape(who) .. "</h2>" .. table_of({ "who", "right", "until", "" }, given)
    .. "<h2>Invitations that wait</h2>" .. table_of({ "who", "right", "until", "" }, asked)
    .. '<h2>Ask somebody</h2><form method="post" action="' .. escape(server.url("/grant")) .. '"><input type="hidden" name="sign" value="' .. page.sign(who) .. '">'
    .. '<p><label>Address <input type="email" name="delegate" required></label> <label>Right <select name="right">' .. table.concat(choices) .. "</select></label>"
    .. ' <label>Last day <input type="date" name="until"></label> <button>Ask</button></p></form>'
    .. '<p><a href="' .. escape(server.url("/audit")) .. '">What was done in your name</a></p>')
end

-- invitation is the page on which a delegate accepts or declines.
function page.invitation(who, token, i)
  return page.html(200, i.owner .. " asks you to act for them", "<p>The right is <b>" .. escape(i.right) .. "</b>, "
    .. (i["until"] and "until " .. escape(i["until"]) or "without end") .. ".</p><p>"
    .. page.button(who, "/accept", "Accept", { { "token", token } }) .. " " .. page.button(who, "/decline", "Decline", { { "token", token } }) .. "</p>")
end

-- audit returns the newest entries, one on each line, or as JSON.
function page.audit(req)
  if req.method ~= "GET" then return response { status = 405, type = "text/plain", body = "GET only\n", headers = { Allow = "GET" } } end
  local who = page.login(req)
  if not who then return page.refused() end
  local list = account.audited(who, 1000)
  local headers = { ["Cache-Control"] = "no-store" }
  if page.wants_json(req) then
    return response { type = "application/json", body = #list == 0 and "[]" or json.encode(list), headers = headers }
  end
  local lines = {}
  for _, e in ipairs(list) do
    lines[#lines + 1] = table.concat({ time.format(e.time), e.who, e.action, e.right or "-", e.as or "-", e.ip or "-", e.message_id or "-" }, "\t") .. "\n"
  end
  return response { type = "text/plain; charset=utf-8", body = table.concat(lines), headers = headers }
end

return page
