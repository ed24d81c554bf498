-- The policy of this server. Edit it, then run `carteiro reload`: the new
-- policy is checked first and takes over as a whole; if anything is wrong
-- with it, you are told the file and the line, and the old one stays.
--
-- A policy is a set of handlers. on(HOOK, function ... end) has the function
-- called each time a message, or a client, comes to that point. The hooks, in
-- the order in which a message meets them:
--
--   receive.connect helo auth mail rcpt headers data   while the client waits
--   queue.expand queue.commit                          just before it hears 250
--   route.resolve                                      where does it go?
--   deliver.attempt local result dsn                   each try, and what came of it
--
-- A handler returns a verdict, such as reject("no") or fileinto("Lists"), or
-- nothing: then the next handler is asked, and at the end the server does
-- what a mail server does. What a handler changes counts only if it returns
-- normally. If it fails, the client is asked to come again later; mail that
-- was accepted is delivered as if the handler were not there. So a mistake
-- here loses no mail. `carteiro explain ID` tells what each handler did.


-- 1. RECEIVE. Nobody who logged in may send more than 100 messages an hour,
-- after a burst of 100: a stolen password must not make us a source of spam.
on("receive.mail", function(session, tx)
  if not session.identity then return end
  local ok, wait = rate.take("submit:" .. session.identity.user, "100/1h", { burst = 100 })
  if not ok then
    return defer(451, "4.7.28", "too many messages, try again in " .. wait .. " seconds")
  end
end)

-- Mail from outside has to say whom it is from (RFC 5322 3.6).
on("receive.data", function(session, tx, msg)
  if not session.identity and not msg:header("From") then
    return reject(550, "5.6.0", "message has no From field")
  end
end)


-- 2. QUEUE. Mail that was sent to many can wait until other mail has left.
on("queue.commit", function(msg, group)
  local precedence = string.lower(msg:header("Precedence") or "")
  if group:priority() == 0 and (precedence == "bulk" or precedence == "list" or msg:header("List-Id")) then
    group:priority(-4)
  end
end)


-- 3. ROUTE. Without an answer from here the MX records decide. To send the
-- mail of a domain another way, remove the dashes and put in your own names:
--
-- on("route.resolve", function(domain, key)
--   if domain == "partner.example" then
--     return route { hosts = { "mail.partner.example" }, port = 25, tls = "verify" }
--   end
-- end)


-- 4. DELIVER. Mail for user+word@... goes into the user's folder of that
-- name, if there is one; everything else goes to the inbox.
on("deliver.local", function(msg, rcpt, box)
  if not rcpt.tag or rcpt.tag == "" then return end
  for _, folder in ipairs(box:folders()) do
    if folder == rcpt.tag then return fileinto(folder) end
  end
end)
