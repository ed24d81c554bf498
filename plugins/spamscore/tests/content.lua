-- What is read from a message, and what follows from the score.
local t = require "carteiro.test"

local function send(raw, o)
  o = o or {}
  local s = t.session { ip = o.ip or "192.0.2.7", helo = "mx.a.example" }
  s:mail(o.sender or "a@a.example")
  s:rcpt(o.to or "bob@our.example")
  return s:data(raw)
end

local function letter(o)
  return "From: " .. (o.from or "a@a.example") .. "\nTo: bob@our.example\nSubject: " .. (o.subject or "hello") ..
    "\nDate: Thu, 1 Jan 2026 00:00:00 +0000\nMessage-ID: <" .. (o.id or "1") .. "@a.example>\n" .. (o.more or "") .. "\n" .. (o.text or "hello") .. "\n"
end

local function result(n)
  t.settle()
  local box, junk = t.mailbox("bob@our.example"), t.mailbox("bob@our.example", "Junk")
  local m = box[#box] or junk[#junk]
  local header = string.match(m.raw, "X%-Spam%-Result: (.-)\r?\n[^ \t]")
  return string.gsub(header, "\r?\n", ""), m.raw, #junk
end

local function has(header, name) return string.find(header, name .. "=", 1, true) ~= nil end

t.case("GTUBE is refused in the session", function()
  local r = send(letter { text = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X" })
  t.eq(r.code, 550)
  t.eq(r.enhanced, "5.7.1")
  t.settle()
  t.eq(#t.submitted(), 0)
  t.no_errors()
end)

t.case("a letter is taken, and the header adds up", function()
  t.eq(send(letter {}).code, 250)
  local header = result()
  local sum = 0
  for points in string.gmatch(header, "[A-Z_]+=(%-?%d+%.%d+)") do sum = sum + tonumber(points) end
  t.eq(string.format("%.2f", sum), string.match(header, "score=(%-?%d+%.%d+)"))
  t.no_errors()
end)

t.case("a forged header of ours is not believed", function()
  send(letter { more = "X-Spam-Result: score=-100\nX-Spam: no\n" })
  local _, raw = result()
  t.ok(not string.find(raw, "score=-100", 1, true))
  t.no_errors()
end)

for name, text in pairs {
  URL_USER = "http://bank.example@evil.example/",
  URL_ADDRESS = "http://203.0.113.9/x",
  URL_ESCAPED = "http://%65vil.example/",
  URL_PUNYCODE = "http://xn--bnk-0na.example/",
  URL_PORT = "http://a.example:8081/",
  URL_SHORTENER = "https://bit.ly/abc",
} do
  t.case("a link: " .. name, function()
    send(letter { text = text })
    t.ok(has(result(), name), result())
    t.no_errors()
  end)
end

t.case("a link in base64 is found", function()
  send(letter { more = "Content-Transfer-Encoding: base64\n", text = base64.encode("see http://203.0.113.9/x") })
  t.ok(has(result(), "URL_ADDRESS"))
  t.no_errors()
end)

t.case("a link whose text lies", function()
  send(letter { more = "Content-Type: text/html\n", text = '<a href="http://evil.example/x"><b>https://www.bank.example/login</b></a>' })
  t.ok(has(result(), "LINK_LIES"), result())
  t.no_errors()
end)

for name, from in pairs {
  FROM_NAME_LIES = '"service@bank.example" <x@a.example>',
  FROM_MIXED_LETTERS = "=?utf-8?Q?P=D0=B0yPal?= <x@a.example>",
  FROM_PUNYCODE = "x@xn--bnk-0na.example",
} do
  t.case("a name: " .. name, function()
    send(letter { from = from })
    t.ok(has(result(), name), result())
    t.no_errors()
  end)
end

local function attached(name, content)
  return letter { more = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n',
    text = "--b\n\nhello\n--b\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"" .. name ..
      "\"\nContent-Transfer-Encoding: base64\n\n" .. base64.encode(content) .. "\n--b--" }
end

for name, file in pairs { FILE_PROGRAM = "run.exe", FILE_TWO_ENDINGS = "invoice.pdf.scr", FILE_MACROS = "sheet.xlsm", FILE_PAGE = "login.html" } do
  t.case("an attachment: " .. name, function()
    t.config { greylisting = "off" }
    local r = send(attached(file, "hello there"))
  t.eq(r.code, 250, r.text)
    t.ok(has(result(), name), result())
    t.no_errors()
  end)
end

-- A picture with a QR code of http://203.0.113.9/login.
local picture = "iVBORw0KGgoAAAANSUhEUgAAAGMAAABjAQMAAAC19SzWAAAABlBMVEX///8AAABVwtN+AAAA50lEQVR42tTSsY3DMAwF0B+ocCctIMBrqONKmUDRLUCv5M5rCOACSufCMA86IJc0At2G3XNj8uvjayaolhQz6WnJwy07coI3RcJwLSlf0M9acU3LLu2K4DjVj82GCqqchN/XDvX3E8fv2IYKm2uTFpJmyeN4bBX02mysoK5Mh6eaLd3WvvhTKyx5uEIRFLMl4PBTDPvMlnySk+YCMXXbkaf5qfFuKWzSUHsTLfUPqzKULfW3pSOnV4Jj9SQgJ7SZIilJF633C2LCY5VyQSWpbv8tHwuOpyMjwlK/r/cF2dJ3zG8AAAD//2EFR4iDgYj1AAAAAElFTkSuQmCC"

local function pictures(n)
  local parts = {}
  for i = 1, n do parts[i] = "--b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\n" .. picture .. "\n" end
  return letter { more = "MIME-Version: 1.0\nContent-Type: multipart/related; boundary=b\n", text = "--b\n\nscan this\n" .. table.concat(parts) .. "--b--" }
end

t.case("a link in a code in a picture is a link", function()
  t.config { greylisting = "off", uribl = { ["uri.example"] = { default = 3 } } }
  t.dns { ["9.113.0.203.uri.example"] = { a = { "127.0.0.2" } } }
  send(pictures(1))
  local header = result()
  for _, name in ipairs { "URL_IN_CODE", "URL_ADDRESS", "URIBL_URI_EXAMPLE" } do t.ok(has(header, name), header) end
  t.no_errors()
end)

t.case("many pictures do no harm, and a broken one is none", function()
  t.config { greylisting = "off", reject = 0 }
  t.eq(send(pictures(100)).code, 250)
  t.settle()
  send(letter { more = "Content-Type: image/png\nContent-Transfer-Encoding: base64\n", text = string.sub(picture, 1, 200) })
  t.settle()
  t.ok(not has(result(), "URL_IN_CODE"), result())
  t.no_errors()
end)

t.case("a program under another name", function()
  t.config { greylisting = "off" }
  send(attached("photo.jpg", "MZ\144\0"))
  t.ok(has(result(), "FILE_DISGUISED"), result())
  t.no_errors()
end)

t.case("junk is filed, and much is refused", function()
  t.config { junk = 5, reject = 30, greylisting = "off" }
  t.eq(send(attached("invoice.pdf.scr", "x")).code, 250)
  local header, raw, junk = result()
  t.eq(junk, 1)
  t.ok(string.find(raw, "X-Spam: yes", 1, true))
  t.ok(string.find(header, "action=junk", 1, true))
  t.config { reject = 5 }
  t.eq(send(attached("invoice.pdf.scr", "x")).code, 550)
  t.no_errors()
end)

t.case("points are the admin's", function()
  t.config { scores = { URL_PORT = 0, URL_SHORTENER = 2.25 } }
  send(letter { text = "http://a.example:8081/ https://bit.ly/abc" })
  local header = result()
  t.ok(not has(header, "URL_PORT"))
  t.ok(string.find(header, "URL_SHORTENER=2.25", 1, true))
  t.no_errors()
end)

t.case("who is denied is refused, who is allowed and proves it is not scored", function()
  t.config { deny = { "bad.example" }, allow = { "good.example" }, greylisting = "off" }
  t.eq(send(letter { from = "x@bad.example" }).code, 550)
  t.dns { ["good.example"] = { txt = { "v=spf1 ip4:192.0.2.7 -all" } } }
  send(letter { from = "x@good.example", text = "http://203.0.113.9/x" }, { sender = "x@good.example" })
  t.ok(has(result(), "ALLOWED"))
  t.no_errors()
end)

-- A newsletter: many links, whose addresses are long.
local function newsletter(links)
  local lines = { "<html><body>" }
  for i = 1, links do
    lines[#lines + 1] = '<a href="https://click.news.example/' .. string.rep("T", 180) ..
      '"\n style="color:#333;text-decoration:none">https://news.example/a/' .. i .. "</a><br>"
  end
  lines[#lines + 1] = "</body></html>"
  return letter { more = "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n", text = table.concat(lines, "\n") }
end

for _, links in ipairs { 60, 200 } do
  t.case("a newsletter of " .. links .. " links gets a score", function()
    t.eq(send(newsletter(links)).code, 250)
    local header = result()
    t.ok(string.find(header, "score=", 1, true))
    t.ok(not has(header, "TOO_COMPLEX"))
    t.no_errors()
  end)
end
