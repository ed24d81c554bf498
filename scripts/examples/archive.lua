-- A copy of everything that a user of ours sends, for the archive. The copy
-- has no header field that shows it, and nobody is told if it bounces.
on("queue.expand", function(msg, rcpt)
  if rcpt.address == "archive@our.example" or addr.domain(msg.sender) ~= "our.example" then return end
  rcpt:copy_to("archive@our.example", { sender = "" })
end)
