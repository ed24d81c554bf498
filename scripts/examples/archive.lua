-- Sends a copy of everything that our users send to the archive. No header
-- field shows the copy, and no DSN is sent if it bounces.
on("queue.expand", function(msg, rcpt)
  if rcpt.address == "archive@our.example" or addr.domain(msg.sender) ~= "our.example" then return end
  rcpt:copy_to("archive@our.example", { sender = "" })
end)
