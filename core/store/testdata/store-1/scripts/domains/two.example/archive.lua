on("timer.tick", { every = "24h" }, function(now) kv.incr("ticks") end)
on("receive.data", { async = true }, function(session, tx, msg)
  if msg:subject() == "async" then error("the archive of two is away") end
end)
on("observe.event", { events = { "accepted" } }, function(event)
  if event.data.subject == "unseen" then error("the second webhook is away") end
end)
