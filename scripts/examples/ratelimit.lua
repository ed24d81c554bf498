-- No user may send more than 100 messages an hour, 20 of them at once.
on("receive.mail", function(session, tx)
  if not session.identity then return end
  local ok, wait = rate.take("out:" .. session.identity.user, "100/1h", { burst = 20 })
  if not ok then return defer(451, "4.7.28", "limit reached, try again in " .. wait .. " s") end
end)
