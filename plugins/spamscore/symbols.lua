-- Symbols: a name, points, and a note that says what was seen. The header
-- shows two decimals, so no symbol has more: what is shown adds up.
local M = {}

local function rounded(points) return math.floor(points * 100 + 0.5) / 100 end

function M.add(msg, name, points, note)
  local own = config.scores[name]
  if type(own) == "number" then points = own end
  points = rounded(points)
  if points ~= 0 then msg:score(name, points, note and string.sub(note, 1, 200)) end
end

-- share is what one rule may use of the handler's 5,000,000 instructions.
local share = 900000

local function finish(msg, name, ...)
  local result, why = ...
  if result == nil and why == "budget" then
    msg:score("TOO_COMPLEX", 0, name)
    return nil
  end
  return ...
end

-- rule runs a rule and gives its results, nil where the message is too dear for
-- it: then the other rules go on.
function M.rule(msg, name, f, ...) return finish(msg, name, within(share, f, ...)) end

-- total is the sum of what the header shows.
function M.total(msg)
  local sum = 0
  for _, s in ipairs(msg:scores()) do sum = sum + rounded(s.points) end
  return rounded(sum)
end

-- header is the score with each symbol that made it.
function M.header(msg, action)
  local parts = {}
  for _, s in ipairs(msg:scores()) do
    local text = string.format("%s=%.2f", s.name, rounded(s.points))
    if s.note ~= "" then
      text = text .. " (" .. string.gsub(s.note, "[^%w%s%.@:/_,=%%+-]", "?") .. ")"
    end
    parts[#parts + 1] = text
  end
  return string.format("score=%.2f; action=%s; %s", M.total(msg), action, table.concat(parts, ", "))
end

return M
