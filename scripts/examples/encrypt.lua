-- Encrypts mail for users here who have a key (`carteiro key add`). If the key
-- cannot be used, the message goes into quarantine and the user gets a notice
-- once a week: such mail is never stored unencrypted. Mail of the server
-- itself, such as a DSN, stays readable.
on("queue.expand", function(msg, rcpt)
  local kind = rcpt.is_local and crypt.has_key(rcpt.address)
  if not kind or msg.ours and msg.sender == "" then return end
  local done, why = crypt[kind](rcpt:fork(), rcpt.address)
  if done or why == "encrypted" or why == "report" then return end
  if kv.once("told:" .. rcpt.address, { ttl = "7d" }) then
    mail.submit { sender = "", from = "postmaster@" .. rcpt.domain, to = { rcpt.address, "postmaster@" .. rcpt.domain }, auto = "auto-generated",
      subject = "Your key cannot be used", text = "Mail for " .. rcpt.address .. " waits in quarantine: its key is " .. why .. ".\n" }
  end
  return quarantine("cannot be encrypted, the key is " .. why)
end)
