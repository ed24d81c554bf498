-- Owners grant rights themselves, where the admin lets them. The delegate has
-- to accept an invitation: until then there is no right. Both log in with
-- their own passwords; a right is taken back at once.

local page = require "page"

local grants = {}

local rights = { ["send-as"] = true, ["send-on-behalf"] = true, read = true, full = true }
local WEEK = 7 * 86400

local function answer(status, value)
  return response { status = status, type = "application/json", body = json.encode(value) .. "\n", headers = { ["Cache-Control"] = "no-store" } }
end

local function failed(status, text) return answer(status, { error = text }) end

-- asked is who asks and for what: JSON, which no page of others can send with
-- the password that a browser remembers.
local function asked(req)
  if not config.owners_grant then return nil, nil, failed(403, "owners do not grant here") end
  if req.method ~= "POST" then return nil, nil, failed(405, "POST only") end
  if not string.match(req.headers["content-type"] or "", "^application/json") then return nil, nil, failed(415, "application/json only") end
  local who = page.login(req)
  if not who then return nil, nil, page.refused() end
  local what = json.decode(req.body)
  if type(what) ~= "table" then return nil, nil, failed(400, "no JSON") end
  return who, what
end

-- last is the first moment after the last day, in UTC; false where it is no day.
local function last(day)
  if day == nil then return nil end
  local t = type(day) == "string" and string.match(day, "^%d%d%d%d%-%d%d%-%d%d$") and time.parse(day)
  return t and t + 86400
end

local function invite(owner, delegate, what)
  local token = hash.sha256(uuid.new() .. uuid.new())
  kv.set("invitation:" .. token, { owner = owner, delegate = delegate, right = what.right, ["until"] = what["until"] }, { ttl = WEEK })
  mail.submit {
    sender = "", from = owner, to = delegate, subject = "You are asked to act for " .. owner,
    text = owner .. " wants to give you the right " .. what.right .. (what["until"] and " until " .. what["until"] or "") .. ".\n\n" ..
      "To accept it within a week, log in with your own password:\n\n" ..
      "  curl -u " .. delegate .. " -H 'Content-Type: application/json' -d '{\"token\": \"" .. token .. "\"}' " .. server.url("/accept") .. "\n\n" ..
      "If you do nothing, nothing happens.\n",
  }
end

-- grant: { "delegate": ADDRESS, "right": RIGHT, "until": DAY }
function grants.grant(req)
  local owner, what, refusal = asked(req)
  if not owner then return refusal end
  local delegate = type(what.delegate) == "string" and account.of(what.delegate)
  if not delegate or delegate == owner then return failed(422, "delegate is no other account here") end
  if not rights[what.right] then return failed(422, "right is none of send-as, send-on-behalf, read, full") end
  local until_ = last(what["until"])
  if until_ == false or until_ and until_ <= time.now() then return failed(422, "until is no day to come") end
  if not rate.take("invitations:" .. owner, "20/1h") then return failed(429, "too many invitations") end
  invite(owner, delegate, what)
  return answer(202, { delegate = delegate, right = what.right, state = "invited" })
end

-- accept: { "token": TOKEN }, once, by the delegate alone.
function grants.accept(req)
  local who, what, refusal = asked(req)
  if not who then return refusal end
  local key = "invitation:" .. tostring(what.token)
  local i = #key < 200 and kv.get(key)
  if not i or i.delegate ~= who then return failed(404, "no such invitation to you") end
  kv.delete(key)
  local ok, err = account.grant(i.owner, i.delegate, i.right, last(i["until"]))
  if not ok then return failed(422, err) end
  account.audit(i.owner, { action = "accept", who = who, as = i.owner, right = i.right, ip = req.ip })
  return answer(200, { owner = i.owner, right = i.right, state = "granted" })
end

-- revoke: { "delegate": ADDRESS, "right": RIGHT }, by the owner.
function grants.revoke(req)
  local owner, what, refusal = asked(req)
  if not owner then return refusal end
  if not addr.normalize(tostring(what.delegate)) then return failed(422, "delegate is no address") end
  local ok, err = account.revoke(owner, what.delegate, what.right and tostring(what.right))
  if not ok then return failed(422, err) end
  return answer(200, { granted = account.granted(owner) })
end

return grants
