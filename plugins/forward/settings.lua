-- What a user set: { to = { ... }, keep = true, paused = false, attach = false,
-- encrypt = false }, or the text of a .forward file. bundle.toml describes the
-- same for `carteiro account set`.
local M = {}

-- address reads "Name <a@b>" or "a@b" and returns the address; nil if it is none.
local function address(text)
  if type(text) ~= "string" then return nil end
  return (addr.parse(text))
end

-- dotforward reads a .forward file: addresses between commas and line ends, #
-- begins a comment, \name is the user's own mailbox. Programs, files and
-- :include: are not supported; they are ignored.
local function dotforward(text, owner)
  local to, keep = {}, false
  for line in string.gmatch(text .. "\n", "([^\n]*)\n") do
    line = string.gsub(string.gsub(line, "\r", ""), "^%s*#.*", "")
    for item in string.gmatch(line .. ",", "([^,]*),") do
      item = string.gsub(string.gsub(item, "^%s+", ""), "%s+$", "")
      item = string.match(item, '^"(.*)"$') or item
      if string.sub(item, 1, 1) == "\\" then
        keep = true
      elseif item ~= "" and not string.match(item, "^[|/:]") then
        to[#to + 1] = string.find(item, "@", 1, true) and item or item .. "@" .. addr.domain(owner)
      end
    end
  end
  return { to = to, keep = keep }
end

-- kind returns what a target is: "mailbox", "alias", nil for an unknown address,
-- "foreign" for one on another server. For a domain of this server that does not
-- use the bundle it is "neighbour": the bundle cannot look up its addresses.
function M.kind(target)
  local in_force, ours = server.is_local(addr.domain(target))
  if ours and not in_force then return "neighbour" end
  return (account.resolve(target))
end

-- of returns what an account wants, or nil for no forwarding; with paused,
-- also that forwarding pauses.
function M.of(who, paused)
  local v = account.setting(who, "forward")
  if v == nil then return nil end
  local owner = addr.normalize(who)
  if type(v) == "string" then v = dotforward(v, owner) end
  if type(v) ~= "table" or v.paused == true and not paused then return nil end
  local list = v.to
  if type(list) == "string" then list = { list } end
  if type(list) ~= "table" then return nil end
  local f, known = { to = {}, paused = v.paused == true, keep = v.keep == true, attach = v.attach == true and v.encrypt ~= true, encrypt = v.encrypt == true }, {}
  for _, text in ipairs(list) do
    local a = address(text)
    local key = a and string.lower(a)
    if not a then
      log.warn("a target of a forward is no address", { account = owner })
    elseif addr.normalize(a) == owner or server.is_local(addr.domain(a)) and account.of(a) == owner then
      f.keep = true
    elseif not known[key] and #f.to < config.targets then
      known[key] = true
      f.to[#f.to + 1] = a
    end
  end
  if #f.to == 0 then return nil end
  return f
end

return M
