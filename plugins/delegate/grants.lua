-- Owners grant rights themselves, if the admin allows it. The delegate has to
-- accept an invitation: until then there is no right. Both log in with their
-- own passwords; a right is revoked at once.

local page = require "page"

local grants = {}

local rights = { ["send-as"] = true, ["send-on-behalf"] = true, read = true, full = true }
local WEEK = 7 * 86400

-- An invitation is stored under its token, and again under its owner, for the
-- list of open ones. Both expire after a week.
local function key(token) return "invitation:" .. token end
local function listed(owner, token) return "waiting:" .. owner .. "\n" .. token end

local function find(token)
  return type(token) == "string" and string.match(token, "^%x+$") and #token == 64 and kv.get(key(token)) or nil
end

local function forget(token, i)
  kv.delete(key(token))
  kv.delete(listed(i.owner, token))
end

local function waiting(owner)
  local out, prefix = {}, listed(owner, "")
  for _, e in ipairs(kv.scan(prefix, 1000)) do
    local i = e.value
    i.token = string.sub(e.key, #prefix + 1)
    out[#out + 1] = i
  end
  return out
end

-- answer returns the result: value as JSON for programs, or a page with the title.
local function answer(req, who, status, title, value)
  if page.wants_json(req) then
    return response { status = status, type = "application/json", body = json.encode(value) .. "\n", headers = { ["Cache-Control"] = "no-store" } }
  end
  if who then return page.front(status, who, title, waiting(who)) end
  return page.html(status, title, "")
end

local function failed(req, who, status, text) return answer(req, who, status, "Not done: " .. text, { error = text }) end

-- asked returns the user who sent a request, and its content: JSON, which a page of
-- another site cannot send with the password that a browser remembers, or a form of ours.
local function asked(req)
  if not config.owners_grant then return nil, nil, failed(req, nil, 403, "owners do not grant here") end
  if req.method ~= "POST" then return nil, nil, failed(req, nil, 405, "POST only") end
  local kind = req.headers["content-type"] or ""
  local form = string.match(kind, "^application/x%-www%-form%-urlencoded") ~= nil
  if not form and not string.match(kind, "^application/json") then return nil, nil, failed(req, nil, 415, "application/json or a form only") end
  local who = page.login(req)
  if not who then return nil, nil, page.refused() end
  if form then
    if req.form.sign ~= page.sign(who) then return nil, nil, failed(req, nil, 403, "the form is none of yours") end
    local what = req.form
    if what["until"] == "" then what["until"] = nil end
    return who, what
  end
  local what = json.decode(req.body)
  if type(what) ~= "table" then return nil, nil, failed(req, nil, 400, "no JSON") end
  return who, what
end

-- last returns the first moment after the last day, in UTC; false if it is no day.
local function last(day)
  if day == nil then return nil end
  local t = type(day) == "string" and string.match(day, "^%d%d%d%d%-%d%d%-%d%d$") and time.parse(day)
  return t and t + 86400 or false
end

local function invite(owner, delegate, what)
  local token = hash.sha256(uuid.new() .. uuid.new())
  kv.set(key(token), { owner = owner, delegate = delegate, right = what.right, ["until"] = what["until"] }, { ttl = WEEK })
  kv.set(listed(owner, token), { delegate = delegate, right = what.right, ["until"] = what["until"] }, { ttl = WEEK })
  mail.submit {
    sender = "", from = owner, to = delegate, subject = "You are asked to act for " .. owner,
    text = owner .. " wants to give you the right " .. what.right .. (what["until"] and " until " .. what["until"] or "") .. ".\n\n" ..
      "To accept it within a week, or to decline, log in with your own password:\n\n" ..
      "  " .. server.url("/accept") .. "?token=" .. token .. "\n\n" ..
      "If you do nothing, nothing happens.\n",
  }
end

-- front is the page of the user who logged in.
function grants.front(req)
  if not config.owners_grant then return failed(req, nil, 403, "owners do not grant here") end
  if req.method ~= "GET" or req.path ~= "/" then return failed(req, nil, 404, "there is no such page") end
  local who = page.login(req)
  if not who then return page.refused() end
  return page.front(200, who, "Delegates", waiting(who))
end

-- grant: { "delegate": ADDRESS, "right": RIGHT, "until": DAY }
function grants.grant(req)
  local owner, what, refusal = asked(req)
  if not owner then return refusal end
  local delegate = type(what.delegate) == "string" and server.is_local(addr.domain(what.delegate)) and account.of(what.delegate)
  if not delegate or delegate == owner then return failed(req, owner, 422, "delegate is no other account here") end
  if not rights[what.right] then return failed(req, owner, 422, "right is none of send-as, send-on-behalf, read, full") end
  local until_ = last(what["until"])
  if until_ == false or until_ and until_ <= time.now() then return failed(req, owner, 422, "until is no day to come") end
  if not rate.take("invitations:" .. owner, "20/1h") then return failed(req, owner, 429, "too many invitations") end
  invite(owner, delegate, what)
  return answer(req, owner, 202, delegate .. " is asked", { delegate = delegate, right = what.right, state = "invited" })
end

-- mine returns the invitation that was sent to this delegate.
local function mine(req, who, token)
  local i = find(token)
  if i and i.delegate == who then return i end
  return nil, failed(req, who, 404, "there is no such invitation to you")
end

-- taken removes and returns an invitation, when its delegate answers: it counts once.
local function taken(req)
  local who, what, refusal = asked(req)
  if not who then return nil, nil, refusal end
  local i, unknown = mine(req, who, what.token)
  if not i then return nil, nil, unknown end
  forget(what.token, i)
  return who, i
end

local function record(req, who, i, action)
  account.audit(i.owner, { action = action, who = who, as = i.owner, right = i.right, ip = req.ip })
end

-- accept: { "token": TOKEN }, once, only by the delegate. A GET shows the
-- invitation and changes nothing.
function grants.accept(req)
  if req.method == "GET" and config.owners_grant then
    local who = page.login(req)
    if not who then return page.refused() end
    local i, refusal = mine(req, who, req.query.token)
    return i and page.invitation(who, req.query.token, i) or refusal
  end
  local who, i, refusal = taken(req)
  if not who then return refusal end
  local ok, err = account.grant(i.owner, i.delegate, i.right, last(i["until"]))
  if not ok then return failed(req, who, 422, err) end
  record(req, who, i, "accept")
  return answer(req, who, 200, "You act for " .. i.owner .. " now: " .. i.right, { owner = i.owner, right = i.right, state = "granted" })
end

-- decline: { "token": TOKEN }, by the delegate; it is in the owner's record.
function grants.decline(req)
  local who, i, refusal = taken(req)
  if not who then return refusal end
  record(req, who, i, "decline")
  return answer(req, who, 200, "Declined", { owner = i.owner, right = i.right, state = "declined" })
end

-- withdraw: { "token": TOKEN }, by the owner, before it was accepted.
function grants.withdraw(req)
  local owner, what, refusal = asked(req)
  if not owner then return refusal end
  local i = find(what.token)
  if not i or i.owner ~= owner then return failed(req, owner, 404, "there is no such invitation of yours") end
  forget(what.token, i)
  return answer(req, owner, 200, "The invitation is withdrawn", { delegate = i.delegate, right = i.right, state = "withdrawn" })
end

-- revoke: { "delegate": ADDRESS, "right": RIGHT }, by the owner.
function grants.revoke(req)
  local owner, what, refusal = asked(req)
  if not owner then return refusal end
  if not addr.normalize(tostring(what.delegate)) then return failed(req, owner, 422, "delegate is no address") end
  local ok, err = account.revoke(owner, what.delegate, what.right and tostring(what.right))
  if not ok then return failed(req, owner, 422, err) end
  return answer(req, owner, 200, "The right is taken back", { granted = account.granted(owner) })
end

return grants
