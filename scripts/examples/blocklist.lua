-- Refuses mail from the networks in blocked.cidr, a file next to this one with
-- one network per line. `carteiro reload` makes changes count.
local blocked = map.open("blocked.cidr")

on("receive.connect", { listener = "mx" }, function(session)
  if blocked:match(session.ip) then
    return reject(554, "5.7.1", "mail from your network is not accepted here")
  end
end)
