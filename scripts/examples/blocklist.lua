-- A list of networks that may not send mail here, in blocked.cidr beside this
-- file: one network a line. `carteiro reload` takes changes over.
local blocked = map.open("blocked.cidr")

on("receive.connect", { listener = "mx" }, function(session)
  if blocked:match(session.ip) then
    return reject(554, "5.7.1", "mail from your network is not accepted here")
  end
end)
