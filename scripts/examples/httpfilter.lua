-- Asks another program about the text of mail from outside, over HTTP: it gets
-- JSON and answers { "score": 7.5, "reason": "..." }. It needs
--   [scripts]
--   http = ["127.0.0.1:8081"]
-- in the configuration. While it does not answer, mail is accepted without it.
local filter = "http://127.0.0.1:8081/judge"

on("receive.data", { order = 50 }, function(session, tx, msg)
  if session.identity then return end
  local answer, err = http.post(filter, {
    client = session.ip, sender = tx.sender, subject = msg:subject() or "", text = msg:text(65536),
  }, { timeout = "3s" })
  if err or answer.status ~= 200 then
    log.warn("the filter does not answer", { why = err or answer.status })
    return
  end
  local said = json.decode(answer.body)
  if said and type(said.score) == "number" then
    msg:score("HTTP_FILTER", said.score, tostring(said.reason or ""))
  end
end)

on("receive.data", { order = 90 }, function(session, tx, msg)
  if msg:score() >= 15 then return reject(550, "5.7.1", "message looks like spam") end
end)
