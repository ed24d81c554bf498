on("receive.data", function(session, tx, msg)
  local s = msg:subject()
  tx.meta.class = "letter"
  msg:score("LETTERS", 1.5, "a note")
  kv.incr("messages")
  rate.take("per sender " .. tx.sender, "30/1d")
  if s == "bad" then return quarantine("looks bad") end
  if s == "junk" then for _, r in ipairs(tx:recipients()) do r.meta.folder = "Junk" end end
  kv.set("last " .. session.ip, { subject = s, at = time.now() }, { ttl = "3650d" })
end)
on("queue.commit", function(msg, group)
  group.meta.lane = "slow"
  if msg:subject() == "hold" then return hold("held by the policy") end
  if msg:subject() == "later" then return schedule(time.now() + 86400 * 30) end
  if msg:subject() == "express" then group.key = "pool-1" group:priority(5) end
end)
on("queue.expand", function(msg, rcpt)
  rcpt:set_header("X-For", rcpt.orig)
  if msg:subject() == "copies" and rcpt.user == "carol" and not rcpt.meta.done then
    rcpt.meta.done = true
    rcpt:copy_to("copy@dead.example", { sender = addr.srs("a@far.example"), headers = { ["X-Copy"] = "yes" } })
    rcpt:fork():append_text("\n-- \na footer\n")
  end
end)
