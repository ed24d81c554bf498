-- @NAME@: refuses mail whose subject begins with config.word, and adds a field
-- to all other mail.
on("receive.data", function(session, tx, msg)
  local subject = msg:subject() or ""
  if subject:sub(1, #config.word) == config.word then
    return reject(550, "5.7.1", "no such offers, please")
  end
  msg:add_header("@PREFIX@Seen", "yes")
end)
