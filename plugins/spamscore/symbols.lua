-- Symbols: a name, points, and a note that says what was found. The header shows two
-- decimals, so points are rounded to two: those in the header add up to the score.
local M = {}

local function rounded(points) return math.floor(points * 100 + 0.5) / 100 end

function M.add(msg, name, points, note)
  local own = config.scores[name]
  if type(own) == "number" then points = own end
  points = rounded(points)
  if points ~= 0 then msg:score(name, points, note and string.sub(note, 1, 200)) end
end

-- share is how many of the handler's 5,000,000 instructions one rule may use.
local share = 900000

local function finish(msg, name, ...)
  local result, why = ...
  if result == nil and why == "budget" then
    msg:score("TOO_COMPLEX", 0, name)
    return nil
  end
  return ...
end

-- rule runs a rule and returns its results, nil if the message is too
-- expensive for it: the other rules run all the same.
function M.rule(msg, name, f, ...) return finish(msg, name, within(share, f, ...)) end

-- total is the sum of the points in the header.
function M.total(msg)
  local sum = 0
  for _, s in ipairs(msg:scores()) do sum = sum + rounded(s.points) end
  return rounded(sum)
end

-- header returns the score with all its symbols.
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
