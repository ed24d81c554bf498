-- The policy of this server. Edit it, then run `carteiro reload`. The server
-- checks the new policy first and then uses all of it; if anything is wrong,
-- it shows you the file and the line, and keeps the old policy.
--
-- A policy is a set of handlers. on(HOOK, function ... end) registers a function
-- that the server calls each time a message, or a client, comes to that hook.
-- The hooks, in the order in which a message passes them:
--
--   receive.connect helo auth mail rcpt headers data   while the client waits
--   queue.expand queue.commit                          just before the reply 250
--   route.resolve                                      where does it go?
--   deliver.attempt local result dsn                   each attempt and its outcome
--
-- A handler returns a verdict, such as reject("no") or fileinto("Lists"), or
-- nothing: then the server asks the next handler, and at last does what a mail
-- server does without policies. Changes of a handler count only if it returns
-- normally. If it fails, the client is asked to try again later; mail that was
-- accepted already is delivered as if the handler did not exist. So a mistake
-- here loses no mail. `carteiro explain ID` shows what each handler did.


-- 1. RECEIVE. Nobody who logged in may send more than 100 messages an hour,
-- after a burst of 100, so that a stolen password does not make us send spam.
on("receive.mail", function(session, tx)
  if not session.identity then return end
  local ok, wait = rate.take("submit:" .. session.identity.user, "100/1h", { burst = 100 })
  if not ok then
    return defer(451, "4.7.28", "too many messages, try again in " .. wait .. " seconds")
  end
end)

-- Mail from outside must have a From field (RFC 5322 3.6).
on("receive.data", function(session, tx, msg)
  if not session.identity and not msg:header("From") then
    return reject(550, "5.6.0", "message has no From field")
  end
end)


-- 2. QUEUE. Bulk mail waits until other mail has been sent.
on("queue.commit", function(msg, group)
  local precedence = string.lower(msg:header("Precedence") or "")
  if group:priority() == 0 and (precedence == "bulk" or precedence == "list" or msg:header("List-Id")) then
    group:priority(-4)
  end
end)


-- 3. ROUTE. Without a route from here the MX records decide. To send the mail
-- for a domain another way, remove the dashes and write your own names:
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
