-- Forwarding as an attachment: a new message from the owner, signed by the owner's
-- domain, with the original message in it. It passes wherever the owner's own mail
-- does, but a reply to it goes to the owner; so users must ask for it.
local M = {}

-- LARGEST is the largest message to attach, in octets: messages of policies have 1 MiB.
local LARGEST = 512 * 1024

-- whole returns the new message. It has every Delivered-To of the old one, so
-- that a loop is detected though its Message-ID is new each time.
local function whole(msg, owner)
  local lines, boundary = {}, "forward-" .. uuid.new()
  local function line(s) lines[#lines + 1] = s end
  line("From: " .. owner)
  line("To: " .. owner)
  line("Subject: Fwd: " .. string.sub(msg:header("Subject") or "", 1, 400))
  line("Delivered-To: " .. owner)
  for _, v in ipairs(msg:headers("Delivered-To")) do
    if addr.normalize(v) then line("Delivered-To: " .. addr.normalize(v)) end
  end
  line("MIME-Version: 1.0")
  line('Content-Type: multipart/mixed; boundary="' .. boundary .. '"')
  line("Content-Transfer-Encoding: 8bit")
  line("")
  line("--" .. boundary)
  line("Content-Type: text/plain; charset=us-ascii")
  line("")
  line("A message for " .. owner .. " is attached.")
  line("")
  line("--" .. boundary)
  line("Content-Type: message/rfc822")
  line("Content-Disposition: attachment")
  line("Content-Transfer-Encoding: 8bit")
  line("")
  line((string.gsub(msg:raw(LARGEST), "%z", "")))
  line("--" .. boundary .. "--")
  return table.concat(lines, "\r\n") .. "\r\n"
end

-- send sends it to all targets; it returns nil, or why it did not. The owner
-- gets DSNs about its failures, but none about forwarded DSNs.
function M.send(msg, owner, targets)
  if msg.size > LARGEST then return "it is too large to be attached" end
  local sender = msg.sender == "" and "" or owner
  local sent, err = pcall(mail.submit, { sender = sender, to = targets, raw = whole(msg, owner), auto = "auto-generated" })
  if sent then return nil end
  log.warn("a message could not be attached", { account = owner, why = tostring(err) })
  return "too much mail was forwarded"
end

return M
