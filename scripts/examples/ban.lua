-- Slows down and then stops guessing of passwords: each wrong password from a
-- network delays the next reply by one more second, the tenth bans the network
-- for an hour.
on("receive.auth", function(session, cred)
  if cred.verified then return end
  local wrong = kv.incr("wrong:" .. session.ip_net, 1, { ttl = "15m" })
  tarpit(math.min(wrong, 20))
  if wrong >= 10 then kv.set("ban:" .. session.ip_net, true, { ttl = "1h" }) end
end)

on("receive.connect", function(session)
  if kv.get("ban:" .. session.ip_net) then
    return disconnect("too many wrong passwords from your network, come back in an hour")
  end
end)
