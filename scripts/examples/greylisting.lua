-- Greylisting: an unknown sender is asked to try again in five minutes.
-- Mail servers do, most spam programs do not.
on("receive.rcpt", function(session, tx, rcpt)
  if session.identity or not rcpt.is_local then return end
  local key = "grey:" .. session.ip_net .. ":" .. tx.sender .. ":" .. rcpt.address
  local seen = kv.get(key)
  if not seen then
    kv.set(key, time.now(), { ttl = "36h" })
    return defer(451, "4.7.1", "greylisted, try again in 5 minutes")
  elseif time.now() - seen < 300 then
    return defer(451, "4.7.1", "too early, still greylisted")
  end
  kv.set(key, seen, { ttl = "35d" })
end)
