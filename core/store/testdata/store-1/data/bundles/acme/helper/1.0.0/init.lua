on("timer.tick", { every = "24h", each = "domain" }, function(now, domain) kv.incr("ticks") kv.set("domain", domain) end)
on("receive.auth", function(session, cred)
  if cred.password == "guest" then return reject("no guests") end
end)
on("receive.data", { async = true }, function(session, tx, msg) kv.incr("seen by helper") end)
local function share(owner, other) return account.grant(owner, other, "read") end
