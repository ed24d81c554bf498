-- Forwards mail as forwards.toml says, keeps a copy and cannot loop. The return
-- path is rewritten (SRS), so that SPF passes at the next server and bounces
-- come back here.
local forwards = map.open("forwards.toml")

on("queue.expand", function(msg, rcpt)
  local f = forwards:get(rcpt.address)
  if not f or msg:header("X-Loop") == rcpt.address then return end
  rcpt:copy_to(f.to, { sender = addr.srs(msg.sender), headers = { ["X-Loop"] = rcpt.address } })
  if not f.keep then return discard("forwarded") end
end)
