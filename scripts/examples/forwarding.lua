-- Forwarding that keeps a copy and cannot loop (forwards.toml). The envelope
-- sender is rewritten (SRS), so that the next server does not take us for a
-- forger, and bounces find their way home.
local forwards = map.open("forwards.toml")

on("queue.expand", function(msg, rcpt)
  local f = forwards:get(rcpt.address)
  if not f or msg:header("X-Loop") == rcpt.address then return end
  rcpt:copy_to(f.to, { sender = addr.srs(msg.sender), headers = { ["X-Loop"] = rcpt.address } })
  if not f.keep then return discard("forwarded") end
end)
