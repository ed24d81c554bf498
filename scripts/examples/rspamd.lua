-- Does with a message what Rspamd, or any other milter, says. It needs
--   [milter.rspamd]
--   addr = "127.0.0.1:11332"
-- in the configuration. A filter that does not answer fails this handler, so
-- that the sender tries again later.
on("receive.data", { order = 80 }, function(session, tx, msg)
  if session.identity then return end
  local action, changes = milter.scan("rspamd", msg)
  for _, c in ipairs(changes) do
    if c.op == "add_header" or c.op == "insert_header" then
      msg:add_header(c.name, c.value)
    elseif c.op == "change_header" and c.value == "" then
      msg:remove_header(c.name)
    elseif c.op == "change_header" then
      msg:set_header(c.name, c.value)
    end
  end
  if action == "reject" then return reject(changes.code or 550, changes.enhanced or "5.7.1", changes.text or "message looks like spam") end
  if action == "defer" then return defer(changes.code or 451, changes.enhanced or "4.7.1", changes.text or "try again later") end
  if action == "discard" then return discard("a filter wants it dropped") end
  if action == "quarantine" then return quarantine(changes.reason or "a filter wants it kept apart") end
  if msg:header("X-Spam") then
    for _, rcpt in ipairs(tx:recipients()) do rcpt.meta.folder = "Junk" end
  end
end)
