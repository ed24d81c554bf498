-- What an owner can read about the own mailbox, with the own password.

local page = {}

function page.refused()
  return response { status = 401, type = "text/plain; charset=utf-8", body = "log in with your address and password\n",
    headers = { ["WWW-Authenticate"] = 'Basic realm="mail", charset="UTF-8"' } }
end

-- login is who logged in by HTTP (RFC 7617), or nil.
function page.login(req)
  local encoded = string.match(req.headers.authorization or "", "^[Bb]asic +(.+)$")
  local plain = encoded and base64.decode(encoded)
  local name, password = string.match(plain or "", "^([^:]+):(.+)$")
  return name and account.login(name, password)
end

-- audit answers with the newest entries, a line each, or as JSON.
function page.audit(req)
  if req.method ~= "GET" then return response { status = 405, type = "text/plain", body = "GET only\n", headers = { Allow = "GET" } } end
  local who = page.login(req)
  if not who then return page.refused() end
  local list = account.audited(who, 1000)
  local headers = { ["Cache-Control"] = "no-store" }
  if string.match(req.headers.accept or "", "application/json") then
    return response { type = "application/json", body = #list == 0 and "[]" or json.encode(list), headers = headers }
  end
  local lines = {}
  for _, e in ipairs(list) do
    lines[#lines + 1] = table.concat({ time.format(e.time), e.who, e.action, e.right or "-", e.as or "-", e.ip or "-", e.message_id or "-" }, "\t") .. "\n"
  end
  return response { type = "text/plain; charset=utf-8", body = table.concat(lines), headers = headers }
end

return page
