-- Block lists by address, by domain of the sender, and by domain of links.
--
-- A list that answers 127.255.255.x refuses our queries; one that answers
-- anything outside of 127/8 is no block list any more; one that has 127.0.0.1
-- lists everything (RFC 5782 section 5). None of them counts.
local add = require("symbols").add
local M = {}

local function reversed(ip)
  local a, b, c, d = string.match(ip, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if a then return d .. "." .. c .. "." .. b .. "." .. a end
end

-- everything reports whether a list has an entry that no list may have.
local everything = cache.memoize(function(probe)
  local answer = dns.a(probe)
  return answer ~= nil and #answer > 0
end, { ttl = "1h", size = 200 })

-- points returns the points of the codes that a list answered, and the code
-- that counted; nil for an invalid answer.
local function points_of(zone, codes, answer)
  local best, which
  for _, code in ipairs(answer) do
    if string.find(code, "^127%.255%.255%.") or not string.find(code, "^127%.") then
      log.warn("block list does not answer us", { zone = zone, code = code })
      return nil
    end
    local points = codes[code] or codes.default or 0
    if best == nil or points > best then best, which = points, code end
  end
  return best, which
end

local function ask(msg, prefix, questions)
  local batch = {}
  for i, q in ipairs(questions) do batch[i] = { "a", q.name } end
  if #batch == 0 then return end
  for i, answer in ipairs(dns.batch(batch)) do
    local q = questions[i]
    if type(answer) == "table" and #answer > 0 then
      local points, code = points_of(q.zone, q.codes, answer)
      if points and everything(q.probe) then
        log.warn("block list has everything", { zone = q.zone })
      elseif points and points ~= 0 then
        add(msg, prefix .. "_" .. string.upper((string.gsub(q.zone, "[^%w]", "_"))), points, q.what .. " " .. code)
      end
    elseif answer == "timeout" or answer == "servfail" then
      log.warn("block list not reached", { zone = q.zone, answer = answer })
    end
  end
end

local function sorted(zones)
  local names = {}
  for zone in pairs(zones) do names[#names + 1] = zone end
  table.sort(names)
  return names
end

function M.address(msg, ip)
  local name = reversed(ip)
  if not name then
    for _, zone in ipairs(sorted(config.dnsbl)) do
      local answer, why = dns.rbl(ip, zone)
      local points, code
      if answer then points, code = points_of(zone, config.dnsbl[zone], answer) end
      if points and points ~= 0 and not everything("1.0.0.127." .. zone) then
        add(msg, "DNSBL_" .. string.upper((string.gsub(zone, "[^%w]", "_"))), points, ip .. " " .. code)
      end
    end
    return
  end
  local questions = {}
  for _, zone in ipairs(sorted(config.dnsbl)) do
    questions[#questions + 1] = { name = name .. "." .. zone, zone = zone, codes = config.dnsbl[zone], what = ip, probe = "1.0.0.127." .. zone }
  end
  ask(msg, "DNSBL", questions)
end

local function domains(msg, prefix, zones, names)
  local questions = {}
  for _, zone in ipairs(sorted(zones)) do
    for _, name in ipairs(names) do
      if #questions >= 30 then break end
      questions[#questions + 1] = { name = name .. "." .. zone, zone = zone, codes = zones[zone], what = name, probe = "invalid." .. zone }
    end
  end
  ask(msg, prefix, questions)
end

-- senders looks up the domains that the message claims to come from.
function M.senders(msg)
  local names, seen = {}, {}
  for _, a in ipairs { msg.sender, msg:from() or "" } do
    local d = a ~= "" and addr.org_domain(addr.domain(a))
    if d and not seen[d] then
      seen[d] = true
      names[#names + 1] = d
    end
  end
  domains(msg, "RHSBL", config.rhsbl, names)
end

function M.links(msg, hosts)
  local names, seen = {}, {}
  for _, host in ipairs(hosts) do
    local d = reversed(host) or addr.org_domain(host)
    if d and not seen[d] and #names < 15 then
      seen[d] = true
      names[#names + 1] = d
    end
  end
  domains(msg, "URIBL", config.uribl, names)
end

return M
