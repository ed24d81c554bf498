-- URLs of a list, and the signatures that make them hold.

local links = {}

-- path is LIST as it stands in a URL.
local function path(name)
  return (string.gsub(name, "[^%w@.%-_]", function(c) return string.format("%%%02X", string.byte(c)) end))
end

function links.list(name) return server.url("/list/" .. path(name)) end

function links.archive(name) return server.url("/archive/" .. path(name)) end

-- archived is the page of one post; who has the link may read it.
function links.archived(name, id)
  return server.url("/archive/" .. path(name) .. "/" .. id .. "-" .. links.sign("archive", name, id))
end

function links.sign(what, name, id)
  return string.sub(server.sign(what .. "\n" .. name .. "\n" .. id), 1, 20)
end

-- leave is what one click takes a member out with.
function links.leave(name, member)
  return server.url("/u/" .. path(name) .. "/" .. hex.encode(member) .. "-" .. links.sign("leave", name, member))
end

-- unsubscribe is the List-Unsubscribe of a member's copy (RFC 8058 section 3.1).
function links.unsubscribe(name, member)
  return "<" .. links.leave(name, member) .. ">, <mailto:" .. addr.verp(addr.user(name) .. "-leave@" .. addr.domain(name), member) .. ">"
end

function links.confirm(name, token) return server.url("/confirm/" .. path(name) .. "/" .. token) end

return links
