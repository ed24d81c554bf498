on("timer.tick", { every = "24h" }, function(now) kv.incr("ticks") end)
on("timer.tick", { every = "1h" }, function(now) kv.incr("hourly") end)
on("receive.data", { async = true }, function(session, tx, msg)
  if msg:subject() == "async" then error("the archive is away") end
  kv.incr("archived")
end)
on("observe.event", { events = { "accepted", "deferred" } }, function(event)
  if event.data.subject == "unseen" then error("the webhook is away") end
  kv.incr("seen")
end)
