-- Sends the mail for some domains another way (routes.toml), and uses a fallback
-- relay after three failed attempts.
local routes = map.open("routes.toml")

on("route.resolve", function(domain, key)
  local r = routes:get(domain)
  if r then return route { hosts = { r.host }, port = r.port, tls = r.tls } end
end)

on("deliver.result", function(msg, rcpt, result)
  if result.class == "deferred" and result.attempt >= 3 then
    return reroute { hosts = { "relay.example.net" } }
  end
end)
