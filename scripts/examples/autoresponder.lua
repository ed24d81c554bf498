-- An automatic reply (RFC 3834), once per sender and week. The text is what
-- `carteiro account set ADDRESS vacation '{"active": true, "text": "..."}'`
-- stored. Automatic mail, and mail that does not name the user, gets no reply.
on("deliver.local", function(msg, rcpt, box)
  local v = box:setting("vacation")
  if not v or not v.active or msg:is_auto() or not msg:addressed_to(rcpt.address) then return end
  if not kv.once("vacation:" .. rcpt.address .. ":" .. msg.sender, { ttl = "7d" }) then return end
  mail.submit { sender = "", from = rcpt.address, to = msg.sender, auto = "auto-replied",
    subject = "Auto: " .. (msg:subject() or ""), text = v.text, in_reply_to = msg }
end)
