-- The content of the message: links, names, attachments.
local symbols = require "symbols"
local add = symbols.add
local M = {}

local gtube = re.compile("XJS\\*C4JDBQADN1\\.NSBN3\\*2IDNEN\\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\\*C\\.34X")

function M.gtube(msg) return msg:find(gtube) ~= nil end

local shorteners = {}
for _, d in ipairs { "bit.ly", "tinyurl.com", "t.co", "goo.gl", "is.gd", "ow.ly", "cutt.ly", "rebrand.ly", "rb.gy", "shorturl.at", "t.ly", "tiny.cc" } do
  shorteners[d] = true
end

local max_pictures = 5

-- host of a link in lower case, with what is around it.
local function split(url)
  local authority = string.match(url, "^[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)")
  if not authority then return end
  local user, rest = string.match(authority, "^(.*)@([^@]*)$")
  local host, port = string.match(rest or authority, "^(.-):(%d+)$")
  return string.lower(host or rest or authority), user, port
end

-- codes returns the links in QR codes of pictures: spammers put them there to
-- hide them from filters.
local function codes(msg)
  local links, looks = {}, 0
  for p in msg:parts() do
    if string.sub(p.type, 1, 6) == "image/" and looks < max_pictures then
      looks = looks + 1
      local text = p:qr_code()
      if text and string.find(text, "^[Hh][Tt][Tt][Pp][Ss]?://") then links[#links + 1] = text end
    end
  end
  return links
end

-- links scores tricks in links and returns their hosts.
function M.links(msg)
  local hosts, seen, found, urls = {}, {}, {}, msg:urls()
  for _, url in ipairs(codes(msg)) do
    urls[#urls + 1] = url
    found.URL_IN_CODE = split(url)
  end
  for _, url in ipairs(urls) do
    local host, user, port = split(url)
    if host and host ~= "" then
      if not seen[host] then
        seen[host] = true
        hosts[#hosts + 1] = host
      end
      if user then found.URL_USER = host end
      if string.find(host, "^%d+%.%d+%.%d+%.%d+$") then found.URL_ADDRESS = host end
      if string.find(host, "^%d+$") or string.find(host, "^0x") or string.find(host, "%%") then found.URL_ESCAPED = host end
      if string.find(host, "xn--", 1, true) then found.URL_PUNYCODE = host end
      if string.find(host, "[\128-\255]") then found.URL_LETTERS = host end
      if port and port ~= "80" and port ~= "443" then found.URL_PORT = host .. ":" .. port end
      if shorteners[host] then found.URL_SHORTENER = host end
    end
  end
  local points = { URL_USER = 3, URL_ADDRESS = 1.5, URL_ESCAPED = 3, URL_IN_CODE = 1.5, URL_PUNYCODE = 1, URL_LETTERS = 0.5, URL_PORT = 0.5, URL_SHORTENER = 0.5 }
  for _, name in ipairs { "URL_ADDRESS", "URL_ESCAPED", "URL_IN_CODE", "URL_LETTERS", "URL_PORT", "URL_PUNYCODE", "URL_SHORTENER", "URL_USER" } do
    if found[name] then add(msg, name, points[name], found[name]) end
  end
  if #hosts > 60 then add(msg, "URL_MANY", 1, #hosts .. " hosts") end
  return hosts
end

-- The time to match a text grows with the size of the pattern, so the pattern has
-- no counted repeats such as {1,253}.
local anchor = re.compile("(?is)<a\\s[^>]*?href\\s*=\\s*[\"']?\\s*https?://([^/\"'\\s>?#]+)[^>]*>\\s*(?:<[^>]*>\\s*)*(?:https?://|www\\.)([^/<\\s?#\"]+)")

-- A link whose text names another site than its target.
local function mismatch(html)
  for real, shown in anchor:gmatch(html) do
    if #real <= 253 and #shown <= 253 then
      local a, b = addr.org_domain(string.lower(real)), addr.org_domain(string.lower(shown))
      if a and b and a ~= b then return shown .. " is " .. real end
    end
  end
end

local programs = {}
for _, e in ipairs { "exe", "scr", "pif", "com", "bat", "cmd", "vbs", "vbe", "js", "jse", "wsf", "wsh", "hta", "lnk", "cpl", "jar", "ps1", "msi", "msc", "reg", "iso", "img", "vhd", "chm", "scf", "url" } do
  programs[e] = true
end
local macros = { docm = true, xlsm = true, pptm = true, dotm = true, xltm = true, xlam = true, xll = true, ppam = true }

-- To read a part, the body has to be read up to it.
local max_looks = 20

-- parts scores attachments and what HTML hides.
function M.parts(msg)
  local looks = 0
  for p in msg:parts() do
    local name = string.lower(p.filename or "")
    local ext = string.match(name, "%.(%w+)%s*$")
    if ext and programs[ext] then
      add(msg, "FILE_PROGRAM", 6, name)
      if string.match(name, "%.%w%w%w%w?%.%w+%s*$") then add(msg, "FILE_TWO_ENDINGS", 2, name) end
    elseif ext and macros[ext] then
      add(msg, "FILE_MACROS", 2.5, name)
    end
    if string.find(name, "\226\128\174", 1, true) then add(msg, "FILE_REVERSED_NAME", 5, name) end
    looks = looks + 1
    local head = looks <= max_looks and p:bytes(8) or ""
    if string.sub(head, 1, 4) == "PK\3\4" and #head > 6 and string.byte(head, 7) % 2 == 1 then
      add(msg, "FILE_ENCRYPTED", 2, name)
    elseif string.sub(head, 1, 2) == "MZ" and not (ext and programs[ext]) then
      add(msg, "FILE_DISGUISED", 6, name)
    end
    if p.type == "text/html" and p.disposition ~= "attachment" and looks <= max_looks then
      local what = symbols.rule(msg, "link texts", mismatch, p:text(65536))
      if what then add(msg, "LINK_LIES", 3, what) end
    elseif p.type == "text/html" or ext == "htm" or ext == "html" or ext == "svg" then
      add(msg, "FILE_PAGE", 1.5, name)
    end
  end
  local _, unseen = string.gsub(msg:text(65536), "\226\128[\139-\141]", "")
  if unseen > 5 then add(msg, "TEXT_UNSEEN", 1.5, unseen .. " characters") end
end

local mixed = re.compile("[A-Za-z][\\p{Cyrillic}\\p{Greek}]|[\\p{Cyrillic}\\p{Greek}][A-Za-z]")
local inside = re.compile("[A-Za-z0-9._%+-]+@([A-Za-z0-9.-]+\\.[A-Za-z]{2,})")

-- names scores tricks with From.
function M.names(msg, tx)
  local from, display = msg:from(), msg:from_display() or ""
  if #msg:headers("From") ~= 1 then add(msg, "FROM_COUNT", 2, #msg:headers("From") .. " fields") end
  if not from then
    add(msg, "FROM_MISSING", 2)
    return
  end
  local domain = addr.domain(from)
  local other = inside:match(display)
  if other and addr.org_domain(string.lower(other)) ~= addr.org_domain(domain) then add(msg, "FROM_NAME_LIES", 3, other) end
  if mixed:match(display) then add(msg, "FROM_MIXED_LETTERS", 3) end
  if string.find(domain, "xn--", 1, true) then add(msg, "FROM_PUNYCODE", 1, domain) end
  local subject = msg:subject()
  if not subject or subject == "" then
    add(msg, "SUBJECT_MISSING", 0.5)
  elseif mixed:match(subject) then
    add(msg, "SUBJECT_MIXED_LETTERS", 1.5)
  end
  for _, rcpt in ipairs(tx:recipients()) do
    if rcpt.is_local and domain == rcpt.domain and msg:auth().dmarc.result ~= "pass" and msg:auth().spf.result ~= "pass" then
      add(msg, "FROM_US", 2, domain)
      break
    end
  end
  local answer = addr.parse(msg:header("Reply-To") or "")
  if answer and addr.org_domain(addr.domain(answer)) ~= addr.org_domain(domain) and not msg:header("List-Id") then
    add(msg, "REPLY_ELSEWHERE", 0.5, addr.domain(answer))
  end
  if not msg:date() then add(msg, "DATE_MISSING", 0.5) end
  if not msg:message_id() then add(msg, "ID_MISSING", 0.5) end
end

return M
