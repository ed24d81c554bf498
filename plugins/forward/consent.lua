-- Targets outside agree before anything is forwarded to them: they get a mail with
-- a token, and answer it or press a button on a page. The token is random, works
-- once, and expires after config.confirm_days. Only its digest is stored.
local settings = require "settings"
local M = {}

local USER = "forward-confirm"

local function pair(owner, target) return owner .. " " .. string.lower(target) end

-- given reports whether the admin set it as confirmed, or the target has agreed.
function M.given(owner, target)
  return not config.confirm or account.confirmed(owner, "forward") or kv.get("agreed:" .. pair(owner, target)) ~= nil
end

-- message returns the mail to the target. It has no text of the user.
local function message(owner, target, token)
  local from = USER .. "+" .. token .. "@" .. addr.domain(owner)
  return { sender = "", from = "Mail forwarding <" .. from .. ">", to = target, auto = "auto-generated",
    subject = "Confirm forwarding from " .. owner,
    text = "Somebody wants mail for " .. owner .. " to be forwarded to this address, " .. target .. ".\n\n" ..
      "If you agree, answer this message; what you write in the answer does not matter. It goes to\n\n  " .. from .. "\n\n" ..
      "Or press the button at\n\n  " .. server.url("/confirm/" .. addr.domain(owner) .. "/" .. token) .. "\n\n" ..
      "This works once, within " .. config.confirm_days .. " days.\n\n" ..
      "If you do not agree, do nothing. Nothing is forwarded without your answer.\n" }
end

-- ask sends the mail to a target that has not agreed, once for each token's
-- life; at most 3 mails an hour to one address, and 20 a day for one account.
function M.ask(owner, target)
  local asked = "asked:" .. pair(owner, target)
  if kv.get(asked) then return end
  if not rate.take("asked:" .. string.lower(target), "3/1h") or not rate.take("asks:" .. owner, "20/1d") then return end
  local token = string.gsub(uuid.new(), "-", "")
  local sent, err = pcall(mail.submit, message(owner, target, token))
  if not sent then
    log.warn("a target could not be asked", { account = owner, why = tostring(err) })
    return
  end
  local life = { ttl = config.confirm_days .. "d" }
  kv.set(asked, time.now(), life)
  kv.set("token:" .. hash.sha256(token), { owner = owner, target = string.lower(target) }, life)
end

-- changed handles a new setting of an account. An address that is no longer a
-- target has to agree again if it becomes one later.
function M.changed(owner, confirmed)
  local wanted = {}
  local f = settings.of(owner, true)
  for _, target in ipairs(f and f.to or {}) do
    wanted[pair(owner, target)] = true
    if settings.kind(target) == "foreign" and not f.paused then
      if confirmed then
        kv.set("agreed:" .. pair(owner, target), time.now())
      elseif not M.given(owner, target) then
        M.ask(owner, target)
      end
    end
  end
  for _, entry in ipairs(kv.scan("agreed:" .. owner .. " ", 100)) do
    if not wanted[string.sub(entry.key, 8)] then kv.delete(entry.key) end
  end
end

-- find returns the data of a token, or false for one that is unknown, used or
-- too old.
local function find(token)
  local key = "token:" .. hash.sha256(string.lower(token))
  return kv.get(key) or false, key
end

-- take records that a target agrees.
local function take(p, key)
  kv.set("agreed:" .. pair(p.owner, p.target), time.now())
  kv.delete(key)
  kv.delete("asked:" .. pair(p.owner, p.target))
  log.info("a target agreed", { account = p.owner, target = p.target })
end

-- pending returns the data of the token in an address; nil for other addresses.
local function pending(rcpt)
  if string.lower(rcpt.user) ~= USER or not rcpt.tag then return nil end
  return find(rcpt.tag)
end

local function unknown() return reject(550, "5.7.1", "this confirmation is unknown, used or too old") end

function M.at_rcpt(rcpt)
  if not server.is_local(rcpt.domain) then return nil end
  local p = pending(rcpt)
  if p == nil then return nil end
  return p and accept() or unknown()
end

-- at_expand accepts an answer. Answers of programs do not count.
function M.at_expand(msg, rcpt)
  local p, key = pending(rcpt)
  if p == nil then return nil end
  if not p then return unknown end
  if msg:is_auto() then
    return function() return reject(550, "5.7.1", "an automatic answer does not confirm") end
  end
  return function()
    take(p, key)
    return discard("confirmation taken")
  end
end

local function escape(s)
  return (string.gsub(s, "[&<>\"']", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }))
end

local function page(status, body)
  return response { status = status, headers = { ["Cache-Control"] = "no-store", ["Referrer-Policy"] = "no-referrer",
    ["Content-Security-Policy"] = "default-src 'none'; form-action 'self'; frame-ancestors 'none'" },
    body = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="robots" content="noindex"><title>Mail forwarding</title>' .. body }
end

-- at_web answers /confirm/DOMAIN/TOKEN. A GET changes nothing, because
-- programs that check links send one too.
function M.at_web(req)
  local domain, token = string.match(req.path, "^/confirm/([^/]+)/(%x+)$")
  if not domain or not server.is_local(domain) then return page(404, "<p>There is nothing here.</p>") end
  return for_domain(domain, function()
    local p, key = find(token)
    if not p then return page(404, "<p>This confirmation is unknown, used or too old.</p>") end
    local what = "mail for " .. escape(p.owner) .. " to " .. escape(p.target)
    if req.method ~= "POST" then return page(200, "<p>Forward " .. what .. "?</p><form method=\"post\"><button>Yes, forward it</button></form>") end
    take(p, key)
    return page(200, "<p>From now on, " .. what .. " is forwarded.</p>")
  end)
end

return M
