-- URLs of a list, and their signatures.

local links = {}

-- path returns LIST as it is written in a URL.
local function path(name)
  return (string.gsub(name, "[^%w@.%-_]", function(c) return string.format("%%%02X", string.byte(c)) end))
end

function links.list(name) return server.url("/list/" .. path(name)) end

function links.archive(name) return server.url("/archive/" .. path(name)) end

-- archived returns the URL of one post; everybody with the link may read it.
function links.archived(name, id)
  return server.url("/archive/" .. path(name) .. "/" .. id .. "-" .. links.sign("archive", name, id))
end

function links.sign(what, name, id)
  return string.sub(server.sign(what .. "\n" .. name .. "\n" .. id), 1, 20)
end

-- leave returns the URL with which one click removes a member.
function links.leave(name, member)
  return server.url("/u/" .. path(name) .. "/" .. hex.encode(member) .. "-" .. links.sign("leave", name, member))
end

-- unsubscribe returns List-Unsubscribe of a member's copy (RFC 8058 section 3.1).
function links.unsubscribe(name, member)
  return "<" .. links.leave(name, member) .. ">, <mailto:" .. addr.verp(addr.user(name) .. "-leave@" .. addr.domain(name), member) .. ">"
end

function links.confirm(name, token) return server.url("/confirm/" .. path(name) .. "/" .. token) end

return links
