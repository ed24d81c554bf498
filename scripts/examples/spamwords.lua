-- Gives points for what looks like spam. Several handlers add points; the last
-- one (order = 90) decides.
local bad = re.set { "(?i)crypto\\s+giveaway", "(?i)you have won" }

on("receive.data", { order = 10 }, function(session, tx, msg)
  if session.identity then return end
  if bad:match(msg:text(65536)) then msg:score("SCAM_WORDS", 6) end
  if dns.rbl(session.ip, "dnsbl.example") then msg:score("RBL", 5) end
  if not msg:header("Date") then msg:score("NO_DATE", 1, "every mail program writes one") end
end)

on("receive.data", { order = 90 }, function(session, tx, msg)
  local total = msg:score()
  if total >= 11 then return reject(550, "5.7.1", "message looks like spam") end
  if total >= 6 then
    msg:set_header("X-Spam", "yes")
    for _, rcpt in ipairs(tx:recipients()) do rcpt.meta.folder = "Junk" end
  end
end)
